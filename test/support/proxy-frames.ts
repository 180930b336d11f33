// Kafka's frames as the fault proxy sees them go by: which request this is, where in an answer its error
// code and throttle time stand, and the Metadata answer taken apart and put together. Pure bytes. Knows
// the versions that hoplog sends (the grammar stands in src/kafka/protocol.ts); any other passes as it is.

import { API, type Api, frameOf, type PartitionSeen } from './fake-answers.ts';
import { Reader, Writer } from './wire-bytes.ts';

const LENGTH_BYTES = 4;
/** Length and correlation id. */
const ANSWER_HEAD_BYTES = 8;

/** `baseSequence` of a batch (record-batch.ts draws it). */
const BASE_SEQUENCE_AT = 53;

export interface ProduceHead extends PartitionSeen {
  /** Of the batch; the same one again is the batch sent again. */
  readonly baseSequence: number;
}

/** A request as it went by. */
export interface Seen {
  /** `other`: passed unread, as SASL and what else hoplog does not send itself. */
  readonly api: Api | 'other';
  readonly version: number;
  readonly correlationId: number;
  /** Of Produce alone. */
  readonly produce: ProduceHead | undefined;
}

/** A stream of frames, each with its length in front. */
export class FrameSplitter {
  #rest: Buffer = Buffer.alloc(0);

  /** The frames that `chunk` completes. */
  split(chunk: Buffer): Buffer[] {
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    const frames: Buffer[] = [];
    let at = 0;
    while (bytes.length - at >= LENGTH_BYTES) {
      const end = at + LENGTH_BYTES + bytes.readInt32BE(at);
      if (bytes.length < end) break;
      frames.push(bytes.subarray(at, end));
      at = end;
    }
    this.#rest = bytes.subarray(at);
    return frames;
  }
}

/** Header v1: api_key INT16 | api_version INT16 | correlation_id INT32 | client_id STRING. */
export function readRequest(frame: Buffer): Seen {
  const request = new Reader(frame.subarray(LENGTH_BYTES));
  const apiKey = request.int16();
  const version = request.int16();
  const correlationId = request.int32();
  request.string();
  const known = (Object.keys(API) as Api[]).find((name) => API[name] === apiKey);
  const api = known ?? 'other';
  const isProduce = api === 'produce' && version === 7;
  const produce = isProduce ? readProduceHead(request) : undefined;
  return { api, version, correlationId, produce };
}

/** Produce v7 up to the sequence of the batch; hoplog sends one batch a request. */
function readProduceHead(request: Reader): ProduceHead {
  request.string(); // transactional id
  request.int16(); // acks
  request.int32(); // time-out
  request.int32(); // one topic
  const topic = request.string();
  request.int32(); // one partition
  const partition = request.int32();
  request.skip(4 + BASE_SEQUENCE_AT); // its length, and its head
  return { topic, partition, baseSequence: request.int32() };
}

export function correlationIdOf(answer: Buffer): number {
  return answer.readInt32BE(LENGTH_BYTES);
}

/** The answer, with `code` where its own error code stood; for Metadata that of the topic. */
export function withErrorCode(answer: Buffer, seen: Seen, code: number): Buffer {
  if (seen.api === 'metadata') {
    return rewriteMetadata(answer, ({ topics }) => {
      for (const topic of topics) topic.code = code;
    });
  }
  const changed = Buffer.from(answer);
  changed.writeInt16BE(code, ANSWER_HEAD_BYTES + errorCodeAt(seen, answer));
  return changed;
}

/** Position behind the answer's head. */
function errorCodeAt({ api, produce }: Seen, answer: Buffer): number {
  if (produce) return 4 + 2 + Buffer.byteLength(produce.topic) + 4 + 4;
  if (api === 'initProducerId') return 4;
  // Flexible: tags | throttle INT32 | array of 1 | topic, its length + 1 in front | array of 1 | INT32.
  if (api === 'describeProducers') return 1 + 4 + 1 + answer[ANSWER_HEAD_BYTES + 6]! + 1 + 4;
  throw new Error(`the proxy does not know where ${api} has its error code`);
}

/** The answer, with a throttle time; hoplog reads that of Produce, where it stands at the end. */
export function withThrottle(answer: Buffer, { api }: Seen, throttleMs: number): Buffer {
  if (api !== 'produce') throw new Error(`the proxy throttles Produce, not ${api}`);
  const changed = Buffer.from(answer);
  changed.writeInt32BE(throttleMs, changed.length - 4);
  return changed;
}

/** Metadata v4 (key 3), to be changed in place. */
export interface Metadata {
  nodes: { id: number; host: string; port: number }[];
  readonly clusterId: string;
  readonly controllerId: number;
  readonly topics: {
    code: number;
    readonly name: string;
    readonly isInternal: number;
    partitions: PartitionMetadata[];
  }[];
}

interface PartitionMetadata {
  code: number;
  readonly partition: number;
  /** Node id; -1 = none. */
  leader: number;
  readonly replicas: readonly number[];
  readonly inSyncReplicas: readonly number[];
}

export function rewriteMetadata(answer: Buffer, change: (metadata: Metadata) => void): Buffer {
  const metadata = readMetadata(new Reader(answer.subarray(ANSWER_HEAD_BYTES)));
  change(metadata);
  return frameOf(correlationIdOf(answer), writeMetadata(metadata));
}

function readMetadata(answer: Reader): Metadata {
  answer.int32();
  const nodes = answer.array(() => {
    const node = { id: answer.int32(), host: answer.string(), port: answer.int32() };
    answer.string(); // rack
    return node;
  });
  const clusterId = answer.string();
  const controllerId = answer.int32();
  const topics = answer.array(() => ({
    code: answer.int16(),
    name: answer.string(),
    isInternal: answer.int8(),
    partitions: answer.array(() => ({
      code: answer.int16(),
      partition: answer.int32(),
      leader: answer.int32(),
      replicas: answer.array(() => answer.int32()),
      inSyncReplicas: answer.array(() => answer.int32()),
    })),
  }));
  return { nodes, clusterId, controllerId, topics };
}

function writeMetadata({ nodes, clusterId, controllerId, topics }: Metadata): Buffer {
  return new Writer()
    .int32(0)
    .array(
      nodes,
      (out, { id, host, port }) => void out.int32(id).string(host).int32(port).int16(-1),
    )
    .string(clusterId)
    .int32(controllerId)
    .array(topics, (out, { code, name, isInternal, partitions }) => {
      out.int16(code).string(name).int8(isInternal);
      out.array(partitions, (item, { code, partition, leader, replicas, inSyncReplicas }) => {
        item.int16(code).int32(partition).int32(leader);
        item.array(replicas, (one, id) => void one.int32(id));
        item.array(inSyncReplicas, (one, id) => void one.int32(id));
      });
    })
    .done();
}
