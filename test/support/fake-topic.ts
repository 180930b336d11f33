// A topic inside the test process, without sockets: what a Producer asks of src/kafka/topic.ts, answered
// by Kafka's rules (fake-partition.ts) when the test says so. Requests wait in line until a test
// delivers them, answers them with a fault, or cuts the connection; what was under way then may still
// arrive, much later. `Brokers` outlives the processes, each of which has a `FakeTopic` of its own.
// Held here: at most five requests in flight a partition, and what is sent again is the same bytes.

import { BrokerUnreachable } from '../../src/kafka/unreachable.ts';
import type { PartitionQueue } from '../../src/kafka/partition-queue.ts';
import type { ProduceAnswer, ProducerState } from '../../src/kafka/protocol.ts';
import type { Topic } from '../../src/kafka/topic.ts';
import { BATCH_HEADER_BYTES, readRecords } from '../../src/record-batch.ts';
import { CODE, FakePartition } from './fake-partition.ts';

const IN_FLIGHT_MAX = 5;
const SEQUENCES = 2 ** 31;
const PRODUCER_ID_EXPIRATION_MS = 86_400_000;

/** What befalls requests other than Produce: consumed one per request. */
export type Question = 'metadata' | 'newProducerId' | 'describeProducers';

/** As src/kafka/cluster.ts: then the connection is given up. */
const REQUEST_TIMEOUT_MS = 30_000;
/** A broker reads nothing any more from a connection that has been gone for so long. */
const LATE_MAX_MS = 600_000;

interface Request {
  readonly sentAt: number;
  readonly node: number;
  readonly bytes: Buffer;
  readonly answer: PromiseWithResolvers<ProduceAnswer>;
}

export class Brokers {
  readonly partitions: FakePartition[];
  /** So many questions of each kind get no answer. */
  readonly unanswered: Record<Question, number> = {
    metadata: 0,
    newProducerId: 0,
    describeProducers: 0,
  };
  /** What no producer may do, and one did. */
  readonly violations: string[] = [];
  readonly #late: Request[][];
  /** Value by producer, partition and sequence. */
  readonly #sent = new Map<string, string>();
  #producerId = 1000n;

  constructor(partitions: number) {
    this.partitions = Array.from({ length: partitions }, () => new FakePartition(0));
    this.#late = this.partitions.map(() => []);
  }

  newProducerId(): bigint {
    return this.#producerId++;
  }

  /** The broker takes a request: appended, unless the rules forbid it or another node leads. */
  take(partition: number, { node, bytes }: Request): number {
    const target = this.#partition(partition);
    target.forgetProducersBefore(Date.now() - PRODUCER_ID_EXPIRATION_MS);
    if (target.leader !== node) return CODE.NOT_LEADER_OR_FOLLOWER;
    return target.append(target.note(bytes)).code;
  }

  /** The connection of these is gone, but a broker may read them yet. */
  keepForLater(partition: number, requests: readonly Request[]): void {
    this.#late[partition]?.push(...requests);
  }

  /** The broker reads what was sent over connections that are gone. */
  takeLate(partition: number): void {
    for (const request of this.#late[partition]?.splice(0) ?? []) {
      if (Date.now() - request.sentAt < LATE_MAX_MS) this.take(partition, request);
    }
  }

  /** A sequence must never be sent with another record. */
  noteSent(partition: number, bytes: Buffer): void {
    const producerId = bytes.readBigInt64BE(43);
    const epoch = bytes.readInt16BE(51);
    const base = bytes.readInt32BE(53);
    let index = 0;
    for (const { value } of readRecords(bytes, BATCH_HEADER_BYTES, bytes.length)) {
      const key = `${partition}:${producerId}:${epoch}:${(base + index++) % SEQUENCES}`;
      const text = Buffer.from(value).toString('latin1');
      const before = this.#sent.get(key) ?? text;
      if (before !== text) this.violations.push(`${key} is sent with other bytes than before`);
      this.#sent.set(key, text);
    }
  }

  #partition(partition: number): FakePartition {
    const found = this.partitions[partition];
    if (!found) throw new Error(`there is no partition ${partition}`);
    return found;
  }
}

export class FakeTopic implements Pick<Topic, keyof Topic> {
  readonly #brokers: Brokers;
  readonly #inFlight: Request[][];
  #ended = false;

  constructor(brokers: Brokers) {
    this.#brokers = brokers;
    this.#inFlight = brokers.partitions.map(() => []);
  }

  get connections(): number {
    return this.#ended ? 0 : 1;
  }

  inFlight(partition: number): number {
    return this.#inFlight[partition]?.length ?? 0;
  }

  /** The next `count` requests arrive and are answered. */
  deliver(partition: number, count: number): void {
    for (const request of this.#takeOut(partition, count)) {
      const errorCode = this.#brokers.take(partition, request);
      request.answer.resolve({ errorCode, baseOffset: 0n, throttleMs: 0 });
    }
  }

  /** The next request is answered with `errorCode`, `appended` or not. */
  refuse(partition: number, errorCode: number, appended: boolean): void {
    for (const request of this.#takeOut(partition, 1)) {
      const taken = appended ? this.#brokers.take(partition, request) : CODE.NONE;
      const code = taken === CODE.NONE ? errorCode : taken;
      request.answer.resolve({ errorCode: code, baseOffset: -1n, throttleMs: 0 });
    }
  }

  /** The connection ends. The first `arrived` requests are in the log, the others may be some day. */
  cut(partition: number, arrived: number, othersLate: boolean): void {
    const requests = this.#lose(partition, arrived, othersLate);
    const error = new BrokerUnreachable('the connection was cut', true);
    for (const { answer } of requests) answer.reject(error);
  }

  /** Nothing of what waits was sent. */
  refuseConnection(partition: number): void {
    const error = new BrokerUnreachable('connection refused', false);
    for (const { answer } of this.#takeOut(partition, Infinity)) answer.reject(error);
  }

  /** The process is gone: nobody gets an answer any more. */
  end(arrived: number, othersLate: boolean): void {
    this.#ended = true;
    for (const partition of this.#inFlight.keys()) this.#lose(partition, arrived, othersLate);
  }

  metadata(): ReturnType<Topic['metadata']> {
    return this.#answer('metadata', () => {
      const partitions = this.#brokers.partitions.map(({ leader }, partition) => ({
        errorCode: leader < 0 ? CODE.LEADER_NOT_AVAILABLE : CODE.NONE,
        partition,
        leader,
        replicas: 1,
        inSyncReplicas: 1,
      }));
      if (partitions.some(({ leader }) => leader >= 0)) return { clusterId: '', partitions };
      throw new Error('no partition has a leader');
    });
  }

  newProducerId(): Promise<{ producerId: bigint; producerEpoch: number }> {
    return this.#answer('newProducerId', () => ({
      producerId: this.#brokers.newProducerId(),
      producerEpoch: 0,
    }));
  }

  describeProducers({ partition, leader }: PartitionQueue): Promise<readonly ProducerState[]> {
    return this.#answer('describeProducers', () => {
      const asked = this.#brokers.partitions[partition];
      if (!asked || asked.leader !== leader) throw new Error('NOT_LEADER_OR_FOLLOWER');
      asked.forgetProducersBefore(Date.now() - PRODUCER_ID_EXPIRATION_MS);
      return asked.producers.map(({ epoch, ...state }) => ({ ...state, producerEpoch: epoch }));
    });
  }

  produce({ partition, leader }: PartitionQueue, batch: Buffer): Promise<ProduceAnswer> {
    const bytes = Buffer.from(batch).fill(0, 0, 8).fill(0xff, 12, 16);
    this.#brokers.noteSent(partition, bytes);
    const waiting = this.#inFlight[partition] ?? [];
    const answer = Promise.withResolvers<ProduceAnswer>();
    if (this.#ended) return answer.promise;
    const request = { sentAt: Date.now(), node: leader, bytes, answer };
    waiting.push(request);
    setTimeout(() => {
      if (waiting.includes(request)) this.cut(partition, 0, true);
    }, REQUEST_TIMEOUT_MS);
    if (waiting.length > IN_FLIGHT_MAX) {
      this.#brokers.violations.push(`${waiting.length} requests are in flight to ${partition}`);
    }
    return answer.promise;
  }

  async close(): Promise<void> {}

  #answer<Answer>(question: Question, answer: () => Answer): Promise<Answer> {
    if (this.#ended) return Promise.withResolvers<Answer>().promise;
    const { unanswered } = this.#brokers;
    if (unanswered[question] > 0) {
      unanswered[question]--;
      return Promise.reject(new BrokerUnreachable(`${question}: no answer`, false));
    }
    return Promise.try(answer);
  }

  #lose(partition: number, arrived: number, othersLate: boolean): Request[] {
    const requests = this.#takeOut(partition, Infinity);
    for (const request of requests.slice(0, arrived)) this.#brokers.take(partition, request);
    if (othersLate) this.#brokers.keepForLater(partition, requests.slice(arrived));
    return requests;
  }

  #takeOut(partition: number, count: number): Request[] {
    return this.#inFlight[partition]?.splice(0, count) ?? [];
  }
}
