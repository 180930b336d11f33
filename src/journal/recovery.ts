// Bytes after a crash → batches to send. Pure over a segment's memory: opens no file, and whatever
// it meets (torn, flipped, stale) it neither throws nor returns a record that was not appended.
//
// A batch counts when its seal check and the hash of its records hold. Where they do not, a mark of
// the segment may still prove a prefix of it (the open batch of a killed process; what the last
// fdatasync covered before a power cut), and that prefix is sealed in place. Where neither helps,
// the search goes on behind the damage: good batches there are kept and the gap is reported.

import { blankHeader } from '../record-batch.ts';
import {
  batchStart,
  type JournalledHeader,
  maxTimestampOf,
  readJournalled,
  recordsIntact,
  sealBatch,
} from './journalled-batch.ts';
import { FIRST_BATCH_AT, type Mark, type Segment } from './segment.ts';

export interface FoundBatch {
  readonly position: number;
  readonly header: JournalledHeader;
  /** Bytes passed over in front of it that should have been batches: 0 in a sound journal. */
  readonly lostBytes: number;
}

/** The next intact batch that starts in `[from, to)`; undefined where there is none. */
export function findBatch(segment: Segment, from: number, to: number): FoundBatch | undefined {
  let marks: Mark[] | undefined;
  for (let position = batchStart(from); position < to; position += 4) {
    const header = readIntact(segment, position);
    if (header) return { position, header, lostBytes: position - batchStart(from) };
    // Marks are costly to prove and there are four: only asked once a batch is missing.
    marks ??= segment.intactMarks();
    const mark = marks.find((candidate) => candidate.position === position);
    if (!mark) continue;
    const sealed = sealFromMark(segment, mark);
    return { position, header: sealed, lostBytes: position - batchStart(from) };
  }
  return undefined;
}

/**
 * Walks the segment that was being written when the process ended, seals what was open, and returns
 * the position behind the last batch: appending goes on there.
 */
export function recoverTail(segment: Segment): { end: number; lostBytes: number } {
  let end = FIRST_BATCH_AT;
  let lostBytes = 0;
  for (;;) {
    const found = findBatch(segment, end, segment.bytes);
    if (!found) {
      segment.retireMarks();
      return { end, lostBytes };
    }
    lostBytes += found.lostBytes;
    end = batchStart(found.header.end);
  }
}

/** Is the sealed batch at `position`, whoever sealed it, still what was appended? */
export function isIntact({ buffer, words, generation }: Segment, position: number): boolean {
  const header = readJournalled(buffer, generation, position);
  if (!header) return false;
  return recordsIntact(buffer, words, generation, position, header);
}

function readIntact(segment: Segment, position: number): JournalledHeader | undefined {
  const { buffer, words, generation } = segment;
  const header = readJournalled(buffer, generation, position);
  if (!header) return undefined;
  // What this process sealed itself needs no second look: 0.25 ms a MB.
  if (position >= segment.recoveredEnd) return header;
  return recordsIntact(buffer, words, generation, position, header) ? header : undefined;
}

function sealFromMark(segment: Segment, mark: Mark): JournalledHeader {
  const { buffer, generation } = segment;
  const { position, end, count, hash } = mark;
  const maxTimestamp = maxTimestampOf(buffer, position, end);
  // The page may be an older one than the records'. Killed in here, the mark still proves the batch:
  // of the header its hash covers the base timestamp only.
  blankHeader(buffer, position);
  sealBatch(buffer, generation, position, end, count, maxTimestamp, hash);
  segment.dirty = true;
  const baseTimestamp = Number(buffer.readBigInt64BE(position + 27));
  return { end, recordCount: count, baseTimestamp, maxTimestamp, placement: undefined };
}
