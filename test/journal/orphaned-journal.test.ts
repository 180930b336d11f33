// Proves that a journal of a killed process can be emptied by another one without a record more or less
// than it held, that its files are removed then and not before, and that it is the only one to do so.

import { expect, test } from 'bun:test';
import { existsSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { JournalLocked } from '../../src/journal/journal-directory.ts';
import { OrphanedJournal } from '../../src/journal/orphaned-journal.ts';
import {
  changeFirst,
  copyAsKilled,
  killedWith,
  openJournal,
  SEGMENT_BYTES,
  segmentFiles,
  takeValues,
  takeAll,
  valuesOf,
} from '../support/journals.ts';
import { batchesOf, reopened } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';

const PLACEMENT = { partition: 3, producerId: 99n, producerEpoch: 0, baseSequence: 7 };
/** Four segments of a journal's smallest size. */
const MANY = Array.from({ length: 200 }, (_, index) => `${index} `.padEnd(900));

class OpenOrphan implements AsyncDisposable {
  readonly orphan: OrphanedJournal;
  lost = 0;

  constructor(directory: string) {
    this.orphan = new OrphanedJournal({
      directory,
      syncMs: 3_600_000,
      onError: (action, error) => {
        throw new Error(action, { cause: error });
      },
      onHole: ({ bytes }) => {
        this.lost += bytes;
      },
      onMachineStopped: () => {},
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.orphan.close();
  }
}

test('what was appended comes out in order, sealed or not, and then the files are removed', async () => {
  using dir = tempDir();
  await killedWith(dir.path, MANY, 'full batches');
  expect(segmentFiles(dir.path).length).toBeGreaterThan(2);
  const { orphan } = new OpenOrphan(dir.path);
  expect(orphan.bytes).toBe(segmentFiles(dir.path).length * SEGMENT_BYTES);
  const batches = takeAll(orphan);
  expect(batches.flatMap((batch) => valuesOf(orphan, batch))).toEqual(MANY);
  for (const batch of batches) orphan.acknowledge(batch);
  expect([orphan.backlogBytes, orphan.hasUntaken]).toEqual([0, false]);
  expect(orphan.acknowledgedRecords).toBe(MANY.length);
  expect(segmentFiles(dir.path)).not.toEqual([]);
  await orphan.close();
  expect(segmentFiles(dir.path)).toEqual([]);
  expect(existsSync(join(dir.path, 'lock'))).toBe(true);
});

test('closed before Kafka has all, it keeps the files, and the next one goes on behind the acknowledged', async () => {
  using dir = tempDir();
  await killedWith(dir.path, ['one', 'two', 'three']);
  {
    await using open = new OpenOrphan(dir.path);
    const [one, two] = takeAll(open.orphan);
    open.orphan.place(one!, PLACEMENT);
    open.orphan.place(two!, { ...PLACEMENT, baseSequence: 8 });
    open.orphan.acknowledge(one!);
    expect(open.orphan.backlogBytes).toBeGreaterThan(0);
  }
  await using open = new OpenOrphan(dir.path);
  const [two, three] = takeAll(open.orphan);
  expect(two!.placement).toEqual({ ...PLACEMENT, baseSequence: 8 });
  expect([two, three].map((batch) => valuesOf(open.orphan, batch!))).toEqual([['two'], ['three']]);
  expect(open.lost).toBe(0);
});

test('a server that starts on it in between goes on as if nobody had been there', async () => {
  using dir = tempDir();
  await killedWith(dir.path, ['one', 'two']);
  {
    await using open = new OpenOrphan(dir.path);
    open.orphan.acknowledge(takeAll(open.orphan)[0]!);
  }
  await using next = openJournal(dir.path);
  next.journal.append('three', 0);
  next.journal.seal();
  expect(takeValues(next.journal)).toEqual(['two', 'three']);
});

test('killed while it is emptied, it is found as it was left', async () => {
  using dir = tempDir();
  using copy = tempDir();
  await killedWith(dir.path, MANY, 'full batches');
  const { orphan } = new OpenOrphan(dir.path);
  const batches = takeAll(orphan);
  for (const batch of batches.slice(0, -5)) orphan.acknowledge(batch);
  copyAsKilled(dir.path, copy.path);
  await using next = new OpenOrphan(copy.path);
  const left = batches.slice(-5).flatMap((batch) => valuesOf(orphan, batch));
  expect(takeValues(next.orphan)).toEqual(left);
  await orphan.close();
});

test('with nothing in it, its files are removed', async () => {
  using dir = tempDir();
  await using other = openJournal(join(dir.path, 'other'));
  copyAsKilled(other.directory, dir.path);
  expect(segmentFiles(dir.path)).not.toEqual([]);
  const { orphan } = new OpenOrphan(dir.path);
  expect([orphan.backlogBytes, orphan.oldestTimestamp]).toEqual([0, undefined]);
  await orphan.close();
  expect(segmentFiles(dir.path)).toEqual([]);
});

test('fault 67: damage costs the damaged batch, and is counted once', async () => {
  using dir = tempDir();
  await killedWith(dir.path, ['one', 'two', 'three']);
  let hole = 0;
  changeFirst(dir.path, (bytes) => {
    const [, second, third] = batchesOf(reopened(bytes));
    hole = third!.position - second!.position;
    bytes[bytes.indexOf('two')]! ^= 1;
  });
  await using open = new OpenOrphan(dir.path);
  expect(takeValues(open.orphan)).toEqual(['one', 'three']);
  expect(open.lost).toBe(hole);
});

test('fault 61: copied without its zeros, it gets them back before anything is written', async () => {
  using dir = tempDir();
  await killedWith(dir.path, ['one']);
  const paths = segmentFiles(dir.path);
  const allocated = (): number => paths.reduce((sum, path) => sum + statSync(path).blocks * 512, 0);
  const bytes = paths.reduce((sum, path) => sum + statSync(path).size, 0);
  for (const path of paths) {
    truncateSync(path, 8192);
    truncateSync(path, SEGMENT_BYTES);
  }
  expect(allocated()).toBeLessThan(bytes);
  await using open = new OpenOrphan(dir.path);
  const used = statSync(open.orphan.take()!.segment.path);
  expect(used.blocks * 512).toBeGreaterThanOrEqual(used.size);
});

test('a journal in use is refused, to an orphan as to a server', async () => {
  using dir = tempDir();
  {
    await using _used = openJournal(dir.path);
    expect(() => new OpenOrphan(dir.path)).toThrow(JournalLocked);
  }
  await using _orphan = new OpenOrphan(dir.path);
  expect(() => new OpenOrphan(dir.path)).toThrow(JournalLocked);
  expect(() => openJournal(dir.path)).toThrow(JournalLocked);
});
