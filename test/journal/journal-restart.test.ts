// Proves that a start copes with what a kill, damage or other settings left: it always comes up, says
// once what it lost, and nothing appended afterwards is lost to what was there before.

import { describe, expect, spyOn, test } from 'bun:test';
import {
  appendFileSync,
  existsSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { batchStart, readJournalled } from '../../src/journal/journalled-batch.ts';
import { FIRST_BATCH_AT } from '../../src/journal/segment.ts';
import { SegmentStore } from '../../src/journal/segment-store.ts';
import {
  acknowledgeAll,
  changeFirst,
  copyAsKilled,
  killedWith,
  openJournal,
  SEGMENT_BYTES,
  segmentFiles,
  takeAll,
  takeValues,
  valuesOf,
  OTHER_BOOT,
} from '../support/journals.ts';
import { batchesOf, memorySegment, reopened, Scribe } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const TIME = 1_764_145_000_000;

/** Files in the directory that this process has mapped, with all that was collected unmapped. */
function mappedIn(directory: string): string[] {
  Bun.gc(true);
  const lines = readFileSync('/proc/self/maps', 'utf8').split('\n');
  return lines.flatMap((line) => (line.includes(directory) ? line.slice(line.indexOf('/')) : []));
}

function textOf(value: Uint8Array | undefined): string {
  return value ? Buffer.from(value).toString() : '';
}

function manyValues(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${index} `.padEnd(200, '.'));
}

describe('after a kill', () => {
  test('what was appended is there, sealed or not, over all segments', async () => {
    using dir = tempDir();
    const values = manyValues(1501);
    await killedWith(dir.path, values, 'full batches');
    expect(segmentFiles(dir.path).length).toBeGreaterThan(4);
    await using open = openJournal(dir.path);
    expect(takeValues(open.journal).join('\n')).toBe(values.join('\n'));
    expect(open.journal.counters.lostBytes).toBe(0);
    expect(open.errors).toEqual([]);
  });

  test('fault 43: three kills in a row during recovery lose nothing', async () => {
    using dir = tempDir();
    await killedWith(dir.path, ['one', 'two', 'three'], 'full batches');
    for (let round = 0; round < 3; round++) {
      await using recovering = openJournal(dir.path);
      using next = tempDir();
      copyAsKilled(dir.path, next.path);
      await using again = openJournal(next.path);
      expect(takeValues(again.journal)).toEqual(['one', 'two', 'three']);
      expect(takeValues(recovering.journal)).toEqual(['one', 'two', 'three']);
    }
  });

  test('fault 75: a segment that is missing in the middle costs its own records only, and a power cut says between which', async () => {
    using dir = tempDir();
    const values = manyValues(1200);
    await killedWith(dir.path, values, 'full batches');
    const used = segmentFiles(dir.path).filter(
      (path) => batchesOf(reopened(readFileSync(path))).length,
    );
    const middle = used[1] ?? '';
    const missing = batchesOf(reopened(readFileSync(middle))).flatMap((batch) => batch.values);
    rmSync(middle);
    writeFileSync(join(dir.path, 'owner'), `1\n${OTHER_BOOT}\n`);
    const found: string[] = [];
    await using open = openJournal(dir.path, {
      onMachineStopped: ({ oldest, newest, gaps }) => {
        const between = gaps.flatMap(({ before, after }) => [before, after]);
        found.push(...[oldest, ...between, newest].map(textOf));
      },
    });
    const [first, last] = [missing[0], missing.at(-1)].map((value) => values.indexOf(value ?? ''));
    const places = [0, first! - 1, last! + 1, values.length - 1];
    // Other systems do not tell that the machine went down.
    const isTold = process.platform === 'linux';
    expect(found).toEqual(isTold ? places.map((at) => values[at]!) : []);
    const expected = values.filter((value) => !missing.includes(value));
    expect(expected.length).toBeLessThan(values.length);
    expect(takeValues(open.journal).join('\n')).toBe(expected.join('\n'));
  });
});

test('fault 74: with a segment its position is gone too: the others come whole, from their own positions', async () => {
  using dir = tempDir();
  using next = tempDir();
  const values = manyValues(1200);
  await killedWith(dir.path, values, 'full batches');
  let oldest = '';
  let left: string[] = [];
  {
    await using open = openJournal(dir.path);
    const [first, ...others] = takeAll(open.journal);
    oldest = first!.segment.path;
    // All of the oldest segment, and the first batch of the next.
    const end = others.findIndex(({ segment }) => segment.path !== oldest) + 1;
    for (const batch of [first!, ...others.slice(0, end)]) open.journal.acknowledge(batch);
    left = others.slice(end).flatMap((batch) => valuesOf(open.journal, batch));
    copyAsKilled(dir.path, next.path);
  }
  rmSync(join(next.path, basename(oldest)));
  await using open = openJournal(next.path);
  expect(takeValues(open.journal)).toEqual(left);
  expect(open.journal.counters.lostBytes).toBe(0);
});

describe('damage', () => {
  test('fault 67: is counted once, not again when the batches behind it are taken', async () => {
    using dir = tempDir();
    await killedWith(dir.path, ['one', 'two', 'three']);
    let hole = 0;
    changeFirst(dir.path, (bytes) => {
      const [, second, third] = batchesOf(reopened(bytes));
      hole = third!.position - second!.position;
      bytes[second!.position + 65]! ^= 1;
      bytes.fill(0x11, 64, 192); // no mark helps
    });
    await using open = openJournal(dir.path);
    expect(takeValues(open.journal)).toEqual(['one', 'three']);
    expect(open.journal.counters.lostBytes).toBe(hole);
  });

  test('of what Kafka has is no loss; behind it the values next to it are named', async () => {
    using dir = tempDir();
    {
      using live = tempDir();
      await using open = openJournal(live.path);
      for (const value of ['one', 'two', 'three', 'four']) {
        open.journal.append(value, TIME);
        open.journal.seal();
      }
      for (const batch of takeAll(open.journal).slice(0, 2)) open.journal.acknowledge(batch);
      copyAsKilled(live.path, dir.path);
    }
    changeFirst(dir.path, (bytes) => {
      for (const value of ['one', 'three']) bytes[bytes.indexOf(value)]! ^= 1;
    });
    const holes: string[] = [];
    await using open = openJournal(dir.path, {
      onHole: ({ before, after }) => holes.push(`${textOf(before)}…${textOf(after)}`),
    });
    expect(takeValues(open.journal)).toEqual(['four']);
    expect(holes).toEqual(['two…four']);
  });

  test('at the end of a segment that Kafka has all of is not backlog for the next start', async () => {
    using dir = tempDir();
    using next = tempDir();
    await killedWith(dir.path, manyValues(400), 'full batches');
    changeFirst(dir.path, (bytes) => {
      const last = batchesOf(reopened(bytes)).at(-1);
      bytes[last!.position + 65]! ^= 1;
    });
    await using open = openJournal(dir.path);
    open.journal.seal();
    acknowledgeAll(open.journal);
    expect(open.journal.counters.lostBytes).toBeGreaterThan(0);
    copyAsKilled(dir.path, next.path);
    await using again = openJournal(next.path);
    expect([again.journal.backlogBytes, again.journal.take()]).toEqual([0, undefined]);
    expect(again.journal.counters.lostBytes).toBe(0);
  });

  test('of a placement that its own check does not notice is noticed by the CRC', async () => {
    using dir = tempDir();
    {
      using live = tempDir();
      await using open = openJournal(live.path);
      open.journal.append('one', TIME);
      open.journal.seal();
      const placement = { partition: 3, producerId: 0n, producerEpoch: 0, baseSequence: 0 };
      open.journal.place(open.journal.take()!, placement);
      copyAsKilled(live.path, dir.path);
    }
    changeFirst(dir.path, (bytes) => {
      const generation = bytes.readInt32LE(8);
      // The check has 12 bits: one in 4,096 wrong producer ids passes.
      for (let id = 1n; ; id++) {
        bytes.writeBigInt64BE(id, FIRST_BATCH_AT + 43);
        if (readJournalled(bytes, generation, FIRST_BATCH_AT)?.placement) return;
      }
    });
    await using open = openJournal(dir.path);
    const batch = open.journal.take()!;
    expect(valuesOf(open.journal, batch)).toEqual(['one']);
    expect(batch.placement).toBeUndefined();
  });

  test('behind the last whole batch does not stand in the way of new ones', async () => {
    using dir = tempDir();
    await killedWith(dir.path, ['one', 'two']);
    changeFirst(dir.path, (bytes) => {
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
    changeFirst(dir.path, (bytes) => bytes.fill(0xa7, 0, 4096));
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
      await killedWith(dir.path, ['x'.repeat(first), ...values], 'full batches');
      changeFirst(dir.path, (bytes) => bytes.fill(0, 208, 224)); // the closed position
      await using open = openJournal(dir.path);
      for (let batch = open.journal.take(); batch; batch = open.journal.take()) {
        expect(open.journal.hasUntaken).toBeBoolean();
        open.journal.acknowledge(batch);
        expect(open.journal.oldestTimestamp ?? TIME).toBeNumber();
      }
    }
  });
});

test('a segment that nothing may be appended to is synced like the others before its batches are sent', async () => {
  using dir = tempDir();
  using synced = spyOn(SegmentStore.prototype, 'sync');
  const paths = [1, 2, 3].map((number) => join(dir.path, `0000000${number}.segment`));
  for (const [index, path] of paths.entries()) {
    const segment = memorySegment(SEGMENT_BYTES, index + 1);
    segment.closed = new Scribe(segment).write(`${index}`).seal().next;
    writeFileSync(path, segment.buffer.subarray(0, 8192));
    // The first one was copied without its zeros.
    if (index === 0) truncateSync(path, SEGMENT_BYTES);
    else appendFileSync(path, segment.buffer.subarray(8192));
  }
  expect(statSync(paths[0]!).blocks * 512).toBeLessThan(SEGMENT_BYTES);
  // Full from the start: the newest one takes nothing either.
  await using open = openJournal(dir.path, { journalBytes: 3 * SEGMENT_BYTES });
  const { journal } = open;
  expect(journal.append('no room', TIME)).toBe('full');
  const batches = takeAll(journal);
  for (const [baseSequence, batch] of batches.entries()) {
    journal.place(batch, { partition: 0, producerId: 1n, producerEpoch: 0, baseSequence });
  }
  await Promise.all(batches.map((batch) => journal.durable(batch)));
  expect(synced.mock.calls.map(([{ path }]) => path)).toEqual(paths);
});

describe('with other settings', () => {
  const LARGE = { batchBytes: 100_000, journalBytes: 8 * 172_032 };
  const RECORD = 'x'.repeat(90_000);

  test('the backlog is kept, and larger batches find room', async () => {
    using dir = tempDir();
    const values = manyValues(700);
    await killedWith(dir.path, values, 'full batches');
    await using open = openJournal(dir.path, LARGE);
    expect(takeValues(open.journal).join('\n')).toBe(values.join('\n'));
    expect(open.journal.append(RECORD, TIME)).toBe('appended');
    open.journal.seal();
    expect(takeValues(open.journal)).toEqual([RECORD]);
  });

  test('segments of the former size give their room back once Kafka has them', async () => {
    using dir = tempDir();
    await killedWith(dir.path, manyValues(3000), 'full batches');
    const former = segmentFiles(dir.path);
    expect(former.length).toBeGreaterThan(8);
    await using open = openJournal(dir.path, LARGE);
    open.journal.append(RECORD, TIME); // the newest one was still written to
    open.journal.seal();
    acknowledgeAll(open.journal);
    await waitFor(() => !former.some(existsSync), { timeoutMs: 3000, what: 'their end' });
    await waitFor(() => mappedIn(dir.path).every(existsSync), {
      timeoutMs: 3000,
      what: 'the collector to unmap what is deleted',
    });
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
