// Just enough of Kafka's protocol to create a topic, find its leaders and read it back. Shares no
// line with src/ nor with kafkajs: what checks the product must not repeat its mistakes. And every
// request has a time limit of its own, because tests freeze brokers.
// The versions are the last (or simplest) before the "flexible" ones; the grammar of each request
// stands above its function, and wire-bytes.ts says what its words mean.

import { connect, type Socket } from 'node:net';
import { Reader, Writer } from './wire-bytes.ts';

const CLIENT_ID = 'hoplog-test';
const FETCH_BYTES_MAX = 16 * 1024 * 1024;
const FETCH_WAIT_MAX_MS = 500;
const EARLIEST = -2;
const LATEST = -1;

export interface TopicSpec {
  readonly name: string;
  readonly partitions: number;
  /** -1, the default: the broker's, which is the number of nodes. */
  readonly replicationFactor?: number;
  readonly configs?: Readonly<Record<string, string | number | boolean>>;
}

export interface PartitionState {
  readonly partition: number;
  /** Node id of the leader; -1 = none at the moment. */
  readonly leader: number;
  readonly replicas: readonly number[];
  readonly inSyncReplicas: readonly number[];
}

export interface NodeAddress {
  readonly id: number;
  readonly host: string;
  readonly port: number;
}

export interface ClusterState {
  /** Nodes alive in the eyes of the one asked, at the addresses for the listener asked. */
  readonly nodes: readonly NodeAddress[];
  /** Partitions of the topic asked for, by number. */
  readonly partitions: readonly PartitionState[];
}

/** Kafka answered, with an error code. */
export class KafkaRefused extends Error {
  override readonly name = 'KafkaRefused';
  readonly code: number;

  constructor(what: string, code: number) {
    super(`${what}: Kafka answers with error ${code} ${ERROR_NAMES[code] ?? ''}`.trimEnd());
    this.code = code;
  }
}

/** The codes a test is likely to meet. */
const ERROR_NAMES: Readonly<Record<number, string>> = {
  1: 'OFFSET_OUT_OF_RANGE',
  3: 'UNKNOWN_TOPIC_OR_PARTITION',
  5: 'LEADER_NOT_AVAILABLE',
  6: 'NOT_LEADER_OR_FOLLOWER',
  7: 'REQUEST_TIMED_OUT',
  36: 'TOPIC_ALREADY_EXISTS',
  38: 'INVALID_REPLICATION_FACTOR',
  40: 'INVALID_CONFIG',
  56: 'KAFKA_STORAGE_ERROR',
};

/** One connection to one node of this machine. */
export class KafkaConnection implements Disposable {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  readonly #waiting = new Map<number, PromiseWithResolvers<Reader>>();
  #correlationId = 0;
  #chunks: Buffer[] = [];
  #bufferedBytes = 0;
  #broken: Error | undefined;

  /** `timeoutMs` is the limit of every single request. */
  constructor(port: number, timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.#socket = connect({ host: '127.0.0.1', port, noDelay: true });
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('close', () => this.#fail(new Error(`port ${port} closed the connection`)));
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
    this.#fail(new Error('connection disposed of'));
  }

  /**
   * Metadata v4 (key 3): [topic STRING] | allow_auto_topic_creation BOOLEAN
   * Answer: throttle INT32 | [node_id INT32 | host STRING | port INT32 | rack STRING]
   *   | cluster_id STRING | controller_id INT32 | [error_code INT16 | topic STRING | internal BOOLEAN
   *   | [error_code INT16 | partition INT32 | leader INT32 | [replica INT32] | [in_sync INT32]]]
   */
  async metadata(topic?: string): Promise<ClusterState> {
    const topics = topic === undefined ? [] : [topic];
    const body = new Writer().array(topics, (out, name) => out.string(name)).int8(0);
    const answer = await this.#request(3, 4, body);
    answer.int32();
    const nodes = answer.array(() => {
      const node = { id: answer.int32(), host: answer.string(), port: answer.int32() };
      answer.string();
      return node;
    });
    answer.string();
    answer.int32();
    const [partitions = []] = answer.array(() => {
      refuse(answer.int16(), `metadata of topic ${topic}`);
      answer.string();
      answer.int8();
      return answer.array(() => readPartitionState(answer));
    });
    return { nodes, partitions: partitions.toSorted((a, b) => a.partition - b.partition) };
  }

  /** First offset that the log still holds. */
  async earliestOffset(topic: string, partition: number): Promise<number> {
    return await this.#offset(topic, partition, EARLIEST);
  }

  /** Offset behind the last record that all in-sync replicas have. */
  async endOffset(topic: string, partition: number): Promise<number> {
    return await this.#offset(topic, partition, LATEST);
  }

  /**
   * ListOffsets v1 (key 2): replica_id INT32 | [topic STRING | [partition INT32 | timestamp INT64]]
   * Answer: [topic STRING | [partition INT32 | error_code INT16 | timestamp INT64 | offset INT64]]
   */
  async #offset(topic: string, partition: number, timestamp: number): Promise<number> {
    const body = new Writer().int32(-1).int32(1).string(topic);
    const answer = await this.#request(2, 1, body.int32(1).int32(partition).int64(timestamp));
    answer.int32();
    answer.string();
    answer.int32();
    answer.int32();
    refuse(answer.int16(), `end of ${topic}-${partition}`);
    answer.int64();
    return answer.int64();
  }

  /**
   * Fetch v11 (key 1) of one partition, uncommitted transactions included:
   *   replica_id INT32 | max_wait_ms INT32 | min_bytes INT32 | max_bytes INT32 | isolation INT8
   *   | session_id INT32 | session_epoch INT32 | [topic STRING | [partition INT32
   *   | leader_epoch INT32 | offset INT64 | log_start_offset INT64 | partition_max_bytes INT32]]
   *   | [forgotten topic ..] | rack STRING
   * Answer: throttle INT32 | error_code INT16 | session_id INT32 | [topic STRING | [partition INT32
   *   | error_code INT16 | high_watermark INT64 | last_stable_offset INT64 | log_start_offset INT64
   *   | [producer_id INT64 | first_offset INT64] | preferred_replica INT32 | records BYTES]]
   *
   * @returns record batches; the first may begin before `offset`, the last may be cut off.
   */
  async fetch(topic: string, partition: number, offset: number): Promise<Buffer> {
    const body = new Writer().int32(-1).int32(FETCH_WAIT_MAX_MS).int32(1).int32(FETCH_BYTES_MAX);
    body.int8(0).int32(0).int32(-1).int32(1).string(topic).int32(1).int32(partition);
    body.int32(-1).int64(offset).int64(-1).int32(FETCH_BYTES_MAX).int32(0).string('');
    const answer = await this.#request(1, 11, body);
    answer.int32();
    refuse(answer.int16(), `fetch from ${topic}`);
    answer.int32();
    answer.int32();
    answer.string();
    answer.int32();
    answer.int32();
    refuse(answer.int16(), `fetch from ${topic}-${partition} at ${offset}`);
    answer.skip(24);
    answer.array(() => answer.skip(16));
    answer.int32();
    return answer.bytes();
  }

  /**
   * CreateTopics v4 (key 19): [topic STRING | partitions INT32 | replication_factor INT16
   *   | [assignment ..] | [config STRING | value STRING]] | timeout_ms INT32 | validate_only BOOLEAN
   * Answer: throttle INT32 | [topic STRING | error_code INT16 | error_message STRING]
   */
  async createTopic(topic: TopicSpec): Promise<void> {
    const body = new Writer().int32(1).string(topic.name).int32(topic.partitions);
    body.int16(topic.replicationFactor ?? -1).int32(0);
    body.array(Object.entries(topic.configs ?? {}), (out, [name, value]) =>
      out.string(name).string(String(value)),
    );
    const answer = await this.#request(19, 4, body.int32(this.#timeoutMs).int8(0));
    answer.int32();
    answer.int32();
    answer.string();
    const code = answer.int16();
    refuse(code, `creating topic ${topic.name} (${answer.string()})`);
  }

  /** Header v1: api_key INT16 | api_version INT16 | correlation_id INT32 | client_id STRING. */
  async #request(apiKey: number, apiVersion: number, body: Writer): Promise<Reader> {
    const correlationId = this.#correlationId++;
    const head = new Writer().int16(apiKey).int16(apiVersion).int32(correlationId);
    const frame = Buffer.concat([head.string(CLIENT_ID).done(), body.done()]);
    if (this.#broken) throw this.#broken;
    const answered = Promise.withResolvers<Reader>();
    this.#waiting.set(correlationId, answered);
    const timer = setTimeout(() => {
      this.#socket.destroy();
      this.#fail(new Error(`no answer to API ${apiKey} within ${this.#timeoutMs} ms`));
    }, this.#timeoutMs);
    this.#socket.write(Buffer.concat([new Writer().int32(frame.length).done(), frame]));
    try {
      return await answered.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #receive(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bufferedBytes += chunk.length;
    // A fetch answer comes in hundreds of chunks: they are joined once, when all are here.
    while (this.#bufferedBytes >= 8) {
      if (this.#chunks[0]!.length < 4) this.#chunks = [Buffer.concat(this.#chunks)];
      const frameBytes = 4 + this.#chunks[0]!.readInt32BE(0);
      if (this.#bufferedBytes < frameBytes) return;
      const joined = Buffer.concat(this.#chunks);
      const rest = joined.subarray(frameBytes);
      this.#chunks = rest.length > 0 ? [rest] : [];
      this.#bufferedBytes = rest.length;
      const correlationId = joined.readInt32BE(4);
      this.#waiting.get(correlationId)?.resolve(new Reader(joined.subarray(8, frameBytes)));
      this.#waiting.delete(correlationId);
    }
  }

  #fail(error: Error): void {
    this.#broken ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

function refuse(code: number, what: string): void {
  if (code !== 0) throw new KafkaRefused(what, code);
}

function readPartitionState(answer: Reader): PartitionState {
  answer.int16(); // LEADER_NOT_AVAILABLE while there is none: `leader` says it too
  const partition = answer.int32();
  const leader = answer.int32();
  const replicas = answer.array(() => answer.int32());
  return { partition, leader, replicas, inSyncReplicas: answer.array(() => answer.int32()) };
}
