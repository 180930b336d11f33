// Proves that a journal that cannot be used as asked refuses with one line that says what to do. The
// lock has a file of its own, journal-lock.test.ts; the format version is in segment-store.test.ts.

import { describe, expect, test } from 'bun:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { JournalUnusable } from '../../src/journal/segment-store.ts';
import { openJournal, SEGMENT_BYTES, segmentFiles } from '../support/journals.ts';
import { tempDir } from '../support/temp-dir.ts';

const TIME = 1_764_145_000_000;

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

describe('JOURNAL_BYTES', () => {
  test('that is too small is refused with the size that is enough', async () => {
    using dir = tempDir();
    expect(refusalOf(dir.path, 3 * SEGMENT_BYTES - 1)).toContain(
      `Set JOURNAL_BYTES to ${3 * SEGMENT_BYTES} or more, or BATCH_BYTES lower`,
    );
    await using _enough = openJournal(dir.path, { journalBytes: 3 * SEGMENT_BYTES });
  });

  test('is divided into 64 segments where batches leave room for that', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path, { journalBytes: 64 * 2 ** 20 });
    open.journal.append('one', TIME);
    expect(readFileSync(segmentFiles(dir.path)[0]!)).toHaveLength(2 ** 20);
  });
});
