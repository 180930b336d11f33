// Proves the meeting point of the two halves on a sound disk: what is appended comes out sealed, in
// order and once; what is acknowledged is gone, what is not comes again. Restarts after damage and a
// full journal have files of their own; random histories are in test/property/journal-model.test.ts.

import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { BATCH_HEADER_BYTES, RECORD_OVERHEAD_BYTES_MAX } from '../../src/record-batch.ts';
import {
  acknowledgeAll,
  BATCH_BYTES,
  openJournal,
  recordsOf,
  segmentFiles,
  takeAll,
  takeValues,
  valuesOf,
} from '../support/journals.ts';
import { batchesOf, reopened } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const TIME = 1_764_145_000_000;
const VALUE_BYTES_MAX = BATCH_BYTES - BATCH_HEADER_BYTES - RECORD_OVERHEAD_BYTES_MAX;
const PLACEMENT = { partition: 3, producerId: 99n, producerEpoch: 0, baseSequence: 7 };

describe('sealing', () => {
  test('an open batch is not handed out, a sealed one is, once', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path);
    const { journal } = open;
    journal.append('one', TIME);
    journal.append(Buffer.from('two'), TIME + 1);
    expect([journal.openRecords, journal.hasUntaken, journal.take()]).toEqual([
      2,
      false,
      undefined,
    ]);
    journal.seal();
    expect([journal.openRecords, journal.hasUntaken]).toEqual([0, true]);
    const batch = journal.take()!;
    expect(valuesOf(journal, batch)).toEqual(['one', 'two']);
    expect(batch).toMatchObject({ recordCount: 2, baseTimestamp: TIME, maxTimestamp: TIME + 1 });
    expect([journal.hasUntaken, journal.take()]).toEqual([false, undefined]);
    expect(journal.counters).toMatchObject({ appended: 2, sealed: 1, lostBytes: 0 });
  });

  test('a record that does not fit seals the batch in front of it, in the same tick', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path);
    const { journal } = open;
    const seen: string[] = [];
    journal.onSealed = () =>
      seen.push(...takeAll(journal).map(({ recordCount }) => String(recordCount)));
    const values = Array.from({ length: 50 }, (_, index) => String(index).padEnd(200));
    for (const value of values) {
      expect(journal.append(value, TIME)).toBe('appended');
      expect(seen).toHaveLength(journal.counters.sealed);
    }
    expect(new Set(seen)).toEqual(new Set(['4']));
  });

  test('no batch is larger than BATCH_BYTES, and all come out in order', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path);
    const { journal } = open;
    const values = Array.from({ length: 400 }, (_, index) =>
      `${index}`.padEnd((index * 37) % 300, 'é'),
    );
    for (const value of values) expect(journal.append(value, TIME)).toBe('appended');
    journal.seal();
    const batches = takeAll(journal);
    for (const { position, end } of batches)
      expect(end - position).toBeLessThanOrEqual(BATCH_BYTES);
    expect(batches.flatMap((batch) => valuesOf(journal, batch))).toEqual(values);
  });

  test('with nothing open does nothing', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path);
    let sealed = 0;
    open.journal.onSealed = () => sealed++;
    open.journal.seal();
    open.journal.append('one', TIME);
    open.journal.seal();
    open.journal.seal();
    expect([sealed, open.journal.counters.sealed]).toEqual([1, 1]);
  });

  test('a record larger than a batch is refused, and its neighbours are not touched', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path);
    const { journal } = open;
    const largest = 'x'.repeat(VALUE_BYTES_MAX);
    expect(journal.append('before', TIME)).toBe('appended');
    expect(journal.append(`${largest}x`, TIME)).toBe('oversize');
    expect(journal.append('é'.repeat(VALUE_BYTES_MAX / 2 + 1), TIME)).toBe('oversize');
    expect(journal.append(new Uint8Array(VALUE_BYTES_MAX + 1), TIME)).toBe('oversize');
    expect(journal.append(largest, TIME)).toBe('appended');
    expect(journal.append('behind', TIME)).toBe('appended');
    journal.seal();
    expect(takeValues(journal)).toEqual(['before', largest, 'behind']);
    expect(journal.counters.appended).toBe(3);
  });

  test('a refused record does not end the open batch', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path);
    const { journal } = open;
    journal.append('before', TIME);
    expect(journal.append('x'.repeat(BATCH_BYTES), TIME)).toBe('oversize');
    journal.append('behind', TIME);
    journal.seal();
    expect(takeAll(journal).map((batch) => valuesOf(journal, batch))).toEqual([
      ['before', 'behind'],
    ]);
  });

  test('refused records do not use up the journal', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path);
    const { journal } = open;
    for (let index = 0; index < 2000; index++) {
      expect(journal.append('x'.repeat(BATCH_BYTES), TIME)).toBe('oversize');
    }
    expect(journal.append('fits', TIME)).toBe('appended');
    expect(journal.backlogBytes).toBeLessThan(BATCH_BYTES);
  });
});

test('a clock that jumps back or forward opens a new batch where it must, each record keeps its time', async () => {
  using dir = tempDir();
  await using open = openJournal(dir.path);
  const { journal } = open;
  const hour = 3_600_000;
  const day = 24 * hour;
  const times = [TIME, TIME - hour, TIME + day, TIME + 13 * day, TIME - 20 * day, 0, 2 ** 41, TIME];
  for (const [index, time] of times.entries()) {
    expect(journal.append(`record ${index}`, time)).toBe('appended');
  }
  journal.seal();
  const batches = takeAll(journal);
  const records = batches.flatMap((batch) => recordsOf(journal, batch));
  expect(records).toEqual(
    times.map((timestamp, index) => ({ value: `record ${index}`, timestamp })),
  );
  expect(batches.length).toBeGreaterThan(3);
  for (const batch of batches) {
    const own = recordsOf(journal, batch).map(({ timestamp }) => timestamp);
    expect(batch.maxTimestamp).toBe(Math.max(...own));
  }
});

describe('a start after a clean end', () => {
  test('has no backlog once everything was acknowledged', async () => {
    using dir = tempDir();
    {
      await using open = openJournal(dir.path);
      for (let index = 0; index < 900; index++) {
        open.journal.append(`${index}`.padEnd(200), TIME);
        acknowledgeAll(open.journal);
      }
      open.journal.seal();
      acknowledgeAll(open.journal);
      expect(open.journal.backlogBytes).toBe(0);
    }
    await using open = openJournal(dir.path);
    const { journal } = open;
    expect(journal.backlogBytes).toBe(0);
    expect([journal.take(), journal.hasUntaken, journal.oldestTimestamp]).toEqual([
      undefined,
      false,
      undefined,
    ]);
    expect(journal.append('new', TIME)).toBe('appended');
    await journal.close();
    expect([journal.openRecords, journal.counters.sealed]).toEqual([0, 1]);
    expect(takeValues(journal)).toEqual(['new']);
    expect(journal.counters.lostBytes).toBe(0);
  });

  test('hands out again what was taken and not acknowledged, byte for byte with its placement', async () => {
    using dir = tempDir();
    let sent = Buffer.alloc(0);
    {
      await using open = openJournal(dir.path);
      const { journal } = open;
      for (const value of ['one', 'two', 'three']) {
        journal.append(value, TIME);
        journal.seal();
      }
      const [first, second] = takeAll(journal);
      journal.acknowledge(first!);
      journal.place(second!, PLACEMENT);
      sent = Buffer.from(journal.bytesOf(second!));
    }
    await using open = openJournal(dir.path);
    const { journal } = open;
    const [second, third, none] = takeAll(journal);
    expect(none).toBeUndefined();
    expect(second!.placement).toEqual(PLACEMENT);
    expect(journal.bytesOf(second!).equals(sent)).toBe(true);
    expect(third!.placement).toBeUndefined();
    expect(valuesOf(journal, third!)).toEqual(['three']);
  });
});

describe('fdatasync', () => {
  test.each([
    ['for Kafka while nothing is taken', false],
    ['in local mode', true],
  ])(
    'follows the first append of a new journal %s, and the next ones',
    async (_name, recycleOldest) => {
      using dir = tempDir();
      await using open = openJournal(dir.path, { syncMs: 1, recycleOldest });
      const { journal } = open;
      for (let round = 1; round <= 3; round++) {
        journal.append(`record ${round}`, TIME);
        const before = journal.syncs.rounds;
        await waitFor(() => journal.syncs.rounds > before, {
          timeoutMs: 2000,
          what: `fdatasync ${round}`,
          intervalMs: 1,
        });
      }
    },
  );

  test('notes how far the open batch had come', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path, { syncMs: 1 });
    const { journal } = open;
    journal.append('sealed', TIME);
    journal.seal();
    journal.place(journal.take()!, PLACEMENT);
    journal.append('synced', TIME);
    await waitFor(() => journal.syncs.rounds > 0, {
      timeoutMs: 2000,
      what: 'a sync',
      intervalMs: 1,
    });
    journal.append('later', TIME);
    const bytes = Buffer.from(readFileSync(segmentFiles(dir.path)[0]!));
    bytes.fill(0, 64, 128); // as if the live marks had not reached the disk
    const values = batchesOf(reopened(bytes)).map((batch) => batch.values.join());
    expect(values).toEqual(['sealed', 'synced']);
  });
});
