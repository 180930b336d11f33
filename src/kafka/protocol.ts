// The requests hoplog sends itself, as bytes, and their answers. Pure: no connection. The grammar
// stands above each function: [x] = array of x, upper case = Kafka's type names (wire.ts writes them).

import { ResponseMalformed, WireReader, WireWriter } from './wire.ts';

/** One request: its bytes behind the request header, and how to read the answer behind its own. */
export interface KafkaRequest<Answer> {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly apiName: string;
  /** In pieces, so that a batch goes from the journal to the socket without a copy. */
  readonly body: readonly Uint8Array[];
  readonly decode: (payload: Buffer) => Answer;
}

/** Length of all that follows, header included, then the request header v1 (client id STRING). */
export function requestHeader(
  { apiKey, apiVersion, body }: KafkaRequest<unknown>,
  correlationId: number,
  clientId: string,
): Buffer {
  const headerBytes = 10 + Buffer.byteLength(clientId);
  const bodyBytes = body.reduce((sum, piece) => sum + piece.length, 0);
  const writer = new WireWriter(4 + headerBytes).int32(headerBytes + bodyBytes);
  return writer.int16(apiKey).int16(apiVersion).int32(correlationId).string(clientId).done();
}

export interface ProduceAnswer {
  readonly errorCode: number;
  readonly baseOffset: bigint;
  readonly throttleMs: number;
}

/**
 * Produce v7 (key 0) of one batch to one partition:
 *   transactional_id NULLABLE_STRING | acks INT16 | timeout_ms INT32
 *   | [topic STRING | [partition INT32 | records BYTES]]
 * Answer: [topic | [partition INT32 | error_code INT16 | base_offset INT64 | log_append_time INT64
 *   | log_start_offset INT64]] | throttle_time_ms INT32
 *
 * `batch`: a whole record batch. Its first eight bytes are sent as zeros and its leader epoch as -1,
 * whatever the journal keeps there.
 */
export function produceRequest(
  topic: string,
  partition: number,
  acks: -1 | 1,
  timeoutMs: number,
  batch: Uint8Array,
): KafkaRequest<ProduceAnswer> {
  const head = new WireWriter(64 + Buffer.byteLength(topic));
  head.int16(-1).int16(acks).int32(timeoutMs);
  head.int32(1).string(topic).int32(1).int32(partition).int32(batch.length);
  head.int64(0n).raw(batch.subarray(8, 12)).int32(-1);
  const body = [head.done(), batch.subarray(16)];
  const decode = (payload: Buffer): ProduceAnswer => {
    const reader = new WireReader(payload);
    const [answer] = reader.array(() => {
      reader.string();
      return reader.array(() => {
        reader.int32();
        const errorCode = reader.int16();
        const baseOffset = reader.int64();
        reader.skip(16);
        return { errorCode, baseOffset };
      });
    });
    const [result] = answer ?? [];
    if (!result) throw new ResponseMalformed('Produce answer without a partition');
    return { ...result, throttleMs: reader.int32() };
  };
  return { apiKey: 0, apiVersion: 7, apiName: 'Produce', body, decode };
}

export interface ProducerIdAnswer {
  readonly errorCode: number;
  readonly producerId: bigint;
  readonly producerEpoch: number;
}

/**
 * InitProducerId v1 (key 22): transactional_id NULLABLE_STRING | transaction_timeout_ms INT32
 * Answer: throttle_time_ms INT32 | error_code INT16 | producer_id INT64 | producer_epoch INT16
 */
export function initProducerIdRequest(): KafkaRequest<ProducerIdAnswer> {
  const body = new WireWriter(6).int16(-1).int32(60_000).done();
  const decode = (payload: Buffer): ProducerIdAnswer => {
    const reader = new WireReader(payload);
    reader.int32();
    return {
      errorCode: reader.int16(),
      producerId: reader.int64(),
      producerEpoch: reader.int16(),
    };
  };
  return { apiKey: 22, apiVersion: 1, apiName: 'InitProducerId', body: [body], decode };
}

export interface NodeAddress {
  readonly nodeId: number;
  readonly host: string;
  readonly port: number;
}

export interface PartitionMetadata {
  readonly errorCode: number;
  readonly partition: number;
  /** Node id of the leader; -1 = none at the moment. */
  readonly leader: number;
}

export interface ReplicatedPartition extends PartitionMetadata {
  /** How many brokers should have it, and how many have all of it. */
  readonly replicas: number;
  readonly inSyncReplicas: number;
}

export interface MetadataAnswer {
  /** Empty where the broker does not say it. */
  readonly clusterId: string;
  readonly nodes: readonly NodeAddress[];
  readonly topicErrorCode: number;
  readonly partitions: readonly ReplicatedPartition[];
}

/**
 * Metadata v4 (key 3) of one topic: [topic STRING] | allow_auto_topic_creation BOOLEAN
 * Answer: throttle_time_ms INT32 | [node_id INT32 | host STRING | port INT32 | rack NULLABLE_STRING]
 *   | cluster_id NULLABLE_STRING | controller_id INT32 | [error_code INT16 | topic STRING
 *   | is_internal BOOLEAN | [error_code INT16 | partition INT32 | leader INT32
 *   | [replica INT32] | [in_sync_replica INT32]]]
 * kafkajs's own decoder throws as soon as one partition has no leader; hoplog sends to the others.
 */
export function metadataRequest(topic: string): KafkaRequest<MetadataAnswer> {
  const body = new WireWriter(16 + Buffer.byteLength(topic)).int32(1).string(topic).int8(0).done();
  const decode = (payload: Buffer): MetadataAnswer => {
    const reader = new WireReader(payload);
    reader.int32();
    const nodes = reader.array(() => {
      const node = { nodeId: reader.int32(), host: reader.string(), port: reader.int32() };
      reader.string();
      return node;
    });
    const clusterId = reader.string();
    reader.int32();
    const [found] = reader.array(() => {
      const topicErrorCode = reader.int16();
      reader.string();
      reader.skip(1);
      return { topicErrorCode, partitions: reader.array(() => readPartition(reader)) };
    });
    if (!found) throw new ResponseMalformed('Metadata answer without the topic');
    return { clusterId, nodes, ...found };
  };
  return { apiKey: 3, apiVersion: 4, apiName: 'Metadata', body: [body], decode };
}

function readPartition(reader: WireReader): ReplicatedPartition {
  const errorCode = reader.int16();
  const partition = reader.int32();
  const leader = reader.int32();
  const replicas = reader.array(() => reader.int32()).length;
  const inSyncReplicas = reader.array(() => reader.int32()).length;
  return { errorCode, partition, leader, replicas, inSyncReplicas };
}

export interface ProducerState {
  readonly producerId: bigint;
  readonly producerEpoch: number;
  /** Sequence of the last record of that producer in the partition; -1 = none known. */
  readonly lastSequence: number;
}

export interface DescribeProducersAnswer {
  readonly errorCode: number;
  readonly producers: readonly ProducerState[];
}

/**
 * DescribeProducers v0 (key 61, flexible) of one partition, to its leader:
 *   [compact: topic COMPACT_STRING | [compact: partition INT32] | tags] | tags
 * Answer: tags | throttle_time_ms INT32 | [compact: topic | [compact: partition INT32
 *   | error_code INT16 | error_message COMPACT_NULLABLE_STRING | [compact: producer_id INT64
 *   | producer_epoch INT32 | last_sequence INT32 | last_timestamp INT64 | coordinator_epoch INT32
 *   | current_txn_start_offset INT64 | tags] | tags] | tags] | tags
 * The flexible request header ends with a tag section that kafkajs does not write: it goes first in
 * the body.
 */
export function describeProducersRequest(
  topic: string,
  partition: number,
): KafkaRequest<DescribeProducersAnswer> {
  const body = new WireWriter(32 + Buffer.byteLength(topic)).int8(0);
  body.uvarint(2).compactString(topic).uvarint(2).int32(partition).int8(0).int8(0);
  const decode = (payload: Buffer): DescribeProducersAnswer => {
    const reader = new WireReader(payload);
    reader.tags();
    reader.int32();
    const [found] = reader.compactArray(() => {
      reader.compactString();
      const partitions = reader.compactArray(() => readProducers(reader));
      reader.tags();
      return partitions[0];
    });
    if (!found) throw new ResponseMalformed('DescribeProducers answer without the partition');
    return found;
  };
  return {
    apiKey: 61,
    apiVersion: 0,
    apiName: 'DescribeProducers',
    body: [body.done()],
    decode,
  };
}

function readProducers(reader: WireReader): DescribeProducersAnswer {
  reader.int32();
  const errorCode = reader.int16();
  reader.compactString();
  const producers = reader.compactArray(() => {
    const producerId = reader.int64();
    const producerEpoch = reader.int32();
    const lastSequence = reader.int32();
    reader.skip(20);
    reader.tags();
    return { producerId, producerEpoch, lastSequence };
  });
  reader.tags();
  return { errorCode, producers };
}

export interface OffsetAnswer {
  readonly errorCode: number;
  readonly offset: bigint;
}

const EARLIEST = -2n;

/**
 * ListOffsets v1 (key 2): replica_id INT32 | [topic STRING | [partition INT32 | timestamp INT64]]
 * Answer: [topic | [partition INT32 | error_code INT16 | timestamp INT64 | offset INT64]]
 */
export function earliestOffsetRequest(
  topic: string,
  partition: number,
): KafkaRequest<OffsetAnswer> {
  const writer = new WireWriter(32 + Buffer.byteLength(topic));
  writer.int32(-1).int32(1).string(topic).int32(1).int32(partition).int64(EARLIEST);
  const decode = (payload: Buffer): OffsetAnswer => {
    const reader = new WireReader(payload);
    const [answer] = reader.array(() => {
      reader.string();
      return reader.array(() => {
        reader.int32();
        const errorCode = reader.int16();
        reader.int64();
        return { errorCode, offset: reader.int64() };
      });
    });
    const [result] = answer ?? [];
    if (!result) throw new ResponseMalformed('ListOffsets answer without the partition');
    return result;
  };
  return { apiKey: 2, apiVersion: 1, apiName: 'ListOffsets', body: [writer.done()], decode };
}

export interface FetchAnswer {
  readonly errorCode: number;
  readonly highWatermark: bigint;
  readonly throttleMs: number;
  /** Whole batches, the last one possibly cut off. */
  readonly records: Buffer;
}

const FETCH_BYTES_MAX = 4 * 2 ** 20;

/**
 * Fetch v4 (key 1) of one partition: replica_id INT32 | max_wait_ms INT32 | min_bytes INT32
 *   | max_bytes INT32 | isolation_level INT8 | [topic STRING | [partition INT32
 *   | fetch_offset INT64 | partition_max_bytes INT32]]
 * Answer: throttle_time_ms INT32 | [topic | [partition INT32 | error_code INT16
 *   | high_watermark INT64 | last_stable_offset INT64 | [producer_id INT64 | first_offset INT64]
 *   | records BYTES]]
 */
export function fetchRequest(
  topic: string,
  partition: number,
  offset: bigint,
): KafkaRequest<FetchAnswer> {
  const writer = new WireWriter(64 + Buffer.byteLength(topic));
  writer.int32(-1).int32(0).int32(0).int32(FETCH_BYTES_MAX).int8(0);
  writer.int32(1).string(topic).int32(1).int32(partition).int64(offset).int32(FETCH_BYTES_MAX);
  const decode = (payload: Buffer): FetchAnswer => {
    const reader = new WireReader(payload);
    const throttleMs = reader.int32();
    const [answer] = reader.array(() => {
      reader.string();
      return reader.array(() => readFetched(reader));
    });
    const [result] = answer ?? [];
    if (!result) throw new ResponseMalformed('Fetch answer without the partition');
    return { ...result, throttleMs };
  };
  return { apiKey: 1, apiVersion: 4, apiName: 'Fetch', body: [writer.done()], decode };
}

function readFetched(reader: WireReader): Omit<FetchAnswer, 'throttleMs'> {
  reader.int32();
  const errorCode = reader.int16();
  const highWatermark = reader.int64();
  reader.int64();
  reader.array(() => reader.skip(16));
  return { errorCode, highWatermark, records: reader.bytes() };
}

export interface ConfigsAnswer {
  readonly errorCode: number;
  /** As they are in force, whoever set them; '' where there is none, or where it is a secret. */
  readonly values: ReadonlyMap<string, string>;
}

const RESOURCE_TYPE = { topic: 2, broker: 4 } as const;

/**
 * DescribeConfigs v1 (key 32) of one topic, or of one broker (by node id, to that broker):
 *   [resource_type INT8 | resource_name STRING | [configuration_key STRING]]
 *   | include_synonyms BOOLEAN
 * Answer: throttle_time_ms INT32 | [error_code INT16 | error_message NULLABLE_STRING
 *   | resource_type INT8 | resource_name STRING | [name STRING | value NULLABLE_STRING
 *   | read_only BOOLEAN | config_source INT8 | is_sensitive BOOLEAN
 *   | [synonym STRING | value NULLABLE_STRING | source INT8]]]
 */
export function describeConfigsRequest(
  type: keyof typeof RESOURCE_TYPE,
  name: string,
  keys: readonly string[],
): KafkaRequest<ConfigsAnswer> {
  const keyBytes = keys.reduce((sum, key) => sum + 2 + Buffer.byteLength(key), 0);
  const writer = new WireWriter(16 + Buffer.byteLength(name) + keyBytes);
  writer.int32(1).int8(RESOURCE_TYPE[type]).string(name).int32(keys.length);
  for (const key of keys) writer.string(key);
  const decode = (payload: Buffer): ConfigsAnswer => {
    const reader = new WireReader(payload);
    reader.int32();
    const [found] = reader.array(() => {
      const errorCode = reader.int16();
      reader.string();
      reader.skip(1);
      reader.string();
      return { errorCode, values: new Map(reader.array(() => readConfig(reader))) };
    });
    if (!found) throw new ResponseMalformed('DescribeConfigs answer without the resource');
    return found;
  };
  const body = [writer.int8(0).done()];
  return { apiKey: 32, apiVersion: 1, apiName: 'DescribeConfigs', body, decode };
}

function readConfig(reader: WireReader): [name: string, value: string] {
  const name = reader.string();
  const value = reader.string();
  reader.skip(3);
  reader.array(() => {
    reader.string();
    reader.string();
    reader.skip(1);
  });
  return [name, value];
}
