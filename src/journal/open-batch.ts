// The batch being filled: records are encoded where they will stay, behind a header that is completed
// at the seal. One object for the life of the journal; it moves from batch to batch.
//
// A record counts once its mark is written. A kill before that is a request that was not answered.

import { foldWords } from '../bytes.ts';
import {
  BATCH_HEADER_BYTES,
  type RecordValue,
  TIMESTAMP_DELTA_MAX_MS,
  writeOpenHeader,
  writeRecord,
} from '../record-batch.ts';
import { finishHash, recordsSeed, sealBatch } from './journalled-batch.ts';
import type { Mark, Segment } from './segment.ts';

export class OpenBatch {
  /** Records in it; 0 = no batch is open. */
  count = 0;
  /** Behind its last record; stays there after the seal. */
  end = 0;
  position = 0;
  baseTimestamp = 0;
  #segment: Segment;
  #limit = 0;
  /** Running hash over the whole words below `end`. */
  #hash = 0;
  #maxTimestamp = 0;

  constructor(segment: Segment) {
    this.#segment = segment;
  }

  /** Opens a batch at `position` with its first record; false when that does not fit. */
  open(
    segment: Segment,
    position: number,
    batchBytes: number,
    value: RecordValue,
    timestamp: number,
  ): boolean {
    const recordsAt = position + BATCH_HEADER_BYTES;
    const limit = Math.min(position + batchBytes, segment.bytes);
    if (recordsAt >= limit) return false;
    const end = writeRecord(segment.buffer, recordsAt, limit, 0, 0, value);
    if (end < 0) return false;
    writeOpenHeader(segment.buffer, position, timestamp);
    this.#segment = segment;
    this.position = position;
    this.#limit = limit;
    this.end = recordsAt;
    this.baseTimestamp = timestamp;
    this.#maxTimestamp = timestamp;
    this.#hash = recordsSeed(segment.generation, position, timestamp);
    this.#commit(end, timestamp);
    return true;
  }

  /** Hot path. False when the record must go to another batch: no room, or a clock that jumped. */
  append(value: RecordValue, timestamp: number): boolean {
    const delta = timestamp - this.baseTimestamp;
    if (delta > TIMESTAMP_DELTA_MAX_MS || delta < -TIMESTAMP_DELTA_MAX_MS) return false;
    const { buffer } = this.#segment;
    const end = writeRecord(buffer, this.end, this.#limit, delta, this.count, value);
    if (end < 0) return false;
    this.#commit(end, timestamp);
    return true;
  }

  seal(): void {
    const { buffer, generation } = this.#segment;
    const { position, end, count, hash } = this.mark();
    sealBatch(buffer, generation, position, end, count, this.#maxTimestamp, hash);
    this.count = 0;
  }

  /** What proves the batch as it is now. */
  mark(): Mark {
    const { position, end, count } = this;
    return { position, end, count, hash: finishHash(this.#hash, this.#segment.words, end, count) };
  }

  #commit(end: number, timestamp: number): void {
    const { words } = this.#segment;
    const hash = foldWords(this.#hash, words, this.end >> 2, end >> 2);
    const count = this.count + 1;
    this.#segment.writeLiveMark(this.position, end, count, finishHash(hash, words, end, count));
    this.#hash = hash;
    this.end = end;
    this.count = count;
    if (timestamp > this.#maxTimestamp) this.#maxTimestamp = timestamp;
  }
}
