// Reads a topic from where it begins, partition by partition, without a consumer group: for `tail`,
// and for whoever wants to check what arrived. Decodes hoplog's codecs (none, gzip, zstd).

import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import {
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_FROM,
  COMPRESSION_CODEC,
  readBatchHeader,
  readRecords,
} from '../record-batch.ts';
import type { Cluster } from './cluster.ts';
import { verdictOf } from './errors.ts';
import { earliestOffsetRequest, fetchRequest } from './protocol.ts';

const CODEC_MASK = 7;
const IS_CONTROL = 1 << 5;

export interface TopicRecord {
  readonly partition: number;
  readonly offset: bigint;
  readonly timestamp: number;
  readonly value: Uint8Array;
}

/** The broker refuses, or the topic holds what cannot be decoded. */
export class TopicUnreadable extends Error {
  override readonly name = 'TopicUnreadable';
}

export class TopicReader {
  readonly #cluster: Cluster;
  readonly #topic: string;
  readonly #offsets = new Map<number, bigint>();

  constructor(cluster: Cluster, topic: string) {
    this.#cluster = cluster;
    this.#topic = topic;
  }

  /**
   * One round over all partitions: the records behind the last round's, a partition after the other.
   * Empty = nothing new at the moment. @throws {BrokerUnreachable} {TopicUnreadable}
   */
  async *read(): AsyncGenerator<TopicRecord> {
    const { topicErrorCode, partitions } = await this.#cluster.metadata(this.#topic);
    refuse(topicErrorCode, `topic ${this.#topic}`);
    for (const { partition, leader } of partitions) {
      if (leader < 0) continue;
      yield* this.#readPartition(partition, leader);
    }
  }

  async *#readPartition(partition: number, leader: number): AsyncGenerator<TopicRecord> {
    let offset = this.#offsets.get(partition) ?? (await this.#earliest(partition, leader));
    for (;;) {
      const answer = await this.#cluster.send(leader, fetchRequest(this.#topic, partition, offset));
      refuse(answer.errorCode, `partition ${partition}`);
      for (const record of decodeBatches(answer.records, partition)) {
        if (record.offset >= offset) yield record;
      }
      const next = endOf(answer.records) ?? offset;
      this.#offsets.set(partition, next);
      if (next <= offset || next >= answer.highWatermark) return;
      offset = next;
    }
  }

  async #earliest(partition: number, leader: number): Promise<bigint> {
    const request = earliestOffsetRequest(this.#topic, partition);
    const { errorCode, offset } = await this.#cluster.send(leader, request);
    refuse(errorCode, `partition ${partition}`);
    return offset;
  }
}

/** Positions of the whole batches; the broker cuts the last one off where its answer is full. */
function* wholeBatches(bytes: Buffer): Generator<{ position: number; end: number }> {
  let position = 0;
  while (position + BATCH_HEADER_BYTES <= bytes.length) {
    const end = position + bytes.readInt32BE(position + 8) + BATCH_LENGTH_FROM;
    if (end <= position || end > bytes.length) return;
    yield { position, end };
    position = end;
  }
}

function* decodeBatches(bytes: Buffer, partition: number): Generator<TopicRecord> {
  for (const { position, end } of wholeBatches(bytes)) {
    const { attributes, baseTimestamp } = readBatchHeader(bytes, position);
    if ((attributes & IS_CONTROL) !== 0) continue;
    const baseOffset = bytes.readBigInt64BE(position);
    const body = bytes.subarray(position + BATCH_HEADER_BYTES, end);
    const records = decompress(body, attributes & CODEC_MASK);
    for (const { offsetDelta, timestampDelta, value } of readRecords(records, 0, records.length)) {
      const offset = baseOffset + BigInt(offsetDelta);
      yield { partition, offset, timestamp: baseTimestamp + timestampDelta, value };
    }
  }
}

/** The offset behind the last whole batch; undefined where there is none. */
function endOf(bytes: Buffer): bigint | undefined {
  const last = [...wholeBatches(bytes)].at(-1);
  if (!last) return undefined;
  const lastOffsetDelta = bytes.readInt32BE(last.position + 23);
  return bytes.readBigInt64BE(last.position) + BigInt(lastOffsetDelta) + 1n;
}

function decompress(records: Uint8Array, codec: number): Uint8Array {
  switch (codec) {
    case COMPRESSION_CODEC.none:
      return records;
    case COMPRESSION_CODEC.gzip:
      return gunzipSync(records);
    case COMPRESSION_CODEC.zstd:
      return zstdDecompressSync(records);
    default:
      throw new TopicUnreadable(
        `a batch is compressed with codec ${codec}: only none, gzip, zstd can be read`,
      );
  }
}

function refuse(errorCode: number, what: string): void {
  if (errorCode !== 0) throw new TopicUnreadable(`${what}: ${verdictOf(errorCode).name}`);
}
