// What a fake broker answers, as bytes: the grammar of each request and answer stands in
// src/kafka/protocol.ts, the spelling is wire-bytes.ts's own. Pure: who asks whom, and what goes
// wrong, is fake-broker.ts's.

import { CODE, type FakePartition } from './fake-partition.ts';
import { Reader, Writer } from './wire-bytes.ts';

export const API = {
  produce: 0,
  fetch: 1,
  listOffsets: 2,
  metadata: 3,
  apiVersions: 18,
  initProducerId: 22,
  describeConfigs: 32,
  describeProducers: 61,
} as const;
export type Api = keyof typeof API;

/** A frame without its length; the header of flexible versions leaves its tag byte in `body`. */
export interface Frame {
  readonly api: Api;
  readonly version: number;
  readonly correlationId: number;
  readonly body: Buffer;
}

export function readFrame(frame: Buffer): Frame {
  const apiKey = frame.readInt16BE(0);
  const api = (Object.keys(API) as Api[]).find((name) => API[name] === apiKey);
  if (!api) throw new Error(`the fake broker does not know request ${apiKey}`);
  const body = frame.subarray(10 + Math.max(0, frame.readInt16BE(8)));
  return { api, version: frame.readInt16BE(2), correlationId: frame.readInt32BE(4), body };
}

export function frameOf(correlationId: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeInt32BE(4 + payload.length, 0);
  head.writeInt32BE(correlationId, 4);
  return Buffer.concat([head, payload]);
}

/** v0 to v2. */
export function apiVersionsAnswer(version: number): Buffer {
  const out = new Writer().int16(0).array(Object.values(API), (item, key) => {
    item.int16(key).int16(0).int16(12);
  });
  return version > 0 ? out.int32(0).done() : out.done();
}

/** v1. */
export function producerIdAnswer(code: number, producerId: number): Buffer {
  const id = code === 0 ? producerId : -1;
  return new Writer().int32(0).int16(code).int64(id).int16(0).done();
}

/** v4, of the first topic asked for. */
export function metadataAnswer(
  body: Buffer,
  known: {
    readonly clusterId: string;
    readonly topic: string;
    readonly partitions: readonly FakePartition[];
  },
  nodes: readonly { readonly id: number; readonly port: number }[],
  code: number,
): Buffer {
  const request = new Reader(body);
  const [topic = ''] = request.array(() => request.string());
  const topicCode = code === 0 && topic !== known.topic ? CODE.UNKNOWN_TOPIC_OR_PARTITION : code;
  const partitions = [...(topicCode === 0 ? known.partitions : []).entries()].filter(
    ([, { isListed }]) => isListed,
  );
  return new Writer()
    .int32(0)
    .array(nodes, (out, { id, port }) => {
      out.int32(id).string('127.0.0.1').int32(port).int16(-1);
    })
    .string(known.clusterId)
    .int32(0)
    .array([topic], (out) => {
      out.int16(topicCode).string(topic).int8(0);
      out.array(partitions, (item, [index, { leader }]) => {
        item
          .int16(leader < 0 ? CODE.LEADER_NOT_AVAILABLE : 0)
          .int32(index)
          .int32(leader);
        item.array([leader], (one, id) => void one.int32(id));
        item.array([leader], (one, id) => void one.int32(id));
      });
    })
    .done();
}

export interface PartitionSeen {
  readonly topic: string;
  readonly partition: number;
}

export interface ProduceSeen extends PartitionSeen {
  readonly batch: Buffer;
}

/** v7, of one batch. */
export function readProduce(body: Buffer): ProduceSeen {
  const request = new Reader(body);
  request.string(); // transactional id: null
  request.int16(); // acks
  request.int32(); // time-out
  const [topic, [partition, batch]] = request.array(() => {
    const name = request.string();
    return [name, request.array(() => [request.int32(), request.bytes()] as const)[0]!] as const;
  })[0]!;
  return { topic, partition, batch: Buffer.from(batch) };
}

export function produceAnswer(
  { topic, partition }: PartitionSeen,
  code: number,
  offset: number,
  throttleMs: number,
): Buffer {
  const out = new Writer().array([topic], (item) => {
    item.string(topic).array([partition], (one) => {
      one.int32(partition).int16(code).int64(offset).int64(-1).int64(0);
    });
  });
  return out.int32(throttleMs).done();
}

/** v0, flexible: tags | [compact: topic | [compact: partition INT32 | …; lengths here stay < 127. */
export function readDescribeProducers(body: Buffer): { topic: Buffer; partition: number } {
  const topicEnd = 3 + body[2]! - 1;
  return { topic: body.subarray(3, topicEnd), partition: body.readInt32BE(topicEnd + 1) };
}

export function describeProducersAnswer(
  { topic, partition }: { readonly topic: Buffer; readonly partition: number },
  producers: FakePartition['producers'],
  code: number,
): Buffer {
  const out = new Writer()
    .int8(0)
    .int32(0)
    .int8(2)
    .int8(topic.length + 1);
  for (const byte of topic) out.int8(byte);
  out
    .int8(2)
    .int32(partition)
    .int16(code)
    .int8(0)
    .int8(producers.length + 1);
  for (const { producerId, epoch, lastSequence } of producers) {
    out.int64(Number(producerId)).int32(epoch).int32(lastSequence);
    out.int64(0).int32(-1).int64(-1).int8(0);
  }
  return out.int8(0).int8(0).int8(0).done();
}

/** v1, of one partition: the log always begins at 0. */
export function listOffsetsAnswer(body: Buffer, code: number): Buffer {
  const request = new Reader(body);
  request.int32(); // replica
  const [topic, partition] = request.array(() => {
    const name = request.string();
    return [name, request.array(() => [request.int32(), request.int64()])[0]![0]!] as const;
  })[0]!;
  const answer = new Writer().array([topic], (out) => {
    out.string(topic).array([partition], (item) => {
      item.int32(partition).int16(code).int64(-1).int64(0);
    });
  });
  return answer.done();
}

/**
 * v4, of one partition. As Kafka: the first batch whole, then cut wherever `bytesMax` falls; 0 = nothing.
 */
export function fetchAnswer(
  body: Buffer,
  partitions: readonly FakePartition[],
  bytesMax: number,
  code: number,
): Buffer {
  const request = new Reader(body);
  request.skip(4 + 4 + 4 + 4 + 1);
  const [topic, index, from] = request.array(() => {
    const name = request.string();
    const [part] = request.array(() => [request.int32(), request.int64(), request.int32()]);
    return [name, part![0]!, part![1]!] as const;
  })[0]!;
  const { log, endOffset } = partitions[index]!;
  const lastOffset = (batch: Buffer): number =>
    Number(batch.readBigInt64BE(0)) + batch.readInt32BE(23);
  const wanted = log.filter((batch) => lastOffset(batch) >= from);
  const limit = bytesMax === 0 ? 0 : Math.max(bytesMax, wanted[0]?.length ?? 0);
  const records = Buffer.concat(wanted).subarray(0, limit);
  const head = new Writer().int32(0).array([topic], (out) => {
    out.string(topic).array([index], (item) => {
      item.int32(index).int16(code).int64(endOffset).int64(endOffset).int32(-1);
      item.int32(records.length);
    });
  });
  return Buffer.concat([head.done(), records]);
}

/** v1, of one resource: the settings that are known of those asked for. */
export function describeConfigsAnswer(
  body: Buffer,
  known: { readonly topic: Settings; readonly broker: Settings },
  code: number,
): Buffer {
  const request = new Reader(body);
  const [type, name, keys] = request.array(() => {
    return [request.int8(), request.string(), request.array(() => request.string())] as const;
  })[0]!;
  const settings = type === 2 ? known.topic : known.broker;
  const found = code === 0 ? keys.filter((key) => settings[key] !== undefined) : [];
  return new Writer()
    .int32(0)
    .array([name], (out) => {
      out.int16(code).int16(-1).int8(type).string(name);
      out.array(found, (item, key) => {
        item.string(key).string(settings[key]!).int8(0).int8(5).int8(0).int32(0);
      });
    })
    .done();
}

export type Settings = Readonly<Record<string, string>>;
