// Record batches as a broker hands them out → records. Written apart from src/record-batch.ts, of
// which it is the check: it trusts no length, verifies each CRC, and throws on anything odd instead
// of leaving it out. The drawing of the format is in src/record-batch.ts.

import { gunzipSync } from 'node:zlib';
import { crc32c } from '@node-rs/crc32';

export interface RecordHeader {
  readonly key: string;
  readonly value: Buffer | null;
}

export interface TopicRecord {
  readonly partition: number;
  readonly offset: number;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer;
  readonly headers: readonly RecordHeader[];
}

const LENGTH_AT = 8;
const LENGTH_FROM = 12;
const MAGIC_AT = 16;
const CRC_AT = 17;
const CRC_FROM = 21;
const RECORDS_AT = 61;
const CODEC_MASK = 0x07;
const LOG_APPEND_TIME = 0x08;
const CONTROL = 0x20;
const NO_HEADERS: readonly RecordHeader[] = [];

/**
 * Appends to `into` the records of `batches` from offset `from` on.
 * @returns the offset to go on from: behind the last whole batch.
 */
export function readBatches(
  batches: Buffer,
  partition: number,
  from: number,
  into: TopicRecord[],
): number {
  let next = from;
  // Kafka cuts its answer at a number of bytes: a batch that is not whole comes again.
  for (let at = 0; batches.length - at >= RECORDS_AT;) {
    const bytes = LENGTH_FROM + batches.readInt32BE(at + LENGTH_AT);
    if (bytes > batches.length - at) break;
    const batch = batches.subarray(at, at + bytes);
    const lastOffset = Number(batch.readBigInt64BE(0)) + batch.readInt32BE(23);
    if (lastOffset >= from) readBatch(batch, partition, from, into);
    next = Math.max(next, lastOffset + 1);
    at += bytes;
  }
  return next;
}

function readBatch(batch: Buffer, partition: number, from: number, into: TopicRecord[]): void {
  const baseOffset = Number(batch.readBigInt64BE(0));
  const where = `batch of partition ${partition} at offset ${baseOffset}`;
  const magic = batch.readInt8(MAGIC_AT);
  if (magic !== 2) throw new Error(`${where}: format ${magic}, expected 2`);
  if (crc32c(batch.subarray(CRC_FROM)) !== batch.readUInt32BE(CRC_AT)) {
    throw new Error(`${where}: wrong CRC`);
  }
  const attributes = batch.readInt16BE(21);
  if (attributes & CONTROL) return; // commit and abort marks of transactions
  const baseTimestamp = Number(batch.readBigInt64BE(27));
  const appended = attributes & LOG_APPEND_TIME ? Number(batch.readBigInt64BE(35)) : undefined;
  const recordCount = batch.readInt32BE(57);
  const fields = new Fields(decompress(attributes & CODEC_MASK, batch.subarray(RECORDS_AT), where));
  for (let index = 0; index < recordCount; index++) {
    const end = fields.varint() + fields.at;
    fields.at++; // attributes, unused by Kafka
    const delta = fields.varint();
    const timestamp = appended ?? baseTimestamp + delta;
    const offset = baseOffset + fields.varint();
    const key = fields.bytes();
    const value = fields.bytes();
    if (value === null) throw new Error(`${where}: record ${offset} has no value`);
    const headers = fields.headers();
    if (fields.at !== end) throw new Error(`${where}: record ${offset} has a wrong length`);
    if (offset >= from) into.push({ partition, offset, timestamp, key, value, headers });
  }
  if (!fields.atEnd()) throw new Error(`${where}: bytes behind its ${recordCount} records`);
}

function decompress(codec: number, records: Buffer, where: string): Buffer {
  switch (codec) {
    case 0:
      return records;
    case 1:
      return gunzipSync(records);
    case 4:
      return Bun.zstdDecompressSync(records);
    default:
      throw new Error(`${where}: compression codec ${codec}, this reader has none, gzip and zstd`);
  }
}

/** The fields of records, one after the other. Slices, no copies. */
class Fields {
  readonly #buffer: Buffer;
  at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  atEnd(): boolean {
    return this.at === this.#buffer.length;
  }

  /** A zigzag varint up to 2^53: timestamp deltas are 64 bits wide. */
  varint(): number {
    let shifted = 1;
    let encoded = 0;
    for (;;) {
      const byte = this.#buffer[this.at++];
      if (byte === undefined) throw new RangeError('records end within a number');
      encoded += (byte & 0x7f) * shifted;
      if (byte < 0x80) break;
      shifted *= 0x80;
    }
    return encoded % 2 === 0 ? encoded / 2 : -(encoded + 1) / 2;
  }

  bytes(): Buffer | null {
    const length = this.varint();
    if (length < 0) return null;
    const from = this.at;
    this.at += length;
    if (this.at > this.#buffer.length) throw new RangeError('records end within a field');
    return this.#buffer.subarray(from, this.at);
  }

  headers(): readonly RecordHeader[] {
    const count = this.varint();
    if (count === 0) return NO_HEADERS;
    const headers: RecordHeader[] = [];
    while (headers.length < count) {
      headers.push({ key: String(this.bytes() ?? ''), value: this.bytes() });
    }
    return headers;
  }
}
