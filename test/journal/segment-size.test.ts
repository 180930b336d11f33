// Proves how a journal is divided: into 64 segments as a rule, never so small that a batch has no room,
// never so large that positions or the time of a start suffer, never more than Linux maps.

import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { JournalUnusable } from '../../src/journal/journal-directory.ts';
import { segmentBytesFor } from '../../src/journal/segment-size.ts';
import { openJournal, SEGMENT_BYTES, segmentFiles } from '../support/journals.ts';
import { tempDir } from '../support/temp-dir.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const TIB = 2 ** 40;

describe('JOURNAL_BYTES', () => {
  test('that is too small is refused with the size that is enough', async () => {
    using dir = tempDir();
    const advice = `Set JOURNAL_BYTES to ${3 * SEGMENT_BYTES} or more, or BATCH_BYTES lower`;
    const tooSmall = (): unknown => openJournal(dir.path, { journalBytes: 3 * SEGMENT_BYTES - 1 });
    expect(tooSmall).toThrow(JournalUnusable);
    expect(tooSmall).toThrow(advice);
    await using _enough = openJournal(dir.path, { journalBytes: 3 * SEGMENT_BYTES });
  });

  test('is divided into 64 segments where batches leave room for that', async () => {
    using dir = tempDir();
    await using open = openJournal(dir.path, { journalBytes: 64 * MIB });
    open.journal.append('one', 0);
    expect(readFileSync(segmentFiles(dir.path)[0]!)).toHaveLength(MIB);
  });
});

test.each([
  [GIB, 1_000_000, 16 * MIB],
  [4 * GIB, 1_000_000, 64 * MIB],
  [64 * GIB, 1_000_000, 64 * MIB],
  [TIB, 1_000_000, 64 * MIB],
  [4 * TIB, 1_000_000, 256 * MIB],
  [16 * TIB, 1_000_000, GIB],
])('a journal of %d bytes with batches of %d has segments of %d', (journal, batch, segment) => {
  expect(segmentBytesFor(journal, batch)).toBe(segment);
});

test('the largest journal and the largest batch that the options allow stay within 32-bit positions', () => {
  const BATCH_BYTES_MAX = 2 ** 26;
  const LINUX_MAPPINGS_MAX = 65_530;
  for (let bytes = 2 ** 28; bytes <= 2 ** 44; bytes *= 2) {
    for (const batchBytes of [1024, 1_000_000, BATCH_BYTES_MAX]) {
      const segmentBytes = segmentBytesFor(bytes, batchBytes);
      expect(segmentBytes).toBeLessThanOrEqual(GIB);
      expect(segmentBytes).toBeGreaterThan(batchBytes);
      expect(segmentBytes % 4096).toBe(0);
      expect(bytes / segmentBytes).toBeLessThan(LINUX_MAPPINGS_MAX / 2);
    }
  }
});
