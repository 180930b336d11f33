// How large a segment is, from what the journal may take in all. Pure.
//
// Small ones come back sooner when Kafka has them, and the newest is read through at a start; each
// costs a mapping (Linux allows a process 65,530) and a descriptor. Positions in a segment are 32-bit.

import { JournalUnusable } from './journal-directory.ts';
import { FIRST_BATCH_AT } from './segment.ts';

/** Below this much room and without a spare the journal counts as full: before a record is lost. */
export const RESERVE_BYTES = 64 * 1024;
/** So many segments for any journal, until they would grow past SEGMENT_BYTES_GOOD. */
const SEGMENTS_GOOD = 64;
/** Zeroed in 30 ms, should it have to be done in a hurry. */
const SEGMENT_BYTES_GOOD = 64 * 2 ** 20;
/** A quarter of what Linux lets a process map: reached at 1 TiB, from there on segments grow again. */
export const SEGMENTS_MAX = 16_384;
/** Active, spare, and one that Kafka has not acknowledged yet. */
const SEGMENTS_MIN = 3;
const PAGE_BYTES = 4096;

/** @throws {JournalUnusable} three segments that hold a batch do not fit */
export function segmentBytesFor(journalBytes: number, batchBytes: number): number {
  const good = Math.min(journalBytes / SEGMENTS_GOOD, SEGMENT_BYTES_GOOD);
  const forBatch = FIRST_BATCH_AT + batchBytes + RESERVE_BYTES;
  const wanted = Math.max(good, journalBytes / SEGMENTS_MAX, forBatch);
  const segmentBytes = Math.ceil(wanted / PAGE_BYTES) * PAGE_BYTES;
  if (segmentBytes * SEGMENTS_MIN <= journalBytes) return segmentBytes;
  throw new JournalUnusable(
    `JOURNAL_BYTES=${journalBytes} is too small for BATCH_BYTES=${batchBytes}: a journal holds ` +
      `at least ${SEGMENTS_MIN} segments of ${segmentBytes} bytes. ` +
      `Set JOURNAL_BYTES to ${segmentBytes * SEGMENTS_MIN} or more, or BATCH_BYTES lower`,
  );
}
