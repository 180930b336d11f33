// Proves what is common to all who open a journal's files: found by name, opened under one lock, numbered
// so that no name is given twice, and unlocked again when opening fails. What a start makes of odd files
// is in segment-store.test.ts.

import { expect, spyOn, test } from 'bun:test';
import {
  closeSync,
  existsSync,
  fdatasync,
  openSync,
  readdirSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { JournalLocked } from '../../src/journal/journal-directory.ts';
import { JournalLock } from '../../src/journal/journal-lock.ts';
import { SegmentFiles } from '../../src/journal/segment-files.ts';
import { disksUnavailable, memoryDisk } from '../support/disks.ts';
import { failureOf } from '../support/failure-of.ts';
import { memorySegment } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';

const BYTES = 16_384;

function segmentFile(directory: string, number: number, generation: number): string {
  const path = join(directory, `0000000${number}.segment`);
  writeFileSync(path, memorySegment(BYTES, generation).buffer);
  return path;
}

function openFiles(directory: string): SegmentFiles {
  return new SegmentFiles(directory, new JournalLock(directory), (action, error) => {
    throw new Error(action, { cause: error });
  });
}

test('all segments are found and counted; a deleted one is gone from disk and count', () => {
  using dir = tempDir();
  const paths = [segmentFile(dir.path, 2, 7), segmentFile(dir.path, 4, 3)];
  const files = openFiles(dir.path);
  expect(files.segments.map(({ path, generation }) => [path, generation])).toEqual([
    [paths[0]!, 7],
    [paths[1]!, 3],
  ]);
  expect(files.bytes).toBe(2 * BYTES);
  files.delete(files.segments[0]!);
  expect([existsSync(paths[0]!), existsSync(paths[1]!), files.bytes]).toEqual([false, true, BYTES]);
  files.close();
});

test('a new file is zeros, numbered behind all there are, and counted once it is there', async () => {
  using dir = tempDir();
  segmentFile(dir.path, 4, 1);
  const files = openFiles(dir.path);
  const created = [files.createNow(BYTES), await files.create(BYTES)];
  expect(created.map(({ path }) => path)).toEqual([
    join(dir.path, '00000005.segment'),
    join(dir.path, '00000006.segment'),
  ]);
  for (const { path, bytes, words, generation } of created) {
    expect([bytes, statSync(path).size, generation]).toEqual([BYTES, BYTES, 0]);
    expect(words.every((word) => word === 0)).toBe(true);
  }
  expect(files.bytes).toBe(3 * BYTES);
  files.close();
});

test('of a file that cannot be created nothing is left', async () => {
  using dir = tempDir();
  const files = openFiles(dir.path);
  using mmap = spyOn(Bun, 'mmap').mockImplementation(() => {
    throw new Error('no room in memory');
  });
  expect(() => files.createNow(BYTES)).toThrow('no room');
  expect((await failureOf(files.create(BYTES))).message).toContain('no room');
  expect(mmap).toHaveBeenCalledTimes(2);
  expect(readdirSync(dir.path).filter((name) => name.includes('segment'))).toEqual([]);
  expect(files.bytes).toBe(0);
  files.close();
});

test('whoever syncs waits for the names, also while somebody else is at it', async () => {
  using dir = tempDir();
  const files = openFiles(dir.path);
  const segments = [files.createNow(BYTES), files.createNow(BYTES)];
  // The names' turn comes behind the note of the owner.
  const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
  using _note = spyOn(JournalLock.prototype, 'sync').mockReturnValue(held);
  const ended: string[] = [];
  const syncs = segments.map(async (segment) => {
    await files.sync(segment);
    ended.push(segment.path);
  });
  // An fdatasync that does not wait is over by then.
  const other = openSync(segments[0]!.path, 'r+');
  for (let turn = 0; turn < 5; turn++) await promisify(fdatasync)(other);
  closeSync(other);
  expect(ended).toEqual([]);
  letGo();
  await Promise.all(syncs);
  files.close();
});

test('names that the disk refuses fail whoever waits for them, and are synced again next time', async () => {
  using dir = tempDir();
  const files = openFiles(dir.path);
  const segments = [files.createNow(BYTES), files.createNow(BYTES)];
  using note = spyOn(JournalLock.prototype, 'sync');
  note.mockRejectedValueOnce(new Error('EIO'));
  const failures = segments.map((segment) => failureOf(files.sync(segment)));
  expect((await Promise.all(failures)).map(({ message }) => message)).toEqual(['EIO', 'EIO']);
  await files.sync(segments[0]!);
  await files.sync(segments[1]!);
  expect(note).toHaveBeenCalledTimes(2);
  files.close();
});

const reason = disksUnavailable();
if (reason !== undefined) process.stderr.write(`SKIPPED a disk that fills up: ${reason}\n`);

test.skipIf(reason !== undefined)(
  'a disk that is full before the last byte makes no short segment',
  async () => {
    using disk = memoryDisk('size=512k');
    const files = openFiles(disk.path);
    const { bavail, bsize } = statfsSync(disk.path);
    const bytes = bavail * bsize + 4096;
    expect(() => files.createNow(bytes)).toThrow('ENOSPC');
    expect((await failureOf(files.create(bytes))).message).toContain('ENOSPC');
    expect([files.segments, files.bytes]).toEqual([[], 0]);
    files.close();
  },
);

test('they are locked until they are closed, or cannot be opened', () => {
  using dir = tempDir();
  const files = openFiles(dir.path);
  expect(() => openFiles(dir.path)).toThrow(JournalLocked);
  files.close();
  const bytes = memorySegment(BYTES).buffer;
  bytes.fill(9, 0, 16);
  bytes.fill(9, 2048, 2064);
  writeFileSync(join(dir.path, '00000001.segment'), bytes);
  expect(() => openFiles(dir.path)).toThrow('read ');
  openFiles(dir.path).close();
});
