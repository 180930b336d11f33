// Fault 59 inside the process, call by call: what the journal does with a segment after fdatasync failed
// for it. The failure is real: the descriptor is exchanged for one that nothing can be synced to.

import { expect, test } from 'bun:test';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { JournalledBatch } from '../../src/journal/cursor.ts';
import { batchStart } from '../../src/journal/journalled-batch.ts';
import {
  appendSoon,
  changeFirst,
  killedWith,
  openJournal,
  type OpenJournal,
  SEGMENT_BYTES,
  segmentFiles,
  takeAll,
  takeValues,
  valuesOf,
} from '../support/journals.ts';
import { batchesOf, reopened } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const TIME = 1_764_145_000_000;

/** From now on this process cannot sync `path`. */
function refuseSync(path: string): void {
  const [descriptor] = readdirSync('/proc/self/fd').filter((name) => targetOf(name) === path);
  const number = Number(descriptor);
  closeSync(number);
  // The lowest free number is given first.
  for (let taken = -1; taken !== number;) taken = openSync('/dev/null', 'r+');
}

function targetOf(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    return ''; // the one that the directory itself was read with
  }
}

async function refusedBecomes({ journal }: OpenJournal, count: number): Promise<void> {
  await waitFor(() => journal.counters.refusedSegments === count, {
    timeoutMs: 5000,
    what: `refused segment ${count}`,
    intervalMs: 1,
  });
}

/** Appends a batch and takes it, and has its segment refused. */
async function appendRefused(open: OpenJournal, value: string): Promise<JournalledBatch> {
  const before = open.journal.counters.refusedSegments;
  await appendSoon(open, value, TIME);
  open.journal.seal();
  const [batch] = takeAll(open.journal);
  refuseSync(batch!.segment.path);
  open.journal.append('and more', TIME); // due for a sync again, whatever the first one said
  await refusedBecomes(open, before + 1);
  return batch!;
}

test('fault 59: no record goes into it any more, its batches are delivered, then it is deleted', async () => {
  using dir = tempDir();
  await using open = openJournal(dir.path, { syncMs: 1 });
  const { journal } = open;
  journal.append('one', TIME);
  const [first = ''] = segmentFiles(dir.path);
  refuseSync(first);
  journal.append('two', TIME);
  await refusedBecomes(open, 1);
  expect(open.errors[0]).toMatch(`fdatasync ${first}: `);
  expect(journal.append('three', TIME)).toBe('appended');
  journal.seal();
  const [before, after] = takeAll(journal);
  expect([before!.segment.path, valuesOf(journal, before!)]).toEqual([first, ['one', 'two']]);
  expect(valuesOf(journal, after!)).toEqual(['three']);
  expect(after!.segment.path).not.toBe(first);
  const placement = { partition: 0, producerId: 1n, producerEpoch: 0, baseSequence: 0 };
  for (const batch of [before!, after!]) {
    journal.place(batch, placement);
    journal.acknowledge(batch);
  }
  await waitFor(() => !existsSync(first), { timeoutMs: 5000, what: 'its end', intervalMs: 1 });
  journal.append('four', TIME);
  // Never asked again: it would say yes.
  expect(open.errors).toHaveLength(1);
});

test('fault 59: a batch in it that the disk gave back as it was before is noticed, not sent', async () => {
  using dir = tempDir();
  await using open = openJournal(dir.path, { syncMs: 1 });
  const { journal } = open;
  journal.append('one', TIME);
  journal.seal();
  refuseSync(segmentFiles(dir.path)[0]!);
  journal.append('two', TIME);
  await refusedBecomes(open, 1);
  const batch = journal.take();
  expect(valuesOf(journal, batch!)).toEqual(['one']);
  journal.append('three', TIME);
  journal.seal();
  batch!.segment.buffer.fill(0, 64, 192);
  batch!.segment.buffer[batchStart(batch!.end) + 68]! ^= 1;
  expect(takeValues(journal)).toEqual(['three']);
  expect(journal.counters.lostBytes).toBeGreaterThan(0);
});

test('fault 59: what it gave back of the batches of the last process is noticed too, and its damage not twice', async () => {
  using dir = tempDir();
  await killedWith(dir.path, ['one', 'two', 'three', 'four']);
  const batches = batchesOf(reopened(readFileSync(segmentFiles(dir.path)[0]!)));
  const bytesOf = (index: number): number =>
    batches[index + 1]!.position - batches[index]!.position;
  const damage = (bytes: Buffer, index: number): void => {
    bytes[batches[index]!.position + 65]! ^= 1;
  };
  changeFirst(dir.path, (bytes) => damage(bytes, 0));
  const lost: number[] = [];
  await using open = openJournal(dir.path, { syncMs: 1, onHole: ({ bytes }) => lost.push(bytes) });
  const { journal } = open;
  expect(lost).toEqual([bytesOf(0)]);
  refuseSync(segmentFiles(dir.path)[0]!);
  journal.append('five', TIME);
  await refusedBecomes(open, 1);
  const two = journal.take()!;
  expect(valuesOf(journal, two)).toEqual(['two']);
  damage(two.segment.buffer, 2);
  expect(takeValues(journal)).toEqual(['four', 'five']);
  expect(lost).toEqual([bytesOf(0), bytesOf(2)]);
  expect(journal.counters.lostBytes).toBe(bytesOf(0) + bytesOf(2));
});

test('fault 59: with every segment refused the journal is full, until Kafka has some', async () => {
  using dir = tempDir();
  await using open = openJournal(dir.path, { syncMs: 1, journalBytes: 3 * SEGMENT_BYTES });
  const { journal } = open;
  const paths: string[] = [];
  const taken: JournalledBatch[] = [];
  for (const value of ['one', 'two', 'three']) {
    taken.push(...takeAll(journal));
    const batch = await appendRefused(open, value);
    taken.push(batch);
    paths.push(batch.segment.path);
  }
  expect(new Set(paths).size).toBe(3);
  const { appended } = journal.counters;
  for (let again = 0; again < 10; again++) expect(journal.append('no room', TIME)).toBe('full');
  expect([journal.full, journal.counters.appended]).toEqual([true, appended]);
  for (const batch of [...taken, ...takeAll(journal)]) journal.acknowledge(batch);
  await waitFor(() => !journal.full, { timeoutMs: 5000, what: 'room', intervalMs: 1 });
  expect(journal.append('four', TIME)).toBe('appended');
  journal.seal();
  const [fourth] = takeAll(journal);
  expect(valuesOf(journal, fourth!)).toEqual(['four']);
  expect(paths).not.toContain(fourth!.segment.path);
});

test('fault 59: a released segment that cannot be synced is deleted, whoever wanted it', async () => {
  using dir = tempDir();
  await using open = openJournal(dir.path, { journalBytes: 3 * SEGMENT_BYTES });
  const { journal } = open;
  const used = new Set<string>();
  for (let index = 0; used.size < 3; index++) {
    await waitFor(() => journal.append(`${index}`.padEnd(500), TIME) === 'appended', {
      timeoutMs: 5000,
      what: 'room',
      intervalMs: 1,
    });
    for (let batch = journal.take(); batch; batch = journal.take()) {
      if (!used.has(batch.segment.path)) refuseSync(batch.segment.path);
      used.add(batch.segment.path);
      journal.acknowledge(batch);
    }
  }
  const [first = ''] = used;
  await waitFor(() => !existsSync(first), { timeoutMs: 5000, what: 'its end', intervalMs: 1 });
  expect(journal.counters.refusedSegments).toBeGreaterThan(0);
  expect(journal.append('more', TIME)).toBe('appended');
});
