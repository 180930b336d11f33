// Segments over plain memory: what the journal makes of given bytes, without files. `Scribe` writes
// as the journal does, `readAfterCrash` reads as a start does.

import {
  batchStart,
  type JournalledHeader,
  type Placement,
  placeBatch,
} from '../../src/journal/journalled-batch.ts';
import { OpenBatch } from '../../src/journal/open-batch.ts';
import { findBatch, recoverTail } from '../../src/journal/recovery.ts';
import { FIRST_BATCH_AT, Segment } from '../../src/journal/segment.ts';
import { BATCH_HEADER_BYTES, readRecords } from '../../src/record-batch.ts';

export const TIME = 1_764_145_000_123;

export interface ReadBatch {
  readonly position: number;
  readonly end: number;
  readonly values: readonly string[];
  /** Milliseconds since 1970, one a record. */
  readonly times: readonly number[];
  readonly maxTimestamp: number;
  readonly placement: Placement | undefined;
}

/** A segment of its own zeros, begun. */
export function memorySegment(bytes: number, generation = 1): Segment {
  const segment = new Segment('memory', new Uint8Array(bytes));
  segment.begin(generation);
  return segment;
}

/** The same bytes as a start of the process finds them. */
export function reopened(bytes: Uint8Array): Segment {
  const segment = new Segment('memory', new Uint8Array(bytes));
  segment.recoveredEnd = segment.bytes;
  return segment;
}

export function bytesOf(segment: Segment): Uint8Array {
  return new Uint8Array(segment.buffer);
}

/** Writes batches into a segment, one behind the other; the last one stays open until sealed. */
export class Scribe {
  readonly open: OpenBatch;
  readonly #segment: Segment;
  #next: number;
  #time = TIME;

  constructor(segment: Segment, next = FIRST_BATCH_AT) {
    this.#segment = segment;
    this.#next = next;
    this.open = new OpenBatch(segment);
  }

  /** Where the next batch will start. */
  get next(): number {
    return this.#next;
  }

  /** Opens a batch of these records, 7 ms apart. */
  write(...values: readonly string[]): this {
    for (const value of values) {
      this.#time += 7;
      const written =
        this.open.count > 0
          ? this.open.append(value, this.#time)
          : this.open.open(this.#segment, this.#next, 2 ** 20, value, this.#time);
      if (!written) throw new Error(`no room for "${value}"`);
    }
    return this;
  }

  seal(placement?: Placement): this {
    const { position, end } = this.open;
    this.open.seal();
    this.#next = batchStart(end);
    if (placement) placeBatch(this.#segment.buffer, position, end, placement);
    return this;
  }
}

export function readBatchAt(
  segment: Segment,
  position: number,
  header: JournalledHeader,
): ReadBatch {
  const { end, baseTimestamp, maxTimestamp, placement } = header;
  const records = [...readRecords(segment.buffer, position + BATCH_HEADER_BYTES, end)];
  if (records.length !== header.recordCount) throw new Error(`${records.length} records found`);
  const values = records.map(({ value }) => Buffer.from(value).toString());
  const times = records.map(({ timestampDelta }) => baseTimestamp + timestampDelta);
  return { position, end, values, times, maxTimestamp, placement };
}

/** All batches that can be read from the start of the segment on. */
export function batchesOf(segment: Segment): ReadBatch[] {
  const batches: ReadBatch[] = [];
  for (let from = FIRST_BATCH_AT; ;) {
    const found = findBatch(segment, from, segment.bytes);
    if (!found) return batches;
    batches.push(readBatchAt(segment, found.position, found.header));
    from = batchStart(found.header.end);
  }
}

export function valuesOf(batches: readonly ReadBatch[]): string[] {
  return batches.flatMap(({ values }) => values);
}

export interface CrashedSegment {
  readonly segment: Segment;
  readonly batches: readonly ReadBatch[];
  readonly end: number;
  readonly lostBytes: number;
}

/** Recovers a copy of the bytes, as the start after a crash does with the newest segment. */
export function readAfterCrash(bytes: Uint8Array): CrashedSegment {
  const segment = reopened(bytes);
  const { end, holes } = recoverTail([segment]);
  segment.retireMarks();
  const lostBytes = holes.reduce((sum, { bytes }) => sum + bytes, 0);
  return { segment, batches: batchesOf(segment), end, lostBytes };
}

/** `bytes` with `[from, to)` as zeros. */
export function zeroed(bytes: Uint8Array, from: number, to = bytes.length): Uint8Array {
  return new Uint8Array(bytes).fill(0, from, to);
}
