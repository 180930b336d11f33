// Journals small enough to fill in a test, and what a test does with them: take, acknowledge, kill.
// A kill is a copy of the segment files at that moment: what a process that ends leaves behind.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Backlog } from '../../src/journal/backlog.ts';
import type { JournalledBatch } from '../../src/journal/cursor.ts';
import { Journal, type JournalOptions } from '../../src/journal/journal.ts';
import { BATCH_HEADER_BYTES, readRecords } from '../../src/record-batch.ts';
import { tempDir } from './temp-dir.ts';
import { waitFor } from './wait-for.ts';

/** As the kernel of another boot would give it: a note that names it tells that the machine went down. */
export const OTHER_BOOT = '00000000-0000-4000-8000-000000000000';
export const BATCH_BYTES = 1024;
/** What the journal makes of BATCH_BYTES and a small JOURNAL_BYTES. */
export const SEGMENT_BYTES = 73_728;
/** Roomy: a burst in one tick outruns the spare that is made in the background. */
const JOURNAL_BYTES = 16 * SEGMENT_BYTES;

export interface OpenJournal extends AsyncDisposable {
  readonly journal: Journal;
  readonly directory: string;
  /** What was reported through `onError`. */
  readonly errors: readonly string[];
}

/** Small, for Kafka, and synced by nobody unless `options` say otherwise. Closed with its scope. */
export function openJournal(directory: string, options: Partial<JournalOptions> = {}): OpenJournal {
  const errors: string[] = [];
  const journal = new Journal({
    directory,
    journalBytes: JOURNAL_BYTES,
    batchBytes: BATCH_BYTES,
    syncMs: 3_600_000,
    recycleOldest: false,
    onError: (action, error) => errors.push(`${action}: ${error.message}`),
    ...options,
  });
  return { journal, directory, errors, [Symbol.asyncDispose]: () => journal.close() };
}

export interface TakenRecord {
  readonly value: string;
  readonly timestamp: number;
}

export function recordsOf(journal: Backlog, batch: JournalledBatch): TakenRecord[] {
  const bytes = journal.bytesOf(batch);
  return [...readRecords(bytes, BATCH_HEADER_BYTES, bytes.length)].map((record) => ({
    value: Buffer.from(record.value).toString(),
    timestamp: batch.baseTimestamp + record.timestampDelta,
  }));
}

export function valuesOf(journal: Backlog, batch: JournalledBatch): string[] {
  return recordsOf(journal, batch).map(({ value }) => value);
}

export function takeAll(journal: Backlog): JournalledBatch[] {
  const batches: JournalledBatch[] = [];
  for (let batch = journal.take(); batch; batch = journal.take()) batches.push(batch);
  return batches;
}

/** Values of all batches that nobody has taken yet. */
export function takeValues(journal: Backlog): string[] {
  return takeAll(journal).flatMap((batch) => valuesOf(journal, batch));
}

export function acknowledgeAll(journal: Backlog): void {
  for (let batch = journal.take(); batch; batch = journal.take()) journal.acknowledge(batch);
}

/**
 * Appends `value(0)`, `value(1)`, … until the journal is full and no spare is on its way.
 * @returns how many there were
 */
export async function fillUp(open: OpenJournal, value: (index: number) => string): Promise<number> {
  for (let index = 0; ;) {
    if (open.journal.append(value(index), 0) === 'appended') {
      index++;
      continue;
    }
    await settled(open);
    if (open.journal.full) return index;
  }
}

/** Values that begin with a number, as runs: `0-41 43-50`. A failure shows which ones are missing. */
export function numbersOf(values: readonly string[]): string {
  const runs: [first: number, last: number][] = [];
  for (const number of values.map((value) => Number.parseInt(value, 10))) {
    const run = runs.at(-1);
    if (run && run[1] === number - 1) run[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([first, last]) => `${first}-${last}`).join(' ');
}

export function segmentFiles(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => /\.segment(\.new)?$/.test(name))
    .toSorted()
    .map((name) => join(directory, name));
}

/** Copies what a killed process leaves behind. The lock stays: a copy of it would drop the lock. */
export function copyAsKilled(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  const note = join(from, 'cluster');
  const left = [...segmentFiles(from), ...(existsSync(note) ? [note] : [])];
  for (const path of left) copyFileSync(path, join(to, path.slice(from.length)));
}

/** Leaves a killed journal with these records, a batch each or as many in one as fit. */
export async function killedWith(
  directory: string,
  values: readonly string[],
  batches: 'a batch each' | 'full batches' = 'a batch each',
): Promise<void> {
  using live = tempDir();
  await using open = openJournal(live.path);
  for (const value of values) {
    const result = open.journal.append(value, 0);
    if (result !== 'appended') throw new Error(result);
    if (batches === 'a batch each') open.journal.seal();
  }
  copyAsKilled(live.path, directory);
}

/** Rewrites the first segment file. */
export function changeFirst(directory: string, how: (bytes: Buffer) => void): void {
  const [path = ''] = segmentFiles(directory);
  const bytes = readFileSync(path);
  how(bytes);
  writeFileSync(path, bytes);
}

/** Until the spare that is made in the background is there: usage is what the files take. */
export async function settled({ journal, directory }: OpenJournal): Promise<void> {
  await waitFor(
    () => {
      const files = segmentFiles(directory).map((path) => readFileSync(path));
      const bytes = files.reduce((sum, file) => sum + file.length, 0);
      // A new one is begun in the tick it may be used in.
      return (
        files.every((file) => file.length >= 4 && file.readUInt32LE(0) !== 0) &&
        bytes === journal.bytes
      );
    },
    { timeoutMs: 3000, what: 'usage to be what the files take', intervalMs: 1 },
  );
}

/** Appends, where needed as soon as a released segment was synced and may be used again. */
export async function appendSoon(open: OpenJournal, value: string, time: number): Promise<void> {
  const { journal } = open;
  if (journal.append(value, time) === 'appended') return;
  await waitFor(() => !journal.full, { timeoutMs: 3000, what: 'room', intervalMs: 1 });
  const result = journal.append(value, time);
  if (result !== 'appended') throw new Error(`${result} although the journal is not full`);
}
