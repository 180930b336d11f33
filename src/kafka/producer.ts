// Sealed batches → Kafka, each exactly once: chooses the partition at the seal, stamps id and
// sequence into the journal before the first send, keeps at most five in flight a partition and in
// order, and frees the journal on the acknowledgement only. Knows no HTTP and loses nothing: there
// is no way out of here for a batch but `acknowledge`, after the broker's word or a counted rule.

import type { Backlog } from '../journal/backlog.ts';
import { PARTITION_MAX, type Placement } from '../journal/journalled-batch.ts';
import type { Compression, ProducerStamp } from '../record-batch.ts';
import { BrokerUnreachable } from './cluster.ts';
import { compressBatch } from './compression.ts';
import { backOffMs, HOLD_MS, NO_ANSWER, RECOVERED, type Verdict, verdictOf } from './errors.ts';
import { PartitionQueue, type Shipment } from './partition-queue.ts';
import { Remedy } from './remedy.ts';
import { NOT_IDEMPOTENT, type Topic, TopicUnusable } from './topic.ts';

/** As Java's metadata.max.age.ms: finds new partitions. */
const METADATA_MAX_AGE_MS = 300_000;
/** While delivery stays broken, a new reason is worth a line this often at most. */
const REPORT_AGAIN_MS = 10_000;

export interface ProducerOptions {
  readonly compression: Compression;
  /** One line when the state of delivery changes; never one per retry. */
  readonly onChange: (trouble: string | undefined) => void;
  readonly onWarning: (message: string) => void;
}

export interface ProducerCounters {
  acknowledged: number;
  acknowledgedBatches: number;
  alreadyDelivered: number;
  possiblyDuplicated: number;
  oversize: number;
  retries: number;
  /** Refusals by Kafka's error name. */
  readonly refusals: Map<string, number>;
}

export function noCounts(): ProducerCounters {
  return {
    acknowledged: 0,
    acknowledgedBatches: 0,
    alreadyDelivered: 0,
    possiblyDuplicated: 0,
    oversize: 0,
    retries: 0,
    refusals: new Map(),
  };
}

export class Producer {
  readonly counters: ProducerCounters;
  /** Called with the milliseconds from a batch's first record to its acknowledgement. */
  onAcknowledged: (ageMs: number) => void = () => {};
  readonly #journal: Backlog;
  readonly #topic: Topic;
  readonly #options: ProducerOptions;
  readonly #remedy: Remedy;
  readonly #queues: PartitionQueue[] = [];
  #producer: Pick<ProducerStamp, 'producerId' | 'producerEpoch'> | undefined;
  #refreshing: Promise<void> | undefined;
  #refreshTimer: Timer | undefined;
  #rotation = 0;
  /** What keeps the metadata away. */
  #unreachable: string | undefined = 'no broker has answered yet';
  #reported: string | undefined;
  #reportedAt = 0;
  #stopped = false;
  #warnedOfSize = false;
  #idle: PromiseWithResolvers<void> | undefined;

  /** `counters`: to count into, where several producers count together. */
  constructor(
    journal: Backlog,
    topic: Topic,
    options: ProducerOptions,
    counters: ProducerCounters = noCounts(),
  ) {
    this.counters = counters;
    this.#journal = journal;
    this.#topic = topic;
    this.#options = options;
    this.#remedy = new Remedy(journal, topic, this.counters, (shipment) => this.#finish(shipment));
    journal.onSealed = () => this.#pump();
  }

  /** Why nothing arrives; undefined while the last word from the brokers was good. */
  get trouble(): string | undefined {
    return this.#unreachable ?? this.#queues.find((queue) => queue.trouble)?.trouble;
  }

  get inFlight(): number {
    return this.#queues.reduce((sum, queue) => sum + queue.inFlight, 0);
  }

  /** Connects, for ever if need be. Never rejects. */
  async start(): Promise<void> {
    for (let attempt = 0; !this.#stopped; attempt++) {
      try {
        await this.#refreshMetadata();
        this.#producer ??= await this.#topic.newProducerId();
        this.#unreachable = undefined;
        this.#noteChange();
        this.#queues.forEach((queue) => this.#adopt(queue));
        this.#pump();
        this.#scheduleRefresh();
        return;
      } catch (error) {
        this.#unreachable = (error as Error).message;
        this.#noteChange();
        await Bun.sleep(error instanceof TopicUnusable ? HOLD_MS : backOffMs(attempt));
      }
    }
  }

  /** Resolves once Kafka has all that was sealed. */
  whenIdle(): Promise<void> {
    this.#idle ??= Promise.withResolvers<void>();
    const { promise } = this.#idle;
    this.#checkIdle();
    return promise;
  }

  /** Waits until Kafka has all that was sealed; false when `deadlineMs` (from now) came first. */
  async drain(deadlineMs: number): Promise<boolean> {
    const { promise: late, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), deadlineMs);
    const drained = await Promise.race([this.whenIdle().then(() => true), late]);
    clearTimeout(timer);
    return drained;
  }

  /** Sends nothing more. The connections are the topic's, and stay. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#refreshTimer);
  }

  /** Hands out sealed batches while partitions have room, then sends what may go. */
  #pump(): void {
    if (!this.#producer || this.#stopped) return;
    for (let queue = this.#choose(); queue; queue = this.#choose()) {
      const batch = this.#journal.take();
      if (!batch) break;
      const { placement } = batch;
      const placedAt = placement && this.#queueOf(placement);
      if (placedAt) {
        Object.assign(placedAt.enqueue(batch, placement), { verdict: RECOVERED, unsure: true });
        if (placedAt.state === 'open') placedAt.state = 'settling';
        continue;
      }
      // Placed in another cluster, or in a topic that is no more.
      if (placement) this.counters.possiblyDuplicated += batch.recordCount;
      this.#rotation = queue.partition;
      const stamp = queue.nextStamp(batch.recordCount);
      this.#journal.place(batch, { ...stamp, partition: queue.partition });
      queue.enqueue(batch, stamp);
    }
    for (const queue of this.#queues) this.#advance(queue);
    this.#checkIdle();
  }

  /** A new id that an old batch already bears comes from another cluster: they would mix up. */
  #queueOf({ partition, producerId }: Placement): PartitionQueue | undefined {
    const foreign = producerId >= 0n && producerId === this.#producer?.producerId;
    return foreign ? undefined : this.#queues[partition];
  }

  /** The partition with the least to do; among equals each gets its turn. */
  #choose(): PartitionQueue | undefined {
    let best: PartitionQueue | undefined;
    for (let step = 1; step <= this.#queues.length; step++) {
      const queue = this.#queues[(this.#rotation + step) % this.#queues.length];
      if (queue?.hasRoom && (!best || queue.load < best.load)) best = queue;
    }
    return best;
  }

  #advance(queue: PartitionQueue): void {
    if (queue.isSettled) {
      queue.state = 'mending';
      void this.#mend(queue);
      return;
    }
    for (let head = queue.peek(); head; head = queue.peek()) {
      if (!this.#isReady(queue, head)) return;
      queue.send();
      this.#send(queue, head);
    }
  }

  #isReady(queue: PartitionQueue, shipment: Shipment): boolean {
    if (shipment.payload) return true;
    const plain = shipment.cut ?? this.#journal.bytesOf(shipment.batch);
    const { compression } = this.#options;
    if (compression === 'none') {
      shipment.payload = plain;
      return true;
    }
    if (shipment.compressing) return false;
    shipment.compressing = true;
    void compressBatch(plain, compression)
      .catch((error: Error) => {
        this.#options.onWarning(`compression failed (${error.message}), batch is sent plain`);
        return plain;
      })
      .then((payload) => this.#compressed(queue, shipment, payload));
    return false;
  }

  #compressed(queue: PartitionQueue, shipment: Shipment, payload: Buffer): void {
    shipment.payload = payload;
    shipment.compressing = false;
    this.#advance(queue);
  }

  #send(queue: PartitionQueue, shipment: Shipment): void {
    const payload = shipment.payload ?? this.#journal.bytesOf(shipment.batch);
    this.#topic.produce(queue, payload).then(
      ({ errorCode }) => this.#settle(queue, shipment, verdictOf(errorCode)),
      (error: Error) => this.#settle(queue, shipment, verdictOfFailure(error), error.message),
    );
  }

  #settle(queue: PartitionQueue, shipment: Shipment, verdict: Verdict, why = verdict.name): void {
    queue.settle(shipment, verdict);
    if (verdict.action === 'done') {
      queue.trouble = undefined;
      this.#unreachable = undefined;
      this.counters.acknowledged += shipment.recordCount;
      this.#finish(shipment);
    } else {
      if (verdict.action !== 'recut') queue.trouble = why;
      this.counters.retries++;
      const { refusals } = this.counters;
      refusals.set(verdict.name, (refusals.get(verdict.name) ?? 0) + 1);
    }
    this.#noteChange();
    this.#pump();
  }

  /** The last part of a batch to end frees its room in the journal. */
  #finish({ batch, parts }: Shipment): void {
    parts.left--;
    if (parts.left > 0) return;
    this.counters.acknowledgedBatches++;
    this.onAcknowledged(Date.now() - batch.baseTimestamp);
    this.#journal.acknowledge(batch);
  }

  /** Until the head of the line may be sent again. Never rejects. */
  async #mend(queue: PartitionQueue): Promise<void> {
    while (!this.#stopped) {
      try {
        await this.#applyRemedy(queue, queue.waiting[0]);
        if (this.#stopped) return;
        if (queue.leader >= 0) break;
        throw new Error(`partition ${queue.partition} has no leader`);
      } catch (error) {
        queue.trouble = (error as Error).message;
        this.#noteChange();
        await Bun.sleep(backOffMs(queue.attempt++));
        await this.#refreshMetadata().catch(() => undefined); // noted where it failed
      }
    }
    queue.state = 'open';
    if (queue.waiting.length === 0) queue.trouble = undefined;
    this.#noteChange();
    this.#pump();
  }

  async #applyRemedy(queue: PartitionQueue, head: Shipment | undefined): Promise<void> {
    const action = head?.verdict?.action ?? 'retry';
    switch (action) {
      case 'done':
        return;
      case 'inquire':
        return this.#remedy.inquire(queue);
      case 'new id':
        return this.#remedy.renumber(queue);
      case 'recut':
        this.#warnOfSize();
        return this.#remedy.recut(queue);
      case 'hold':
        await Bun.sleep(HOLD_MS);
        return this.#refreshMetadata();
      case 'retry':
      case 'new leader':
        return this.#prepareRetry(queue, head);
    }
  }

  /** A queue without a head only lost its leader: nothing failed, so nothing to wait for. */
  async #prepareRetry(queue: PartitionQueue, head: Shipment | undefined): Promise<void> {
    if (head) await Bun.sleep(backOffMs(queue.attempt++));
    await this.#refreshMetadata();
    if (head?.verdict?.persistence === 'unknown') await this.#remedy.inquire(queue);
  }

  #warnOfSize(): void {
    if (this.#warnedOfSize) return;
    this.#warnedOfSize = true;
    this.#options.onWarning(
      'the broker refuses batches of BATCH_BYTES, each is sent in parts: ' +
        'set BATCH_BYTES below its message.max.bytes',
    );
  }

  /** One at a time, whoever asks. @throws what kept the metadata away */
  #refreshMetadata(): Promise<void> {
    this.#refreshing ??= this.#fetchMetadata().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #fetchMetadata(): Promise<void> {
    const partitions = await this.#topic.partitions().catch((error: Error) => {
      this.#unreachable = error.message;
      this.#noteChange();
      throw error;
    });
    if (this.#producer) this.#unreachable = undefined;
    for (const { partition, leader } of partitions) {
      if (partition > PARTITION_MAX) continue;
      const queue = (this.#queues[partition] ??= this.#newQueue(partition));
      if (queue.leader !== leader && queue.inFlight > 0) queue.state = 'settling';
      queue.leader = leader;
    }
  }

  #newQueue(partition: number): PartitionQueue {
    return new PartitionQueue(partition, this.#producer ?? NOT_IDEMPOTENT);
  }

  /** Queues made before there was a producer id get it now. */
  #adopt(queue: PartitionQueue): void {
    if (queue.stamp.producerId >= 0n || !this.#producer || this.#producer.producerId < 0n) return;
    queue.stamp = { ...this.#producer, baseSequence: 0 };
  }

  #scheduleRefresh(): void {
    this.#refreshTimer = setTimeout(() => void this.#refreshRegularly(), METADATA_MAX_AGE_MS);
  }

  /** Tries until it succeeds: an idle producer has nothing else that would end the trouble. */
  async #refreshRegularly(): Promise<void> {
    for (let attempt = 0; !this.#stopped; attempt++) {
      const refreshed = await this.#refreshMetadata().then(
        () => true,
        () => false, // noted where it failed
      );
      if (refreshed) {
        this.#noteChange();
        this.#pump();
        this.#scheduleRefresh();
        return;
      }
      await Bun.sleep(backOffMs(attempt));
    }
  }

  /** One line when delivery stops and one when it is back, however many tries lie between. */
  #noteChange(): void {
    const { trouble } = this;
    const changed = (trouble === undefined) !== (this.#reported === undefined);
    const quiet = performance.now() - this.#reportedAt < REPORT_AGAIN_MS;
    if (!changed && (quiet || trouble === this.#reported)) return;
    this.#reported = trouble;
    this.#reportedAt = performance.now();
    if (!this.#stopped) this.#options.onChange(trouble);
  }

  #checkIdle(): void {
    if (!this.#idle || this.#journal.hasUntaken) return;
    if (this.#queues.some((queue) => queue.load > 0)) return;
    this.#idle.resolve();
    this.#idle = undefined;
  }
}

function verdictOfFailure(error: Error): Verdict {
  const sent = !(error instanceof BrokerUnreachable) || error.sent;
  return { ...NO_ANSWER, persistence: sent ? 'unknown' : 'not persisted' };
}
