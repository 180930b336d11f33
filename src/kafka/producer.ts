// Sealed batches → Kafka, each exactly once: chooses the partition at the seal, stamps id and
// sequence into the journal, waits for the disk to have them before the first send, keeps at most five
// in flight a partition and in order, and frees the journal on the acknowledgement only. Knows no HTTP
// and loses nothing: there is no way out of here for a batch but `acknowledge`, after the broker's word
// or a counted rule.

import { collectAfterBatch } from '../garbage.ts';
import type { Backlog } from '../journal/backlog.ts';
import { HomeCluster } from '../journal/home-cluster.ts';
import type { Placement } from '../journal/journalled-batch.ts';
import type { Compression } from '../record-batch.ts';
import { BrokerUnreachable } from './unreachable.ts';
import { payloadOf } from './compression.ts';
import type { Deviations } from './deviations.ts';
import { backOffMs, HOLD_MS, NO_ANSWER, type Verdict, verdictOf } from './errors.ts';
import type { PartitionQueue, Shipment } from './partition-queue.ts';
import { Partitions } from './partitions.ts';
import { noCounts, type ProducerCounters } from './producer-counters.ts';
import type { Quarantine } from './quarantine.ts';
import { Remedy } from './remedy.ts';
import { type Topic, TopicUnusable } from './topic.ts';

/** As Java's metadata.max.age.ms: finds new partitions. */
const METADATA_MAX_AGE_MS = 300_000;
/** While delivery stays broken, a new reason is worth a line this often at most. */
const REPORT_AGAIN_MS = 10_000;
const CLOCK_AHEAD =
  'INVALID_TIMESTAMP: the broker finds the time of the records too far from its own; if the clock ' +
  "of this server is wrong put it right, else the topic's message.timestamp limits";

export interface ProducerOptions {
  readonly compression: Compression;
  /** Takes what brokers do not. */
  readonly quarantine: Quarantine;
  readonly deviations: Deviations;
  /** One line when the state of delivery changes; never one per retry. */
  readonly onChange: (trouble: string | undefined) => void;
  readonly onWarning: (message: string) => void;
}

export class Producer {
  readonly counters: ProducerCounters;
  /** Called with the milliseconds from a batch's first record to its acknowledgement. */
  onAcknowledged: (ageMs: number) => void = () => {};
  readonly #journal: Backlog;
  readonly #topic: Topic;
  readonly #options: ProducerOptions;
  readonly #remedy: Remedy;
  readonly #partitions = new Partitions();
  readonly #home: HomeCluster;
  #hasProducerId = false;
  #refreshing: Promise<void> | undefined;
  #refreshTimer: Timer | undefined;
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
    counters: ProducerCounters = noCounts(options.deviations),
  ) {
    this.counters = counters;
    this.#journal = journal;
    this.#topic = topic;
    this.#options = options;
    this.#home = new HomeCluster(journal, options.onWarning);
    this.#remedy = new Remedy({
      journal,
      inquiries: topic,
      counters: this.counters,
      deviations: options.deviations,
      quarantine: options.quarantine,
      finish: (shipment) => this.#finish(shipment),
    });
    journal.onSealed = () => this.#pump();
  }

  /** Why nothing arrives; undefined while the last word from the brokers was good. */
  get trouble(): string | undefined {
    return this.#unreachable ?? this.#partitions.trouble;
  }

  get inFlight(): number {
    return this.#partitions.inFlight;
  }

  /** Connects, for ever if need be. Never rejects. */
  async start(): Promise<void> {
    for (let attempt = 0; !this.#stopped; attempt++) {
      try {
        await this.#refreshMetadata();
        this.#noteChange();
        this.#pump();
        this.#refreshIn(METADATA_MAX_AGE_MS);
        return;
      } catch (error) {
        await Bun.sleep(error instanceof TopicUnusable ? HOLD_MS : backOffMs(attempt));
      }
    }
  }

  /** Asks for the metadata now: whether a connection can be made is known before a batch needs it. */
  refresh(): void {
    if (this.#refreshTimer === undefined) return; // start() is still at it
    void this.#refreshRegularly();
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
    if (!this.#hasProducerId || this.#stopped) return;
    const partitions = this.#partitions;
    for (let queue = partitions.choose(); queue; queue = partitions.choose()) {
      const batch = this.#journal.take();
      if (!batch) break;
      const { placement } = batch;
      const placedAt = placement && this.#queueOf(placement);
      if (placedAt) {
        this.#remedy.takeUp(placedAt, batch, placement);
        continue;
      }
      this.#remedy.noteAnew(batch);
      partitions.noteTurn(queue);
      const stamp = queue.nextStamp(batch.recordCount);
      this.#journal.place(batch, { ...stamp, partition: queue.partition });
      queue.enqueue(batch, stamp);
      if (queue.isRunningOut) void this.#remedy.renewId(queue);
    }
    for (const queue of partitions.queues) this.#advance(queue);
    this.#settleHome();
    this.#checkIdle();
  }

  /** Undefined = nobody can be asked for what was placed so. */
  #queueOf(placement: Placement): PartitionQueue | undefined {
    return this.#home.others.length > 0 ? undefined : this.#partitions.queueOf(placement);
  }

  #settleHome(): void {
    if (this.#home.others.length === 0) return;
    if (!this.#journal.hasUntaken && this.#partitions.isIdle) void this.#home.settle();
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
    if (shipment.preparing) return false;
    const plain = shipment.cut ?? this.#journal.bytesOf(shipment.batch);
    const durable = shipment.stamp.producerId < 0n || this.#journal.isDurable(shipment.batch);
    if (durable && this.#options.compression === 'none') {
      shipment.payload = plain;
      return true;
    }
    void this.#prepare(queue, shipment, plain, durable);
    return false;
  }

  /** Compresses while the disk works. Numbers that nobody can be asked for (acks=1) need no disk. */
  async #prepare(queue: PartitionQueue, shipment: Shipment, plain: Buffer, durable: boolean) {
    const preparing = (shipment.preparing = Symbol());
    const onDisk = durable ? undefined : this.#journal.durable(shipment.batch);
    const { compression, onWarning } = this.#options;
    const payload = await payloadOf(plain, compression, onWarning);
    await onDisk;
    if (shipment.preparing !== preparing) return;
    shipment.preparing = undefined;
    shipment.payload = payload;
    if (!this.#stopped) this.#advance(queue);
  }

  #send(queue: PartitionQueue, shipment: Shipment): void {
    this.#remedy.noteSending(shipment);
    if (shipment.wasSent) this.counters.retries++;
    shipment.wasSent = true;
    const payload = shipment.payload ?? this.#journal.bytesOf(shipment.batch);
    this.#topic.produce(queue, payload).then(
      ({ errorCode }) => this.#settle(queue, shipment, verdictOf(errorCode)),
      (error: Error) => this.#settle(queue, shipment, verdictOfFailure(error), error.message),
    );
  }

  #settle(queue: PartitionQueue, shipment: Shipment, verdict: Verdict, why?: string): void {
    queue.settle(shipment, verdict);
    if (verdict.action === 'done') {
      queue.trouble = undefined;
      this.#unreachable = undefined;
      this.counters.acknowledged += shipment.recordCount;
      shipment.parts.acknowledged = true;
      this.#finish(shipment);
    } else {
      if (verdict.action !== 'recut') queue.trouble = why ?? verdict.inWords ?? verdict.name;
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
    // Not one that was found in Kafka, put aside or lost as a whole.
    if (parts.acknowledged) {
      collectAfterBatch(++this.counters.acknowledgedBatches);
      // The clock may have been put back since.
      this.onAcknowledged(Math.max(0, Date.now() - batch.baseTimestamp));
    }
    this.#journal.acknowledge(batch);
  }

  /** Until the head of the line may be sent again. Never rejects. */
  async #mend(queue: PartitionQueue): Promise<void> {
    while (!this.#stopped) {
      try {
        if (queue.isGone) this.#remedy.moveAway(queue, this.#partitions);
        if (queue.isGone && queue.load === 0) break;
        await this.#applyRemedy(queue);
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

  async #applyRemedy(queue: PartitionQueue): Promise<void> {
    switch (queue.action) {
      case 'done':
        return;
      case 'inquire':
        await this.#refreshMetadata(); // is it still the cluster that it was sent to?
        return this.#remedy.inquire(queue);
      case 'new id':
        return this.#remedy.renumber(queue);
      case 'recut':
        this.#warnOfSize();
        return this.#remedy.recut(queue);
      case 'reencode':
        await Bun.sleep(backOffMs(queue.attempt++));
        return this.#remedy.reencode(queue);
      case 'redate':
        return this.#redate(queue);
      case 'hold':
        return this.#hold(queue);
      case 'retry':
      case 'new leader':
        // Without a head it only lost its leader: nothing failed, so nothing to wait for.
        if (queue.waiting.length > 0) await Bun.sleep(backOffMs(queue.attempt++));
        return this.#askAnew(queue);
    }
  }

  async #redate(queue: PartitionQueue): Promise<void> {
    if (this.#remedy.redate(queue)) return;
    queue.trouble = CLOCK_AHEAD;
    this.#noteChange();
    await this.#hold(queue);
  }

  async #hold(queue: PartitionQueue): Promise<void> {
    await Bun.sleep(HOLD_MS);
    await this.#askAnew(queue);
  }

  /** Who leads, and has the leader what may have arrived? */
  async #askAnew(queue: PartitionQueue): Promise<void> {
    await this.#refreshMetadata();
    if (queue.waiting[0]?.verdict?.persistence === 'unknown') await this.#remedy.inquire(queue);
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
    try {
      const { clusterId, partitions } = await this.#topic.metadata();
      if (!this.#hasProducerId || this.#home.isOther(clusterId)) await this.#begin(clusterId);
      this.#partitions.update(partitions);
      this.#unreachable = undefined;
    } catch (error) {
      this.#unreachable = (error as Error).message;
      this.#noteChange();
      throw error;
    }
  }

  /** In the first cluster that answers, or in another one than before. */
  async #begin(clusterId: string): Promise<void> {
    // Nothing is placed from here on until it is known who leads.
    this.#partitions.beginAnew(await this.#topic.newProducerId());
    await this.#home.enter(clusterId);
    this.#hasProducerId = true;
  }

  /** The one timer for it, whoever asked in between. */
  #refreshIn(ms: number, attempt = 0): void {
    clearTimeout(this.#refreshTimer);
    if (this.#stopped) return;
    this.#refreshTimer = setTimeout(() => void this.#refreshRegularly(attempt), ms);
  }

  /** Again soon where it fails: an idle producer has nothing else that would end the trouble. */
  async #refreshRegularly(attempt = 0): Promise<void> {
    const refreshed = await this.#refreshMetadata().then(
      () => true,
      () => false, // noted where it failed
    );
    if (!refreshed) return this.#refreshIn(backOffMs(attempt), attempt + 1);
    this.#noteChange();
    this.#pump();
    this.#refreshIn(METADATA_MAX_AGE_MS);
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
    if (!this.#idle || this.#journal.hasUntaken || !this.#partitions.isIdle) return;
    this.#idle.resolve();
    this.#idle = undefined;
  }
}

function verdictOfFailure(error: Error): Verdict {
  return error instanceof BrokerUnreachable ? error.verdict : NO_ANSWER;
}
