// Proves a journal that has no room: it says `full` before a record is lost, keeps what it has, takes
// records again once Kafka has some, and in local mode is never full because the oldest make room.

import { describe, expect, test } from 'bun:test';
import { readFileSync, rmSync } from 'node:fs';
import {
  acknowledgeAll,
  appendSoon,
  copyAsKilled,
  fillUp,
  numbersOf,
  openJournal,
  SEGMENT_BYTES,
  segmentFiles,
  takeAll,
  takeValues,
  valuesOf,
} from '../support/journals.ts';
import { reopened } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const TIME = 1_764_145_000_000;
const JOURNAL_BYTES = 4 * SEGMENT_BYTES;
const RECORD_BYTES = 200;
const MORE_THAN_FITS = Math.ceil((2 * JOURNAL_BYTES) / RECORD_BYTES);

function value(index: number): string {
  return `${index} `.padEnd(RECORD_BYTES, '.');
}

/** The numbers of values that are all as `value` made them. */
function soundNumbers(values: readonly string[]): string {
  for (const text of values) expect(text).toBe(value(Number.parseInt(text, 10)));
  return numbersOf(values);
}

describe('with Kafka away', () => {
  test('the journal fills up, says so, and keeps all it has', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path, { journalBytes: JOURNAL_BYTES });
    const { journal } = open;
    expect(journal.full).toBe(false);
    const kept = await fillUp(open, value);
    expect(journal.full).toBe(true);
    expect(kept * RECORD_BYTES).toBeLessThan(JOURNAL_BYTES);
    expect(kept * RECORD_BYTES).toBeGreaterThan(JOURNAL_BYTES / 2);
    for (let again = 0; again < 100; again++) expect(journal.append('more', TIME)).toBe('full');
    expect(journal.counters).toMatchObject({ appended: kept, recycledSegments: 0 });
    expect(journal.bytes).toBe(JOURNAL_BYTES);
    journal.seal();
    expect(soundNumbers(takeValues(journal))).toBe(`0-${kept - 1}`);
  });

  test('it says so before a record is refused', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path, { journalBytes: JOURNAL_BYTES });
    const { journal } = open;
    for (let index = 0; index < MORE_THAN_FITS; index++) {
      const warned = journal.full;
      if (journal.append(value(index), TIME) === 'full') {
        expect(warned).toBe(true);
        return;
      }
    }
    throw new Error('it never was full');
  });

  test('a record larger than a batch is full, not oversize, while nothing is taken anyway', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path, { journalBytes: JOURNAL_BYTES });
    await fillUp(open, value);
    expect(open.journal.append('x'.repeat(5000), TIME)).toBe('full');
  });

  test('a start that finds it full and the newest segment gone drains it, and then goes on', async () => {
    using dir = tempDir();
    {
      using live = tempDir();
      await using open = openJournal(live.path, { journalBytes: JOURNAL_BYTES });
      await fillUp(open, value);
      copyAsKilled(live.path, dir.path);
    }
    const newest = segmentFiles(dir.path).find(
      (path) => reopened(readFileSync(path)).closed === undefined,
    );
    rmSync(newest!);
    const journalBytes = JOURNAL_BYTES - SEGMENT_BYTES;
    await using open = openJournal(dir.path, { journalBytes });
    const { journal } = open;
    expect(journal.append('no room', TIME)).toBe('full');
    const batches = takeAll(journal);
    expect(soundNumbers(batches.flatMap((batch) => valuesOf(journal, batch)))).toMatch(/^0-\d+$/);
    for (const batch of batches) journal.acknowledge(batch);
    await appendSoon(open, 'room', TIME);
    journal.seal();
    expect(takeValues(journal)).toEqual(['room']);
    expect(journal.counters.lostBytes).toBe(0);
  });

  test('a kill at that moment loses nothing, and the next start is full too', async () => {
    using dir = tempDir();
    let kept = 0;
    {
      using live = tempDir();
      await using open = openJournal(live.path, { journalBytes: JOURNAL_BYTES });
      kept = await fillUp(open, value);
      copyAsKilled(live.path, dir.path);
    }
    await using open = openJournal(dir.path, { journalBytes: JOURNAL_BYTES });
    const more = await fillUp(open, (index) => value(kept + index));
    expect(open.journal.bytes).toBe(JOURNAL_BYTES);
    expect(more * RECORD_BYTES).toBeLessThan(SEGMENT_BYTES);
    open.journal.seal();
    expect(soundNumbers(takeValues(open.journal))).toBe(`0-${kept + more - 1}`);
  });
});

test('the age of the backlog is that of its oldest record, wherever the Kafka side stopped', async () => {
  using dir = tempDir();
  await using open = openJournal(dir.path);
  const { journal } = open;
  for (let time = 0; time < 1000; time++) {
    expect(journal.append(value(time), time)).toBe('appended');
    journal.seal();
    // At the first batch of a segment the last one is still being read.
    expect(journal.oldestTimestamp).toBe(time);
    journal.acknowledge(journal.take()!);
  }
});

describe('when Kafka takes batches again', () => {
  test('room comes back segment by segment, and what was kept is not overwritten', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path, { journalBytes: JOURNAL_BYTES });
    const { journal } = open;
    let appended = await fillUp(open, value);
    let delivered = 0;
    for (let round = 0; round < 20; round++) {
      expect(journal.full).toBe(true);
      while (journal.full) {
        const batch = journal.take();
        if (!batch) {
          // All is delivered: the last released segment is still being synced.
          await waitFor(() => !journal.full, { timeoutMs: 3000, what: 'room', intervalMs: 1 });
          break;
        }
        const numbers = soundNumbers(valuesOf(journal, batch));
        expect(numbers).toBe(`${delivered}-${delivered + batch.recordCount - 1}`);
        delivered += batch.recordCount;
        journal.acknowledge(batch);
        await new Promise(setImmediate); // a released segment is synced before it is used again
      }
      const from = appended;
      appended += await fillUp(open, (index) => value(from + index));
    }
    expect(appended * RECORD_BYTES).toBeGreaterThan(2 * JOURNAL_BYTES);
    journal.seal();
    expect(soundNumbers(takeValues(journal))).toBe(`${delivered}-${appended - 1}`);
    expect(journal.bytes).toBe(JOURNAL_BYTES);
    expect(journal.counters.lostBytes).toBe(0);
  });

  test('one batch that is not acknowledged holds its segment, and the others go round', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path, { journalBytes: JOURNAL_BYTES });
    const { journal } = open;
    journal.append('held', TIME);
    journal.seal();
    const held = journal.take()!;
    const before = Buffer.from(journal.bytesOf(held));
    for (let index = 0; index < 5 * MORE_THAN_FITS; index++) {
      await appendSoon(open, value(index), TIME);
      acknowledgeAll(journal);
    }
    expect(journal.bytesOf(held).equals(before)).toBe(true);
    expect(journal.oldestTimestamp).toBe(TIME);
    journal.acknowledge(held);
    journal.seal();
    acknowledgeAll(journal);
    expect(journal.backlogBytes).toBe(0);
  });

  test('a burst that outruns the disk never waits for it while files may be added', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path, { journalBytes: 64 * SEGMENT_BYTES });
    const { journal } = open;
    const count = Math.floor((60 * (SEGMENT_BYTES - 8192)) / RECORD_BYTES / 1.2);
    for (let index = 0; index < count; index++) {
      expect(journal.append(value(index), TIME)).toBe('appended');
      acknowledgeAll(journal);
    }
    // Not one segment was synced: there was no time for it. All were new.
    expect(segmentFiles(dir.path).length).toBeGreaterThan(40);
  });
});

describe('in local mode', () => {
  test.each([
    ['in one burst', MORE_THAN_FITS * 10],
    ['with pauses', 25],
    ['with a pause behind each record', 1],
  ])('no record is refused %s, and the newest are kept in order', async (_name, burst) => {
    using dir = tempDir();
    await using open = openJournal(dir.path, { journalBytes: JOURNAL_BYTES, recycleOldest: true });
    const { journal } = open;
    const count = MORE_THAN_FITS * 2;
    let refused = 0;
    for (let index = 0; index < count; index++) {
      if (journal.append(value(index), TIME) !== 'appended') refused++;
      if (index % burst === 0) await new Promise(setImmediate);
    }
    expect({ refused, full: journal.full }).toEqual({ refused: 0, full: false });
    expect(journal.counters.recycledSegments).toBeGreaterThan(0);
    expect(journal.bytes).toBe(JOURNAL_BYTES);
    journal.seal();
    const kept = takeAll(journal).flatMap((batch) => valuesOf(journal, batch));
    expect(kept.length * RECORD_BYTES).toBeGreaterThan(SEGMENT_BYTES);
    expect(soundNumbers(kept)).toBe(`${count - kept.length}-${count - 1}`);
  });

  test('a restart keeps what was not recycled, and goes on recycling', async () => {
    using dir = tempDir();
    const options = { journalBytes: JOURNAL_BYTES, recycleOldest: true };
    let from = 0;
    for (let life = 0; life < 4; life++) {
      await using open = openJournal(dir.path, options);
      for (let index = 0; index < 700; index++) open.journal.append(value(from++), TIME);
    }
    await using open = openJournal(dir.path, options);
    const kept = takeValues(open.journal);
    expect(kept.length * RECORD_BYTES).toBeGreaterThan(SEGMENT_BYTES);
    expect(soundNumbers(kept)).toBe(`${2800 - kept.length}-2799`);
    expect(open.journal.bytes).toBe(JOURNAL_BYTES);
  });
});
