// What is on its way to one partition, in order. Pure bookkeeping: sends nothing.
//
//   waiting ─ send() ─▶ in flight (≤ 5) ─ settle() ─▶ delivered
//      ▲                     │ failed
//      └────── in order ─────┘   and nothing is sent until all that is in flight came back
//
// Order is the whole point: batches carry sequence numbers, so behind a failed one the broker
// refuses the others anyway, and sending them to another leader early would overtake.

import { nextSequence, type ProducerStamp } from '../record-batch.ts';
import type { JournalledBatch } from '../journal/cursor.ts';
import { SETTLED_FROM } from '../journal/journalled-batch.ts';
import { type Action, RECOVERED, type Verdict } from './errors.ts';

/** Kafka remembers the last five batches of a producer in a partition, so five may be unanswered. */
export const IN_FLIGHT_MAX = 5;

/**
 * So long a broker is trusted to remember a producer, whatever its `producer.id.expiration.ms`
 * is. Far above what a producer under load is silent for.
 */
export const PRODUCER_KNOWN_MS = 3_600_000;

/** Kafka's default for `producer.id.expiration.ms`. */
export const PRODUCER_ID_EXPIRATION_MS = 24 * 3_600_000;

/**
 * Brokers count it from the time of the producer's last *batch*: one that was this old when it arrived
 * may be forgotten with the next look of theirs. Less by PRODUCER_KNOWN_MS, and an hour for clocks that
 * differ.
 */
const PRODUCER_REMEMBERED_MS = PRODUCER_ID_EXPIRATION_MS - PRODUCER_KNOWN_MS - 3_600_000;

/**
 * Metadata answers in a row that do not list a partition until it counts as gone. A living topic's
 * partitions only grow in number, so its topic was made anew; but after a growth a broker that lags
 * behind may give the old number for a moment.
 */
const GONE_AFTER_ANSWERS = 6;

/** Half of all sequences are left then, which is many minutes at any speed. */
const RENEWED_FROM = 2 ** 30;

/** A journalled batch, or a part of one that the broker refused as too large. */
export interface Shipment {
  readonly batch: JournalledBatch;
  /** Place in the partition's order; parts of one batch share its whole part. */
  readonly order: number;
  /** Index in the batch of its first record. */
  readonly from: number;
  readonly recordCount: number;
  /** Shared between the parts of the batch: how many are undelivered; did Kafka acknowledge one? */
  readonly parts: { left: number; acknowledged?: boolean };
  stamp: ProducerStamp;
  /** Bytes of a part; undefined = the batch as it stands in the journal. */
  cut?: Buffer | undefined;
  /** Ready to be sent: `cut` or the journal's bytes, compressed. */
  payload?: Buffer | undefined;
  /** Being made ready; void once it is given another stamp, which may not be on the disk. */
  preparing?: symbol | undefined;
  /** By this process, whatever came of it. */
  wasSent?: boolean;
  verdict?: Verdict | undefined;
  /** Some try of it was sent and not clearly refused: it may be in the log. */
  unsure?: boolean;
  /** The broker found the CRC wrong, and it was made anew. */
  reencoded?: boolean;
}

/** `settling`: something failed and the rest is still in flight. `mending`: back-off, inquiries. */
export type QueueState = 'open' | 'settling' | 'mending';

export class PartitionQueue {
  readonly partition: number;
  /** Node id; -1 = the partition has no leader. */
  leader = -1;
  state: QueueState = 'open';
  /** Failures in a row. */
  attempt = 0;
  stamp: ProducerStamp;
  /** Why nothing arrives here; undefined once a batch did. */
  trouble: string | undefined;
  readonly #waiting: Shipment[] = [];
  readonly #inFlight: Shipment[] = [];
  /** Whose batch was acknowledged last, and when (performance.now). */
  #acknowledgedId = -1n;
  #acknowledgedAt = 0;
  #order = 0;
  /** Metadata answers in a row that did not list the partition. */
  #unlisted = 0;

  constructor(partition: number, producer: Pick<ProducerStamp, 'producerId' | 'producerEpoch'>) {
    this.partition = partition;
    this.stamp = { ...producer, baseSequence: producer.producerId < 0n ? -1 : 0 };
  }

  /** What the head of the line needs before it may be sent. */
  get action(): Action {
    return this.#waiting[0]?.verdict?.action ?? 'retry';
  }

  get waiting(): readonly Shipment[] {
    return this.#waiting;
  }

  get inFlight(): number {
    return this.#inFlight.length;
  }

  get load(): number {
    return this.#waiting.length + this.#inFlight.length;
  }

  get hasRoom(): boolean {
    return this.state === 'open' && this.canPlace && this.load < IN_FLIGHT_MAX;
  }

  /** May a batch be given its next sequences? */
  get canPlace(): boolean {
    return this.leader >= 0 && this.stamp.baseSequence < SETTLED_FROM;
  }

  /** Time for a new producer id, long before this one's sequences run out. */
  get isRunningOut(): boolean {
    return this.stamp.baseSequence >= RENEWED_FROM;
  }

  /** The topic was made anew with fewer partitions, or the queue is another cluster's. */
  get isGone(): boolean {
    return this.#unlisted >= GONE_AFTER_ANSWERS;
  }

  /** The latest metadata says who leads. */
  follow(leader: number): void {
    this.#unlisted = 0;
    this.#setLeader(leader);
  }

  /** The latest metadata does not have this partition. */
  noteUnlisted(): void {
    this.#unlisted++;
    this.#setLeader(-1);
  }

  /** It is of a cluster that is not there any more. */
  abandon(): void {
    this.#unlisted = Infinity;
    this.#setLeader(-1);
  }

  /** What is in flight to the old leader comes back before anything goes to the new one. */
  #setLeader(leader: number): void {
    if (leader !== this.leader && this.load > 0 && this.state === 'open') this.state = 'settling';
    this.leader = leader;
  }

  /** The stamp for the next `count` records of this partition. */
  nextStamp(count: number): ProducerStamp {
    const { stamp } = this;
    if (stamp.producerId >= 0n) {
      this.stamp = { ...stamp, baseSequence: nextSequence(stamp.baseSequence, count) };
    }
    return stamp;
  }

  /** `rest`: only this is left of the batch, behind so many of its records. */
  enqueue(batch: JournalledBatch, stamp: ProducerStamp, from = 0, rest?: Buffer): Shipment {
    const order = ++this.#order;
    const recordCount = batch.recordCount - from;
    const shipment = { batch, order, from, recordCount, parts: { left: 1 }, stamp, cut: rest };
    this.#waiting.push(shipment);
    return shipment;
  }

  /** A shipment out of another partition's line begins anew at the end of this one. */
  adopt(shipment: Shipment): Shipment {
    const stamp = this.nextStamp(shipment.recordCount);
    const adopted = { ...shipment, order: ++this.#order, stamp };
    this.#waiting.push(adopted);
    return adopted;
  }

  /** The head of the line if it may go now. */
  peek(): Shipment | undefined {
    if (this.state !== 'open' || this.leader < 0) return undefined;
    if (this.#inFlight.length >= IN_FLIGHT_MAX) return undefined;
    const head = this.#waiting[0];
    const alone = this.#inFlight.length === 0;
    if (!head || head.verdict === RECOVERED) return undefined;
    return alone || this.#mayFollow(head) ? head : undefined;
  }

  /**
   * A broker that knows nothing of a producer takes any sequence from it first. Were two batches in
   * flight then and the first one refused, the second would be taken and the first never again. So a
   * producer id begins with one batch alone, and again after a silence in which it may be forgotten
   * and after a failure, behind which there may be another log: that of a topic made anew. And behind
   * another id's batch nothing goes, for the broker would not see that they belong together.
   */
  #mayFollow(head: Shipment): boolean {
    const { producerId } = head.stamp;
    if (this.#inFlight.some(({ stamp }) => stamp.producerId !== producerId)) return false;
    if (producerId < 0n) return true;
    if (this.#inFlight.some(isOld)) return false;
    const known = performance.now() - this.#acknowledgedAt < PRODUCER_KNOWN_MS;
    return producerId === this.#acknowledgedId && known;
  }

  /** Moves the head into flight. */
  send(): void {
    const head = this.#waiting.shift();
    if (head) this.#inFlight.push(head);
  }

  /** An answer came (or will never come). A failed shipment goes back to its place in the line. */
  settle(shipment: Shipment, verdict: Verdict): void {
    const index = this.#inFlight.indexOf(shipment);
    if (index >= 0) this.#inFlight.splice(index, 1);
    shipment.verdict = verdict;
    if (verdict.persistence === 'unknown') shipment.unsure = true;
    if (verdict.action === 'done') {
      this.attempt = 0;
      this.#acknowledgedId = isOld(shipment) ? -1n : shipment.stamp.producerId;
      this.#acknowledgedAt = performance.now();
      return;
    }
    this.#acknowledgedId = -1n;
    this.#waiting.push(shipment);
    this.#waiting.sort((a, b) => a.order - b.order);
    if (this.state === 'open') this.state = 'settling';
  }

  /** All that was in flight came back: time to mend what failed, or to ask for what an earlier process sent. */
  get isSettled(): boolean {
    if (this.#inFlight.length > 0) return false;
    const isUnasked = this.#waiting[0]?.verdict === RECOVERED;
    return this.state === 'settling' || (this.state === 'open' && isUnasked);
  }

  /** Takes the head out of the line: delivered after all, or given up by a counted rule. */
  dropHead(): Shipment | undefined {
    return this.#waiting.shift();
  }

  /** Puts `parts` in the head's place. */
  replaceHead(parts: readonly Shipment[]): void {
    this.#waiting.splice(0, 1, ...parts);
  }
}

/** Its producer may be forgotten as soon as it is in the log. */
function isOld({ batch }: Shipment): boolean {
  return Date.now() - batch.maxTimestamp > PRODUCER_REMEMBERED_MS;
}
