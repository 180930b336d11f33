// Proves what is common to all who open a journal's files: found by name, opened under one lock, numbered
// so that no name is given twice, and unlocked again when opening fails. What a start makes of odd files
// is in segment-store.test.ts.

import { expect, test } from 'bun:test';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { claimDirectory, JournalLocked } from '../../src/journal/journal-directory.ts';
import { SegmentFiles } from '../../src/journal/segment-files.ts';
import { memorySegment } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';

const BYTES = 16_384;

function segmentFile(directory: string, number: number, generation: number): string {
  const path = join(directory, `0000000${number}.segment`);
  writeFileSync(path, memorySegment(BYTES, generation).buffer);
  return path;
}

function openFiles(directory: string): SegmentFiles {
  return new SegmentFiles(directory, claimDirectory(directory), (action, error) => {
    throw new Error(action, { cause: error });
  });
}

test('all segments are found and counted; a deleted one is gone from disk and count', () => {
  using dir = tempDir();
  const paths = [segmentFile(dir.path, 2, 7), segmentFile(dir.path, 4, 3)];
  const files = openFiles(dir.path);
  expect(files.found.map(({ path, generation }) => [path, generation])).toEqual([
    [paths[0]!, 7],
    [paths[1]!, 3],
  ]);
  expect(files.bytes).toBe(2 * BYTES);
  files.delete(files.found[0]!);
  expect([existsSync(paths[0]!), existsSync(paths[1]!), files.bytes]).toEqual([false, true, BYTES]);
  files.close();
});

test('a new file is numbered behind all there are, and counted once it is there', () => {
  using dir = tempDir();
  segmentFile(dir.path, 4, 1);
  const files = openFiles(dir.path);
  expect([files.newPath(), files.newPath()]).toEqual([
    join(dir.path, '00000005.segment'),
    join(dir.path, '00000006.segment'),
  ]);
  expect(files.add(segmentFile(dir.path, 6, 1)).generation).toBe(1);
  expect(files.bytes).toBe(2 * BYTES);
  files.close();
});

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
