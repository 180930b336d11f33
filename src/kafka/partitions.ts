// The topic's partitions as the latest metadata has them, each with its queue; and which of them gets
// the next batch. A topic that was made anew may have fewer: the queue of one that is gone stays, in
// case it comes back. Numbers may be missing, for a while, of those that a broker has yet to hear of.

import { PARTITION_MAX, type Placement } from '../journal/journalled-batch.ts';
import type { ProducerStamp } from '../record-batch.ts';
import { PartitionQueue } from './partition-queue.ts';
import type { PartitionMetadata } from './protocol.ts';
import { NOT_IDEMPOTENT } from './topic.ts';

type ProducerIdentity = Pick<ProducerStamp, 'producerId' | 'producerEpoch'>;

export class Partitions {
  /** In the order in which they were heard of. */
  readonly #queues: PartitionQueue[] = [];
  readonly #byNumber = new Map<number, PartitionQueue>();
  #producer: ProducerIdentity = NOT_IDEMPOTENT;
  /** Index of the queue that was given a batch last. */
  #rotation = 0;

  get queues(): readonly PartitionQueue[] {
    return this.#queues;
  }

  get trouble(): string | undefined {
    return this.#queues.find((queue) => queue.trouble)?.trouble;
  }

  get inFlight(): number {
    return this.#queues.reduce((sum, queue) => sum + queue.inFlight, 0);
  }

  get isIdle(): boolean {
    return this.#queues.every((queue) => queue.load === 0);
  }

  update(found: readonly PartitionMetadata[]): void {
    const listed = new Set<PartitionQueue>();
    for (const { partition, leader } of found) {
      if (partition > PARTITION_MAX) continue;
      const queue = this.#queueAt(partition);
      queue.follow(leader);
      listed.add(queue);
    }
    for (const queue of this.#queues) if (!listed.has(queue)) queue.noteUnlisted();
  }

  /** Queues of the cluster that gave us this id; those there were are of another one, and gone. */
  beginAnew(producer: ProducerIdentity): void {
    this.#producer = producer;
    for (const queue of this.#queues) queue.abandon();
    this.#byNumber.clear();
  }

  /**
   * Undefined = the partition is gone. One that was never listed may only be new to the broker that was
   * asked. A new id that an old batch already bears comes from another cluster: they would mix up.
   */
  queueOf({ partition, producerId }: Placement): PartitionQueue | undefined {
    if (producerId >= 0n && producerId === this.#producer.producerId) return undefined;
    const queue = this.#queueAt(partition);
    return queue.isGone ? undefined : queue;
  }

  /** The partition with room and the least to do; among equals each gets its turn. */
  choose(): PartitionQueue | undefined {
    return this.#leastLoaded((queue) => queue.hasRoom);
  }

  /** The same, full or not: for what must find a place. */
  chooseAny(): PartitionQueue | undefined {
    return this.#leastLoaded((queue) => queue.canPlace);
  }

  /** `queue` was given a batch. */
  noteTurn(queue: PartitionQueue): void {
    this.#rotation = this.#queues.indexOf(queue);
  }

  #queueAt(partition: number): PartitionQueue {
    const known = this.#byNumber.get(partition);
    if (known) return known;
    const queue = new PartitionQueue(partition, this.#producer);
    this.#byNumber.set(partition, queue);
    this.#queues.push(queue);
    return queue;
  }

  #leastLoaded(mayBe: (queue: PartitionQueue) => boolean): PartitionQueue | undefined {
    let best: PartitionQueue | undefined;
    for (let step = 1; step <= this.#queues.length; step++) {
      const queue = this.#queues[(this.#rotation + step) % this.#queues.length];
      if (queue && mayBe(queue) && (!best || queue.load < best.load)) best = queue;
    }
    return best;
  }
}
