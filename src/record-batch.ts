// Kafka's record batch, format v2: the one format both halves of hoplog speak. Pure bytes: knows
// neither the journal nor the network.
//
//   at  bytes  field                     at  bytes  field
//    0      8  baseOffset (0 when sent)   23      4  lastOffsetDelta = recordCount - 1
//    8      4  batchLength, from here on  27      8  baseTimestamp, ms since 1970
//   12      4  partitionLeaderEpoch (-1)  35      8  maxTimestamp
//   16      1  magic = 2                  43      8  producerId       ┐
//   17      4  crc32c of all from byte 21 51      2  producerEpoch    │ -1 = not idempotent
//   21      2  attributes: low 3 bits =   53      4  baseSequence     ┘
//              codec 0 none 1 gzip 4 zstd 57      4  recordCount
//                                         61         records (as a whole compressed, or plain)
//
// Big-endian throughout. The broker owns baseOffset and partitionLeaderEpoch and overwrites both,
// and the CRC leaves them out; the journal keeps notes of its own there (journal/journalled-batch.ts).
//
// A record, all numbers zigzag varints:
//   length | attributes (1 byte, 0) | timestampDelta | offsetDelta | keyLength (-1 = no key)
//   | valueLength | value | headerCount (0)

import { crc32c, VarintReader, varintBytes, writeVarint } from './bytes.ts';

export const BATCH_HEADER_BYTES = 61;
/** Bytes of a batch that `batchLength` does not count. */
export const BATCH_LENGTH_FROM = 12;
const CRC_AT = 17;
const CRC_FROM = 21;
const NO_KEY = 1; // zigzag varint of -1
/** Largest overhead of one record: five varints of at most 5 bytes, attributes, key and headers. */
export const RECORD_OVERHEAD_BYTES_MAX = 5 + 1 + 5 + 5 + 1 + 5 + 1;
/** A delta past this opens a new batch: a clock that jumps must not overflow the varint. */
export const TIMESTAMP_DELTA_MAX_MS = 2 ** 30;
const SEQUENCE_MASK = 0x7fffffff;

export type Compression = 'none' | 'gzip' | 'zstd';
export const COMPRESSION_CODEC = { none: 0, gzip: 1, zstd: 4 } as const;

/** Who sent a batch, for the broker's duplicate check; sequences count records per partition. */
export interface ProducerStamp {
  readonly producerId: bigint;
  readonly producerEpoch: number;
  readonly baseSequence: number;
}

export interface BatchHeader extends ProducerStamp {
  /** Bytes of the whole batch, header included. */
  readonly bytes: number;
  readonly crc: number;
  readonly attributes: number;
  readonly baseTimestamp: number;
  readonly maxTimestamp: number;
  readonly recordCount: number;
}

/** Kafka's sequence numbers wrap from 2^31 - 1 to 0. */
export function nextSequence(sequence: number, count: number): number {
  return (sequence + count) & SEQUENCE_MASK;
}

/** A value that puts its bytes in place itself, where making a text of it first would cost more. */
export interface ValueWriter {
  readonly byteLength: number;
  /** Writes exactly `byteLength` bytes. */
  writeTo(target: Uint8Array, position: number): void;
}

export type RecordValue = string | Uint8Array | ValueWriter;

/** Bun's Buffer has Node's undocumented direct writer: 14 ns where `write` takes 21 (bench/micro). */
interface DirectBuffer extends Buffer {
  utf8Write(text: string, offset: number, length: number): number;
}

/**
 * Writes one record without key and headers.
 * @returns the position behind the record, or -1 when it does not fit below `limit`; what was
 *   written above `position` is then meaningless.
 */
export function writeRecord(
  target: Buffer,
  position: number,
  limit: number,
  timestampDelta: number,
  offsetDelta: number,
  value: RecordValue,
): number {
  if (typeof value !== 'string') {
    return writeBytesRecord(target, position, limit, timestampDelta, offsetDelta, value);
  }
  // A UTF-16 unit takes at most 3 bytes, so this bound needs no pass over the text; only records
  // that may miss it are measured.
  const bound = position + RECORD_OVERHEAD_BYTES_MAX + value.length * 3;
  if (bound > limit && position + RECORD_OVERHEAD_BYTES_MAX + Buffer.byteLength(value) > limit) {
    return -1;
  }
  // Nearly all records are ASCII, where the byte count is the length: write the text where it then
  // belongs, and only if that guess was wrong move it.
  const deltas = varintBytes(timestampDelta) + varintBytes(offsetDelta);
  const guessed = valuePosition(position, deltas, value.length);
  const written = (target as DirectBuffer).utf8Write(value, guessed, limit - guessed);
  const valueAt = valuePosition(position, deltas, written);
  if (valueAt !== guessed) target.copyWithin(valueAt, guessed, guessed + written);
  return writeFrame(target, position, deltas, timestampDelta, offsetDelta, valueAt, written);
}

function writeBytesRecord(
  target: Buffer,
  position: number,
  limit: number,
  timestampDelta: number,
  offsetDelta: number,
  value: Uint8Array | ValueWriter,
): number {
  const { byteLength } = value;
  if (position + RECORD_OVERHEAD_BYTES_MAX + byteLength > limit) return -1;
  const deltas = varintBytes(timestampDelta) + varintBytes(offsetDelta);
  const valueAt = valuePosition(position, deltas, byteLength);
  if (value instanceof Uint8Array) target.set(value, valueAt);
  else value.writeTo(target, valueAt);
  return writeFrame(target, position, deltas, timestampDelta, offsetDelta, valueAt, byteLength);
}

/** Bytes of a value once it is encoded. */
export function valueBytes(value: RecordValue): number {
  return typeof value === 'string' ? Buffer.byteLength(value) : value.byteLength;
}

/** Where the value of a record that starts at `position` begins. */
function valuePosition(position: number, deltas: number, bytes: number): number {
  const valueLength = varintBytes(bytes);
  const body = 1 + deltas + 1 + valueLength + bytes + 1;
  return position + varintBytes(body) + 1 + deltas + 1 + valueLength;
}

function writeFrame(
  target: Buffer,
  position: number,
  deltas: number,
  timestampDelta: number,
  offsetDelta: number,
  valueAt: number,
  bytes: number,
): number {
  const body = 1 + deltas + 1 + varintBytes(bytes) + bytes + 1;
  let at = writeVarint(target, position, body);
  target[at++] = 0;
  at = writeVarint(target, at, timestampDelta);
  at = writeVarint(target, at, offsetDelta);
  target[at++] = NO_KEY;
  writeVarint(target, at, bytes);
  target[valueAt + bytes] = 0;
  return valueAt + bytes + 1;
}

export interface BatchRecord {
  readonly timestampDelta: number;
  readonly offsetDelta: number;
  /** A view into the batch, valid as long as the batch is. */
  readonly value: Uint8Array;
}

/**
 * Walks the plain records in `bytes[from, to)`. Ends early at the first byte run that is no record:
 * compare the number of records with the header's count where that matters.
 */
export function* readRecords(bytes: Uint8Array, from: number, to: number): Generator<BatchRecord> {
  let position = from;
  while (position < to) {
    const reader = new VarintReader(bytes, position, to);
    const body = reader.read();
    const end = reader.position + body;
    if (reader.torn || body <= 0 || end > to) return;
    reader.position++; // attributes
    const timestampDelta = reader.read();
    const offsetDelta = reader.read();
    const keyBytes = reader.read();
    if (keyBytes > 0) reader.position += keyBytes;
    const length = reader.read();
    const valueEnd = reader.position + length;
    if (reader.torn || length < 0 || valueEnd > end) return;
    yield { timestampDelta, offsetDelta, value: bytes.subarray(reader.position, valueEnd) };
    position = end;
  }
}

/** Begins a batch: all of the header that is known before its records are. */
export function writeOpenHeader(target: Buffer, position: number, baseTimestamp: number): void {
  blankHeader(target, position);
  writeInt64(target, position + 27, baseTimestamp);
}

/** Everything but the base timestamp as in an open batch, whatever stood there. */
export function blankHeader(target: Buffer, position: number): void {
  target.fill(0, position, position + 27);
  target[position + 16] = 2;
  target.fill(0, position + 35, position + BATCH_HEADER_BYTES);
  target.fill(0xff, position + 43, position + 57); // no producer, no sequence yet
}

/** Completes the header of a batch whose records end at `end`. Leaves stamp and CRC alone. */
export function writeClosedHeader(
  target: Buffer,
  position: number,
  end: number,
  recordCount: number,
  maxTimestamp: number,
): void {
  target.writeInt32BE(end - position - BATCH_LENGTH_FROM, position + 8);
  target.writeInt32BE(recordCount - 1, position + 23);
  writeInt64(target, position + 35, maxTimestamp);
  target.writeInt32BE(recordCount, position + 57);
}

/** Writes producer id, epoch and sequence, and the CRC, which covers them. */
export function writeStamp(
  target: Buffer,
  position: number,
  end: number,
  stamp: ProducerStamp,
): void {
  target.writeBigInt64BE(stamp.producerId, position + 43);
  target.writeInt16BE(stamp.producerEpoch, position + 51);
  target.writeInt32BE(stamp.baseSequence, position + 53);
  target.writeUInt32BE(crc32c(target.subarray(position + CRC_FROM, end)), position + CRC_AT);
}

export function readBatchHeader(source: Buffer, position: number): BatchHeader {
  return {
    bytes: source.readInt32BE(position + 8) + BATCH_LENGTH_FROM,
    crc: source.readUInt32BE(position + CRC_AT),
    attributes: source.readInt16BE(position + 21),
    baseTimestamp: Number(source.readBigInt64BE(position + 27)),
    maxTimestamp: Number(source.readBigInt64BE(position + 35)),
    producerId: source.readBigInt64BE(position + 43),
    producerEpoch: source.readInt16BE(position + 51),
    baseSequence: source.readInt32BE(position + 53),
    recordCount: source.readInt32BE(position + 57),
  };
}

export function crcMatches(source: Buffer, position: number, header: BatchHeader): boolean {
  const covered = source.subarray(position + CRC_FROM, position + header.bytes);
  return crc32c(covered) === header.crc;
}

/**
 * A fresh batch of the records `[from, to)` (indices) of `batch`, none dated later than `latest` (ms
 * since 1970), for a broker that refused the whole. The sequence of a record stays what it was, so
 * the stamp moves by `from`.
 */
export function recutBatch(batch: Buffer, from: number, to: number, latest = Infinity): Buffer {
  const header = readBatchHeader(batch, 0);
  const baseTimestamp = Math.min(header.baseTimestamp, latest);
  // Deltas only shrink, so the records take no more room than they did.
  const target = Buffer.alloc(batch.length);
  writeOpenHeader(target, 0, baseTimestamp);
  let end = BATCH_HEADER_BYTES;
  let index = 0;
  for (const record of readRecords(batch, BATCH_HEADER_BYTES, header.bytes)) {
    if (index >= from && index < to) {
      const limit = target.length + RECORD_OVERHEAD_BYTES_MAX;
      const time = Math.min(header.baseTimestamp + record.timestampDelta, latest);
      end = writeRecord(target, end, limit, time - baseTimestamp, index - from, record.value);
    }
    index++;
  }
  writeClosedHeader(target, 0, end, to - from, Math.min(header.maxTimestamp, latest));
  const baseSequence =
    header.baseSequence < 0 ? header.baseSequence : nextSequence(header.baseSequence, from);
  const recut = target.subarray(0, end);
  writeStamp(recut, 0, end, { ...header, baseSequence });
  return recut;
}

/** The same batch with its records compressed as a whole; the CRC is made anew. */
export function compressedBatch(batch: Buffer, codec: number, records: Uint8Array): Buffer {
  const target = Buffer.allocUnsafe(BATCH_HEADER_BYTES + records.length);
  batch.copy(target, 0, 0, BATCH_HEADER_BYTES);
  target.set(records, BATCH_HEADER_BYTES);
  target.writeInt32BE(target.length - BATCH_LENGTH_FROM, 8);
  target.writeInt16BE(codec, 21);
  writeStamp(target, 0, target.length, readBatchHeader(target, 0));
  return target;
}

function writeInt64(target: Buffer, position: number, value: number): void {
  target.writeInt32BE(Math.floor(value / 2 ** 32), position);
  target.writeUInt32BE(value >>> 0, position + 4);
}
