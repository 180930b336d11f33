// Proves that a start copes with what damage, a power cut or other settings left: it always comes up,
// says what it lost once, and nothing appended afterwards is lost to what was there before.

import { describe, expect, test } from 'bun:test';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { batchStart } from '../../src/journal/journalled-batch.ts';
import { FIRST_BATCH_AT, type Segment } from '../../src/journal/segment.ts';
import {
  copyAsKilled,
  openJournal,
  SEGMENT_BYTES,
  segmentFiles,
  takeAll,
  takeValues,
  valuesOf,
} from '../support/journals.ts';
import { batchesOf, memorySegment, reopened, Scribe } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';

const TIME = 1_764_145_000_000;

/** A killed journal with these records, a batch each unless `sealEach` is false. */
async function killedWith(
  directory: string,
  values: readonly string[],
  sealEach = true,
): Promise<void> {
  using live = tempDir();
  await using open = openJournal(live.path);
  for (const value of values) {
    expect(open.journal.append(value, TIME)).toBe('appended');
    if (sealEach) open.journal.seal();
  }
  copyAsKilled(live.path, directory);
}

/** Rewrites the first segment file. */
function change(directory: string, how: (bytes: Buffer) => void): void {
  const [path = ''] = segmentFiles(directory);
  const bytes = readFileSync(path);
  how(bytes);
  writeFileSync(path, bytes);
}

function manyValues(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${index} `.padEnd(200, '.'));
}

describe('after a kill', () => {
  test('what was appended is there, sealed or not, over all segments', async () => {
    using dir = tempDir();
    const values = manyValues(1501);
    await killedWith(dir.path, values, false);
    expect(segmentFiles(dir.path).length).toBeGreaterThan(4);
    await using open = openJournal(dir.path);
    expect(takeValues(open.journal).join('\n')).toBe(values.join('\n'));
    expect(open.journal.counters.lostBytes).toBe(0);
    expect(open.errors).toEqual([]);
  });

  test('three kills in a row during recovery lose nothing', async () => {
    using dir = tempDir();
    await killedWith(dir.path, ['one', 'two', 'three'], false);
    for (let round = 0; round < 3; round++) {
      await using recovering = openJournal(dir.path);
      using next = tempDir();
      copyAsKilled(dir.path, next.path);
      await using again = openJournal(next.path);
      expect(takeValues(again.journal)).toEqual(['one', 'two', 'three']);
      expect(takeValues(recovering.journal)).toEqual(['one', 'two', 'three']);
    }
  });

  test('a segment that is missing in the middle costs its own records only', async () => {
    using dir = tempDir();
    const values = manyValues(1200);
    await killedWith(dir.path, values, false);
    const used = segmentFiles(dir.path).filter(
      (path) => batchesOf(reopened(readFileSync(path))).length,
    );
    const middle = used[1] ?? '';
    const missing = batchesOf(reopened(readFileSync(middle))).flatMap((batch) => batch.values);
    rmSync(middle);
    await using open = openJournal(dir.path);
    const expected = values.filter((value) => !missing.includes(value));
    expect(expected.length).toBeLessThan(values.length);
    expect(takeValues(open.journal).join('\n')).toBe(expected.join('\n'));
  });
});

describe('damage', () => {
  test('is counted once, not again when the batches behind it are taken', async () => {
    using dir = tempDir();
    await killedWith(dir.path, ['one', 'two', 'three']);
    let hole = 0;
    change(dir.path, (bytes) => {
      const [, second, third] = batchesOf(reopened(bytes));
      hole = third!.position - second!.position;
      bytes[second!.position + 65]! ^= 1;
      bytes.fill(0x11, 64, 192); // no mark helps
    });
    await using open = openJournal(dir.path);
    expect(takeValues(open.journal)).toEqual(['one', 'three']);
    expect(open.journal.counters.lostBytes).toBe(hole);
  });

  test('behind the last whole batch does not stand in the way of new ones', async () => {
    using dir = tempDir();
    await killedWith(dir.path, ['one', 'two']);
    change(dir.path, (bytes) => {
      const [, second] = batchesOf(reopened(bytes));
      bytes[second!.position + 65]! ^= 1;
      bytes.fill(0x11, 64, 192);
      bytes.fill(0xcd, second!.end);
    });
    await using open = openJournal(dir.path);
    const values = manyValues(400);
    for (const value of values) expect(open.journal.append(value, TIME)).toBe('appended');
    open.journal.seal();
    expect(takeValues(open.journal)).toEqual(['one', ...values]);
  });

  test('of the whole file puts it aside with a word, and the journal starts empty', async () => {
    using dir = tempDir();
    await killedWith(dir.path, ['one']);
    change(dir.path, (bytes) => bytes.fill(0xa7, 0, 4096));
    await using open = openJournal(dir.path);
    expect(open.errors).toHaveLength(1);
    expect(open.errors[0]).toContain('.segment.damaged');
    expect(takeValues(open.journal)).toEqual([]);
    expect(open.journal.append('new', TIME)).toBe('appended');
  });

  test('of the end of a segment that is not the last does not make its age or backlog throw', async () => {
    const values = manyValues(400);
    // The first segment is filled up to its last bytes or to some before them: no header fits there.
    for (let first = 0; first < 60; first += 3) {
      using dir = tempDir();
      await killedWith(dir.path, ['x'.repeat(first), ...values], false);
      change(dir.path, (bytes) => bytes.fill(0, 208, 224)); // the closed position
      await using open = openJournal(dir.path);
      for (let batch = open.journal.take(); batch; batch = open.journal.take()) {
        expect(open.journal.hasUntaken).toBeBoolean();
        open.journal.acknowledge(batch);
        expect(open.journal.oldestTimestamp ?? TIME).toBeNumber();
      }
    }
  });
});

describe('a power cut', () => {
  test('that kept an acknowledged position and lost the batches below it loses no later record', async () => {
    using dir = tempDir();
    {
      using live = tempDir();
      await using open = openJournal(live.path);
      for (const value of ['one', 'two', 'three']) {
        open.journal.append(value, TIME);
        open.journal.seal();
      }
      for (const batch of takeAll(open.journal)) open.journal.acknowledge(batch);
      copyAsKilled(live.path, dir.path);
    }
    change(dir.path, (bytes) => bytes.fill(0, 4096)); // of all pages only the first was written
    {
      using next = tempDir();
      await using open = openJournal(dir.path);
      expect(open.journal.append('later', TIME)).toBe('appended');
      open.journal.seal();
      copyAsKilled(dir.path, next.path);
      expect(takeValues(open.journal)).toEqual(['later']);
      await using again = openJournal(next.path);
      expect(takeValues(again.journal)).toEqual(['later']);
    }
  });

  test('that kept batches and lost the marks does not bring them back behind newer ones', async () => {
    using dir = tempDir();
    await killedWith(dir.path, ['one', 'two', 'three']);
    // The first page as it was when the segment was begun: its records are not on the disk for us.
    change(dir.path, (bytes) => bytes.fill(0, 64, 256));
    using next = tempDir();
    await using open = openJournal(dir.path);
    const before = takeValues(open.journal);
    expect(open.journal.append('later', TIME)).toBe('appended');
    copyAsKilled(dir.path, next.path);
    await using again = openJournal(next.path);
    expect(takeValues(again.journal)).toEqual([...before, 'later']);
  });

  test.each([3, 4])(
    'that kept batches and an older identity (generation %d) does not bring them back',
    async (generation) => {
      using dir = tempDir();
      /** A segment that Kafka has all of. */
      const delivered = (ofGeneration: number): Segment => {
        const segment = memorySegment(SEGMENT_BYTES, ofGeneration);
        const { next } = new Scribe(segment).write('delivered').seal();
        segment.acknowledged = next;
        segment.closed = next;
        return segment;
      };
      const waiting = memorySegment(SEGMENT_BYTES, 5);
      waiting.closed = new Scribe(waiting).write('waiting').seal().next;
      // Begun anew as generation 6 and written to; of its first page the disk kept the life before.
      const cut = delivered(generation);
      const lost = memorySegment(SEGMENT_BYTES, 6);
      for (const scribe = new Scribe(lost); scribe.next < 40_000;)
        scribe.write('lost'.repeat(50)).seal();
      lost.buffer.copy(cut.buffer, 4096, 4096);
      for (const [index, segment] of [delivered(7 - generation), cut, waiting].entries()) {
        writeFileSync(join(dir.path, `0000000${index + 1}.segment`), segment.buffer);
      }
      using next = tempDir();
      const options = { journalBytes: 3 * SEGMENT_BYTES };
      await using open = openJournal(dir.path, options);
      expect(open.journal.append('later', TIME)).toBe('appended');
      copyAsKilled(dir.path, next.path);
      await using again = openJournal(next.path, options);
      const found = takeValues(again.journal).map((value) => value.slice(0, 7));
      expect([...new Set(found)]).toEqual(['waiting', 'later']);
    },
  );
});

describe('with other settings', () => {
  const LARGE = { batchBytes: 100_000, journalBytes: 8 * 172_032 };
  const RECORD = 'x'.repeat(90_000);

  test('the backlog is kept, and larger batches find room', async () => {
    using dir = tempDir();
    const values = manyValues(700);
    await killedWith(dir.path, values, false);
    await using open = openJournal(dir.path, LARGE);
    expect(takeValues(open.journal).join('\n')).toBe(values.join('\n'));
    expect(open.journal.append(RECORD, TIME)).toBe('appended');
    open.journal.seal();
    expect(takeValues(open.journal)).toEqual([RECORD]);
  });

  test('an unused segment that is too small for a batch does not make a record oversize', async () => {
    using dir = tempDir();
    {
      await using _open = openJournal(dir.path);
    }
    await using open = openJournal(dir.path, LARGE);
    expect(open.journal.append(RECORD, TIME)).toBe('appended');
  });

  test('a smaller BATCH_BYTES hands out the larger batches of before as they are', async () => {
    using dir = tempDir();
    {
      await using open = openJournal(dir.path, LARGE);
      open.journal.append(RECORD, TIME);
    }
    await using open = openJournal(dir.path);
    const [batch] = takeAll(open.journal);
    expect(valuesOf(open.journal, batch!)).toEqual([RECORD]);
    expect(batch!.position).toBe(FIRST_BATCH_AT);
    expect(batchStart(batch!.end)).toBeGreaterThan(90_000);
  });
});
