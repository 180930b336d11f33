// What hoplog asks the cluster about its one topic: who leads which partition, a producer id, what a
// leader last saw of a producer; and the produce request itself. Retries nothing.

import type { ProducerStamp } from '../record-batch.ts';
import type { Cluster } from './cluster.ts';
import { verdictOf } from './errors.ts';
import type { PartitionQueue } from './partition-queue.ts';
import {
  describeProducersRequest,
  initProducerIdRequest,
  type MetadataAnswer,
  type ProduceAnswer,
  type ProducerState,
  produceRequest,
} from './protocol.ts';
import type { Inquiries } from './remedy.ts';

/** How long the broker may wait for its replicas. */
const ACKS_TIMEOUT_MS = 15_000;
/** Kafka's way to say: no duplicate check, please. */
export const NOT_IDEMPOTENT = { producerId: -1n, producerEpoch: -1 };

/** The topic cannot be used until somebody mends it. */
export class TopicUnusable extends Error {
  override readonly name = 'TopicUnusable';
}

/** Whom to ask about which partition. */
type Led = Pick<PartitionQueue, 'partition' | 'leader'>;

export interface TopicOptions {
  readonly name: string;
  readonly acks: 'all' | '1';
  readonly onWarning: (message: string) => void;
}

export class Topic implements Inquiries {
  readonly #cluster: Cluster;
  readonly #options: TopicOptions;

  constructor(cluster: Cluster, options: TopicOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  get connections(): number {
    return this.#cluster.connections;
  }

  /** @throws {TopicUnusable} {BrokerUnreachable} or Error: no partition has a leader just now */
  async metadata(): Promise<Pick<MetadataAnswer, 'clusterId' | 'partitions'>> {
    const { name } = this.#options;
    const { clusterId, topicErrorCode, partitions } = await this.#cluster.metadata(name);
    const verdict = verdictOf(topicErrorCode);
    const message = `topic ${name}: ${verdict.inWords ?? verdict.name}`;
    if (verdict.action === 'hold') throw new TopicUnusable(message);
    if (verdict.action !== 'done') throw new Error(message);
    if (partitions.some(({ leader }) => leader >= 0)) return { clusterId, partitions };
    throw new Error(`no partition of topic ${name} has a leader`);
  }

  async newProducerId(): Promise<Pick<ProducerStamp, 'producerId' | 'producerEpoch'>> {
    if (this.#options.acks !== 'all') return NOT_IDEMPOTENT;
    const { errorCode, ...producer } = await this.#cluster.sendToAny(initProducerIdRequest());
    if (errorCode === 0) return producer;
    const verdict = verdictOf(errorCode);
    const message = `no producer id: ${verdict.inWords ?? verdict.name}`;
    throw verdict.action === 'hold' ? new TopicUnusable(message) : new Error(message);
  }

  async describeProducers(queue: Led): Promise<readonly ProducerState[] | undefined> {
    const { name, acks, onWarning } = this.#options;
    if (acks !== 'all') return undefined;
    const request = describeProducersRequest(name, queue.partition);
    const { errorCode, producers } = await this.#cluster.send(queue.leader, request);
    const verdict = verdictOf(errorCode);
    if (verdict.action === 'done') return producers;
    if (verdict.action !== 'hold') throw new Error(`DescribeProducers: ${verdict.name}`);
    onWarning(
      `DescribeProducers is refused (${verdict.name}): grant READ on topic ${name}, ` +
        'or records sent before a crash may arrive twice',
    );
    return undefined;
  }

  /** `batch`: as in the journal, or compressed. @throws {BrokerUnreachable} */
  produce(queue: Led, batch: Buffer): Promise<ProduceAnswer> {
    const { name, acks } = this.#options;
    const wireAcks = acks === 'all' ? -1 : 1;
    const request = produceRequest(name, queue.partition, wireAcks, ACKS_TIMEOUT_MS, batch);
    return this.#cluster.send(queue.leader, request);
  }

  close(): Promise<void> {
    return this.#cluster.close();
  }
}
