// Reads a topic from where it begins, partition by partition, without a consumer group: for `tail` and
// `verify`. Decodes hoplog's codecs (none, gzip, zstd).

import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import {
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_FROM,
  COMPRESSION_CODEC,
  readBatchHeader,
  readRecords,
} from '../record-batch.ts';
import { type Cluster } from './cluster.ts';
import { BrokerUnreachable } from './unreachable.ts';
import { verdictOf } from './errors.ts';
import {
  earliestOffsetRequest,
  type FetchAnswer,
  fetchRequest,
  type KafkaRequest,
} from './protocol.ts';

const CODEC_MASK = 7;
const IS_CONTROL = 1 << 5;
/** So many empty answers in a row in front of the end of a partition are not the quota any more. */
const IN_VAIN_MAX = 100;

export interface TopicRecord {
  readonly partition: number;
  /** Exact up to 2^53: at a million records a second, 285 years. */
  readonly offset: number;
  readonly timestamp: number;
  readonly value: Uint8Array;
}

/** No broker answers, one refuses, or the topic holds what cannot be decoded. */
export class TopicUnreadable extends Error {
  override readonly name = 'TopicUnreadable';
}

export class TopicReader {
  /** The first offset that each partition held when its reading began; above 0 = retention was there. */
  readonly begins = new Map<number, number>();
  /** Partitions that the last round left out because they had no leader. */
  leaderless: readonly number[] = [];
  readonly #cluster: Cluster;
  readonly #topic: string;
  /** Where the next round goes on, by partition. */
  readonly #offsets = new Map<number, number>();

  constructor(cluster: Cluster, topic: string) {
    this.#cluster = cluster;
    this.#topic = topic;
  }

  /**
   * One round over all partitions: the records behind the last round's, a partition after the other, up
   * to where it ended when the round came to it. In portions, one per answer of a broker.
   * Empty = nothing new at the moment. @throws {TopicUnreadable}
   */
  async *read(): AsyncGenerator<readonly TopicRecord[]> {
    try {
      const { topicErrorCode, partitions } = await this.#cluster.metadata(this.#topic);
      refuse(topicErrorCode, `topic ${this.#topic}`);
      const led = partitions.filter(({ leader }) => leader >= 0);
      this.leaderless = partitions
        .filter((one) => !led.includes(one))
        .map(({ partition }) => partition);
      for (const { partition, leader } of led) yield* this.#readPartition(partition, leader);
    } catch (error) {
      if (!(error instanceof BrokerUnreachable)) throw error;
      throw new TopicUnreadable(
        `topic ${this.#topic} cannot be read (${error.message}). Are the addresses in KAFKA_BROKERS right?`,
      );
    }
  }

  async *#readPartition(partition: number, leader: number): AsyncGenerator<readonly TopicRecord[]> {
    let offset = this.#offsets.get(partition) ?? (await this.#begin(partition, leader));
    const fetch = (from: number): Promise<FetchAnswer> =>
      this.#ask(partition, leader, fetchRequest(this.#topic, partition, BigInt(from)));
    let answer = await fetch(offset);
    const end = Number(answer.highWatermark);
    for (let inVain = 0; ;) {
      const next = endOf(answer.records) ?? offset;
      // A broker over its quota answers with nothing at first.
      inVain = next > offset ? 0 : inVain + 1;
      if (inVain > IN_VAIN_MAX) {
        throw new TopicUnreadable(`partition ${partition} gives nothing from offset ${offset} on`);
      }
      // The broker looks for the next portion while this one is worked on.
      const following = next < end ? fetch(next) : undefined;
      following?.catch(() => {}); // whoever asks for records may stop asking
      yield decodeBatches(answer.records, partition, offset);
      this.#offsets.set(partition, next);
      if (!following) return;
      answer = await following;
      offset = next;
    }
  }

  async #begin(partition: number, leader: number): Promise<number> {
    const request = earliestOffsetRequest(this.#topic, partition);
    const begin = Number((await this.#ask(partition, leader, request)).offset);
    this.begins.set(partition, begin);
    return begin;
  }

  async #ask<Answer extends { readonly errorCode: number }>(
    partition: number,
    leader: number,
    request: KafkaRequest<Answer>,
  ): Promise<Answer> {
    const answer = await this.#cluster.send(leader, request);
    refuse(answer.errorCode, `partition ${partition}`);
    return answer;
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

/** The records from offset `from` on: a batch may begin in front of what was asked for. */
export function decodeBatches(bytes: Buffer, partition: number, from: number): TopicRecord[] {
  const records: TopicRecord[] = [];
  for (const { position, end } of wholeBatches(bytes)) {
    const { attributes, baseTimestamp } = readBatchHeader(bytes, position);
    if ((attributes & IS_CONTROL) !== 0) continue;
    const baseOffset = Number(bytes.readBigInt64BE(position));
    const body = bytes.subarray(position + BATCH_HEADER_BYTES, end);
    const plain = decompress(body, attributes & CODEC_MASK);
    for (const { offsetDelta, timestampDelta, value } of readRecords(plain, 0, plain.length)) {
      const offset = baseOffset + offsetDelta;
      if (offset < from) continue;
      records.push({ partition, offset, timestamp: baseTimestamp + timestampDelta, value });
    }
  }
  return records;
}

/** The offset behind the last whole batch; undefined where there is none. */
function endOf(bytes: Buffer): number | undefined {
  const last = [...wholeBatches(bytes)].at(-1);
  if (!last) return undefined;
  return Number(bytes.readBigInt64BE(last.position)) + bytes.readInt32BE(last.position + 23) + 1;
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
