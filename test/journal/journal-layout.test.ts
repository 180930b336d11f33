// Proves where journals are looked for, and that a worker gets its own directory, or if that is in use
// one that nobody else has: never none, and never one of a sibling.

import { expect, test } from 'bun:test';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { JournalLocked, JournalUnusable } from '../../src/journal/journal-directory.ts';
import { journalDirectories, openWorkerJournal } from '../../src/journal/journal-layout.ts';
import { tempDir } from '../support/temp-dir.ts';

function withSegment(directory: string): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, '00000001.segment'), '');
}

test('journals are JOURNAL_DIR itself and worker-N below it, where they hold segments', () => {
  using dir = tempDir();
  expect(journalDirectories(dir.path)).toEqual([]);
  withSegment(join(dir.path, 'worker-10'));
  withSegment(join(dir.path, 'worker-9'));
  withSegment(join(dir.path, 'other'));
  withSegment(join(dir.path, 'worker-1.bak'));
  mkdirSync(join(dir.path, 'worker-2'));
  writeFileSync(join(dir.path, 'worker-3'), '');
  const workers = [join(dir.path, 'worker-9'), join(dir.path, 'worker-10')];
  expect(journalDirectories(dir.path)).toEqual(workers);
  withSegment(dir.path);
  expect(journalDirectories(dir.path)).toEqual([dir.path, ...workers]);
});

test('a directory that is not there has none, loudly', () => {
  using dir = tempDir();
  expect(() => journalDirectories(join(dir.path, 'none'))).toThrow('ENOENT');
});

for (const { locked, opened } of [
  { locked: [], opened: 'worker-2' },
  { locked: ['worker-2'], opened: 'worker-4' },
  { locked: ['worker-2', 'worker-4', 'worker-5'], opened: 'worker-6' },
]) {
  test(`worker 2 of 3 opens ${opened} while ${locked.join(', ') || 'nothing'} is in use`, () => {
    const open = (directory: string): string => {
      if (locked.some((name) => directory.endsWith(name))) throw new JournalLocked('in use');
      return directory;
    };
    expect(openWorkerJournal('/j', { worker: 2, workers: 3 }, open)).toBe(`/j/${opened}`);
  });
}

test('what is wrong with a directory otherwise is wrong with the next one, too', () => {
  const open = (): string => {
    throw new JournalUnusable('no room');
  };
  expect(() => openWorkerJournal('/j', { worker: 1, workers: 2 }, open)).toThrow('no room');
});
