// Proves that a journal that cannot be used as asked refuses with one line that says what to do. The
// lock has a file of its own, journal-directory.test.ts; the format version is in segment-store.test.ts.

import { expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { JournalUnusable } from '../../src/journal/journal-directory.ts';
import { openJournal, SEGMENT_BYTES } from '../support/journals.ts';
import { tempDir } from '../support/temp-dir.ts';

function refusalOf(directory: string, journalBytes = 3 * SEGMENT_BYTES): string {
  try {
    openJournal(directory, { journalBytes });
  } catch (error) {
    expect(error).toBeInstanceOf(JournalUnusable);
    expect((error as Error).message).not.toContain('\n');
    return (error as Error).message;
  }
  throw new Error('it was not refused');
}

test('a directory that cannot be made', () => {
  using dir = tempDir();
  writeFileSync(join(dir.path, 'file'), '');
  const directory = join(dir.path, 'file', 'journal');
  expect(refusalOf(directory)).toContain(
    `cannot write to JOURNAL_DIR=${directory} (ENOTDIR). Create it, give this user write access`,
  );
});

test('a disk that is too small', () => {
  using dir = tempDir();
  expect(refusalOf(dir.path, 2 ** 60)).toMatch(
    /^the disk of JOURNAL_DIR=\S+ has \d+ MiB free, \d+ MiB too few for JOURNAL_BYTES=\d+\. Free/,
  );
});
