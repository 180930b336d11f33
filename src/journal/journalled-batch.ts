// A record batch as it stands in the journal: Kafka's bytes, with the three header fields that the
// broker overwrites anyway carrying the journal's own notes until the batch is sent.
//
//   at  Kafka's field                    here
//    0  baseOffset, high half            records hash: foldWords over the records, seeded per segment
//    4  baseOffset, low half             placement: 12 bits check, 20 bits partition + 1; 0 = none yet
//   12  partitionLeaderEpoch             seal check: foldBytes over the sealed header fields
//
// Two steps with a kill possible between any two writes:
//   seal   the header is completed, the seal check is written last. Before that the batch is found
//          through the segment's marks, so a kill in the middle leaves an open batch, not a bad one.
//   stamp  producer id, epoch, sequence, CRC, and the placement last. The seal check covers none of
//          them: a kill in the middle leaves a sealed batch without a placement, never sent; or one
//          whose other placement is gone, which is counted (Backlog, `placementLost`).
// A batch starts at a position that is 3 modulo 4, so that its records, 61 bytes on, are on a word.

import { foldBytes, foldWord, foldWords, HASH_SEED } from '../bytes.ts';
import {
  BATCH_HEADER_BYTES,
  crcMatches,
  nextSequence,
  type ProducerStamp,
  readBatchHeader,
  readRecords,
  writeClosedHeader,
  writeStamp,
} from '../record-batch.ts';

export interface Placement extends ProducerStamp {
  readonly partition: number;
}

/**
 * No batch is placed with a first sequence from here on, unless Kafka has some of its records or they
 * were given up, and the others got a producer id of their own: then the first of the others has
 * sequence 0, so that of record 0 lies as far below zero as there are settled ones (modulo 2^31; a batch
 * has fewer than 2^24 records, for its bytes are fewer).
 */
export const SETTLED_FROM = 2 ** 31 - 2 ** 24;

/** The placement of a batch whose first record that is not settled has sequence 0. */
export function placementBehind(settled: number, placement: Placement): Placement {
  return { ...placement, baseSequence: nextSequence(0, -settled) };
}

/** How many records of the batch were settled before it was placed so. */
export function settledBefore({ baseSequence }: Placement): number {
  return baseSequence < SETTLED_FROM ? 0 : 2 ** 31 - baseSequence;
}

export interface JournalledHeader {
  readonly end: number;
  readonly recordCount: number;
  readonly baseTimestamp: number;
  readonly maxTimestamp: number;
  /** Where it was sent or was about to be; undefined = certainly never sent. */
  readonly placement: Placement | undefined;
}

const PARTITION_BITS = 20;
export const PARTITION_MAX = 2 ** PARTITION_BITS - 2;
const PARTITION_MASK = 2 ** PARTITION_BITS - 1;
/** No placement, but a batch that had one. */
const REPLACED = 0xfff00000;

/** The first position at or behind `position` where a batch may start. */
export function batchStart(position: number): number {
  return position | 3;
}

/** What the records hash of a batch at `position` starts from, before its first record. */
export function recordsSeed(generation: number, position: number, baseTimestamp: number): number {
  const low = foldWord(foldWord(HASH_SEED, generation), position);
  return foldWord(foldWord(low, baseTimestamp >>> 0), Math.floor(baseTimestamp / 2 ** 32));
}

/**
 * Turns a running hash over all whole words below `end` into the hash of the records: mixes in the
 * last, partial word, the end and the count, so that no two prefixes of a batch look alike.
 */
export function finishHash(hash: number, words: Int32Array, end: number, count: number): number {
  const partialBits = (end & 3) * 8;
  const partial = partialBits === 0 ? 0 : words[end >> 2]! & (2 ** partialBits - 1);
  return foldWord(foldWord(foldWord(hash, partial), end), count);
}

/** The hash that `count` intact records in `[position + 61, end)` must have. */
export function hashRecords(
  buffer: Buffer,
  words: Int32Array,
  generation: number,
  position: number,
  end: number,
  count: number,
): number {
  const baseTimestamp = Number(buffer.readBigInt64BE(position + 27));
  const seed = recordsSeed(generation, position, baseTimestamp);
  const hash = foldWords(seed, words, (position + BATCH_HEADER_BYTES) >> 2, end >> 2);
  return finishHash(hash, words, end, count);
}

/** Completes an open batch. `recordsHash` comes from the running hash, or from `hashRecords`. */
export function sealBatch(
  buffer: Buffer,
  generation: number,
  position: number,
  end: number,
  recordCount: number,
  maxTimestamp: number,
  recordsHash: number,
): void {
  buffer.writeUInt32BE(0, position + 4);
  buffer.writeInt32BE(recordsHash, position);
  writeClosedHeader(buffer, position, end, recordCount, maxTimestamp);
  buffer.writeInt32BE(sealCheck(buffer, generation, position), position + 12);
}

/**
 * Gives a sealed batch its partition and sequence. Must happen before its first send. Stopped in the
 * middle, a first placement was never there, and of another one it shows that there was one before.
 */
export function placeBatch(
  buffer: Buffer,
  position: number,
  end: number,
  placement: Placement,
): void {
  const isFirst = buffer.readUInt32BE(position + 4) === 0;
  buffer.writeUInt32BE(isFirst ? 0 : REPLACED, position + 4);
  writeStamp(buffer, position, end, placement);
  const partition = placement.partition + 1;
  const word = (placementCheck(buffer, position, partition) << PARTITION_BITS) | partition;
  buffer.writeUInt32BE(word >>> 0, position + 4);
}

/** Reads the batch at `position`; undefined where no sealed batch of this generation stands. */
export function readJournalled(
  buffer: Buffer,
  generation: number,
  position: number,
): JournalledHeader | undefined {
  if (position + BATCH_HEADER_BYTES > buffer.length || buffer[position + 16] !== 2)
    return undefined;
  const header = readBatchHeader(buffer, position);
  const end = position + header.bytes;
  if (header.bytes <= BATCH_HEADER_BYTES || end > buffer.length) return undefined;
  if (buffer.readInt32BE(position + 12) !== sealCheck(buffer, generation, position)) {
    return undefined;
  }
  return {
    end,
    recordCount: header.recordCount,
    baseTimestamp: header.baseTimestamp,
    maxTimestamp: header.maxTimestamp,
    placement: readPlacement(buffer, position, header),
  };
}

/**
 * Are the records what was appended? The records hash decides; a placement that Kafka's CRC does
 * not confirm was torn by a power cut and is taken back by the caller.
 */
export function recordsIntact(
  buffer: Buffer,
  words: Int32Array,
  generation: number,
  position: number,
  header: JournalledHeader,
): boolean {
  const expected = buffer.readInt32BE(position);
  const { end, recordCount } = header;
  return hashRecords(buffer, words, generation, position, end, recordCount) === expected;
}

export function placementIntact(buffer: Buffer, position: number): boolean {
  return crcMatches(buffer, position, readBatchHeader(buffer, position));
}

/**
 * A placement that does not hold: was it written over one that Kafka may know the batch by? Of a first
 * one that a power cut has torn, either the word is still 0 or the sequence -1.
 */
export function wasReplaced(buffer: Buffer, position: number): boolean {
  const word = buffer.readUInt32BE(position + 4);
  return word !== 0 && readBatchHeader(buffer, position).baseSequence >= 0;
}

/** The highest timestamp among the records of an open batch found after a crash. */
export function maxTimestampOf(buffer: Buffer, position: number, end: number): number {
  const baseTimestamp = Number(buffer.readBigInt64BE(position + 27));
  let maxDelta = 0;
  for (const record of readRecords(buffer, position + BATCH_HEADER_BYTES, end)) {
    maxDelta = Math.max(maxDelta, record.timestampDelta);
  }
  return baseTimestamp + maxDelta;
}

function readPlacement(
  buffer: Buffer,
  position: number,
  stamp: ProducerStamp,
): Placement | undefined {
  const word = buffer.readUInt32BE(position + 4);
  const partition = word & PARTITION_MASK;
  if (partition === 0) return undefined;
  if (word >>> PARTITION_BITS !== placementCheck(buffer, position, partition)) return undefined;
  const { producerId, producerEpoch, baseSequence } = stamp;
  return { partition: partition - 1, producerId, producerEpoch, baseSequence };
}

function sealCheck(buffer: Buffer, generation: number, position: number): number {
  let hash = foldWord(foldWord(HASH_SEED, generation), position);
  hash = foldBytes(hash, buffer, position, position + 4);
  hash = foldBytes(hash, buffer, position + 8, position + 12);
  hash = foldBytes(hash, buffer, position + 21, position + 43);
  return foldBytes(hash, buffer, position + 57, position + BATCH_HEADER_BYTES);
}

function placementCheck(buffer: Buffer, position: number, partition: number): number {
  let hash = foldWord(HASH_SEED, partition);
  hash = foldBytes(hash, buffer, position + 17, position + 21);
  hash = foldBytes(hash, buffer, position + 43, position + 57);
  return (hash ^ (hash >>> 16)) & 0xfff;
}
