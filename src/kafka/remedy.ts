// What to do once a partition's batches came back failed: turns the head's verdict into a line of
// shipments that can be sent again without losing or doubling a record. Knows no timers and no
// connections; asks the broker through `Inquiries`.

import {
  crcMatches,
  nextSequence,
  type ProducerStamp,
  readBatchHeader,
  recutBatch,
  writeStamp,
} from '../record-batch.ts';
import type { Backlog } from '../journal/backlog.ts';
import type { JournalledBatch } from '../journal/cursor.ts';
import { type Placement, placementBehind, settledBefore } from '../journal/journalled-batch.ts';
import type { DeviationCause, Deviations } from './deviations.ts';
import { HOLD_MS, RECOVERED } from './errors.ts';
import { type PartitionQueue, PRODUCER_KNOWN_MS, type Shipment } from './partition-queue.ts';
import type { Partitions } from './partitions.ts';
import type { ProducerState } from './protocol.ts';
import type { Quarantine } from './quarantine.ts';

export interface Inquiries {
  /** Last sequences the leader knows; undefined = it cannot or will not tell. */
  describeProducers(queue: PartitionQueue): Promise<readonly ProducerState[] | undefined>;
  newProducerId(): Promise<Pick<ProducerStamp, 'producerId' | 'producerEpoch'>>;
}

export interface RemedyCounters {
  /** Records found to be in the log already when they were about to be sent again. */
  alreadyDelivered: number;
  /** Records larger than the broker takes, left out one by one. */
  oversize: number;
}

export interface RemedyParts {
  readonly journal: Backlog;
  readonly inquiries: Inquiries;
  readonly counters: RemedyCounters;
  readonly deviations: Deviations;
  readonly quarantine: Quarantine;
  /** The shipment is through, one way or the other. */
  readonly finish: (shipment: Shipment) => void;
}

export class Remedy {
  readonly #journal: Backlog;
  readonly #inquiries: Inquiries;
  readonly #counters: RemedyCounters;
  readonly #deviations: Deviations;
  readonly #quarantine: Quarantine;
  readonly #finish: (shipment: Shipment) => void;
  /** Queues that are about to get another producer id. */
  readonly #renewing = new Set<PartitionQueue>();

  constructor(parts: RemedyParts) {
    this.#journal = parts.journal;
    this.#inquiries = parts.inquiries;
    this.#counters = parts.counters;
    this.#deviations = parts.deviations;
    this.#quarantine = parts.quarantine;
    this.#finish = parts.finish;
  }

  /** An earlier process placed it. What was not settled then waits until the broker was asked for it. */
  takeUp(queue: PartitionQueue, batch: JournalledBatch, placement: Placement): void {
    const settled = settledBefore(placement);
    // More than there are: its end was damaged since.
    if (settled >= batch.recordCount) return this.#journal.acknowledge(batch);
    const shipment =
      settled === 0
        ? queue.enqueue(batch, placement)
        : queue.enqueue(
            batch,
            { ...placement, baseSequence: 0 },
            settled,
            this.#rest(batch, settled),
          );
    Object.assign(shipment, { verdict: RECOVERED, unsure: true });
    if (queue.state === 'open') queue.state = 'settling';
  }

  /** It gets its first placement, or another one because there is nobody to ask for that it had. */
  noteAnew(batch: JournalledBatch): void {
    const { placement, placementLost } = batch;
    if (!placement && !placementLost) return;
    const cause = placement
      ? 'placed in another topic or cluster'
      : 'its sequences torn by a power cut';
    this.#deviations.note('may be twice', cause, this.#journal.bytesOf(batch));
  }

  /** Of what bears no sequences nobody can be asked whether an earlier sending of it arrived. */
  noteSending(shipment: Shipment): void {
    if (shipment.stamp.producerId < 0n) this.#noteResent(shipment, 'sent with acks=1');
  }

  /** For what is placed from now on, once there is one. Never rejects. */
  async renewId(queue: PartitionQueue): Promise<void> {
    if (this.#renewing.has(queue)) return;
    this.#renewing.add(queue);
    const { producerId } = queue.stamp;
    try {
      const producer = await this.#inquiries.newProducerId();
      if (queue.stamp.producerId === producerId) queue.stamp = { ...producer, baseSequence: 0 };
    } catch {
      await Bun.sleep(HOLD_MS); // there is time: partition-queue.ts
    } finally {
      this.#renewing.delete(queue);
    }
  }

  /**
   * Did what was sent arrive? Its producer's last sequence in the log decides, not the broker's memory
   * of five batches: after a lost answer, after a restart, and when the broker doubts a sequence.
   */
  async inquire(queue: PartitionQueue): Promise<void> {
    const states = await this.#inquiries.describeProducers(queue);
    if (queue.isGone) throw new Error('the answer may be that of another cluster');
    const lastOf = (shipment: Shipment): number | undefined =>
      states?.find(({ producerId }) => producerId === shipment.stamp.producerId)?.lastSequence;
    this.#settleArrived(queue, lastOf);
    const head = queue.waiting[0];
    if (!head) return;
    if (this.#needsNewId(queue, head, lastOf(head), states !== undefined)) {
      return this.renumber(queue);
    }
    for (const asked of queue.waiting) {
      if (asked.stamp.producerId === head.stamp.producerId) asked.verdict = undefined;
    }
  }

  /** Will the broker not take the head as it is? Counts what goes again untold whether it arrived. */
  #needsNewId(
    queue: PartitionQueue,
    head: Shipment,
    last: number | undefined,
    isAnswered: boolean,
  ): boolean {
    const { verdict, stamp } = head;
    if (!verdict) return false;
    if (last !== undefined) return nextSequence(last, 1) !== stamp.baseSequence;
    if (verdict.action === 'inquire' && verdict !== RECOVERED) return true;
    for (const shipment of queue.waiting) {
      if (shipment.stamp.producerId < 0n) continue; // noteSending
      if (!isAnswered) this.#noteResent(shipment, 'DescribeProducers refused');
      else if (isForgotten(shipment, head)) {
        this.#noteResent(shipment, 'producer forgotten by the broker');
      }
    }
    // Sent under an id that was forgotten, the head would make it known again, and what is taken up
    // behind it would pass for never arrived.
    const isForgottenId = isAnswered && stamp.producerId >= 0n && isForgotten(head, head);
    return isForgottenId && verdict === RECOVERED;
  }

  /** The shipment goes again with nobody to tell whether it arrived: once per doubtful sending. */
  #noteResent(shipment: Shipment, cause: DeviationCause): void {
    if (!shipment.unsure) return;
    this.#deviations.note('may be twice', cause, this.#plainBytes(shipment));
    shipment.unsure = false;
  }

  /** Frees what the log has, from the head on; of a batch that was split, the rest stays. */
  #settleArrived(queue: PartitionQueue, lastOf: (shipment: Shipment) => number | undefined): void {
    for (let head = queue.waiting[0]; head; head = queue.waiting[0]) {
      const last = lastOf(head);
      const arrived = last === undefined ? 0 : countArrived(head, last);
      if (arrived === 0) return;
      this.#counters.alreadyDelivered += arrived;
      if (arrived < head.recordCount) {
        queue.replaceHead(this.#split(head, arrived).slice(1));
        head.parts.left--;
        return;
      }
      queue.dropHead();
      this.#finish(head);
    }
  }

  /**
   * A new producer id for all that waits: the broker will not take the sequences of `old`. But what
   * has yet to be asked for, under another id, is asked for under that.
   */
  async renumber(queue: PartitionQueue, old = queue.waiting[0]?.stamp.producerId): Promise<void> {
    const producer = await this.#inquiries.newProducerId();
    queue.stamp = { ...producer, baseSequence: 0 };
    for (const shipment of queue.waiting) {
      if (shipment.verdict === RECOVERED && shipment.stamp.producerId !== old) continue;
      this.#noteResent(shipment, 'sequences refused');
      shipment.stamp = queue.nextStamp(shipment.recordCount);
      this.#restamp(queue, shipment);
    }
  }

  /** Writes the shipment's stamp into its bytes: it begins anew. */
  #restamp(queue: PartitionQueue, shipment: Shipment): void {
    const { cut, stamp } = shipment;
    shipment.payload = undefined;
    shipment.preparing = undefined;
    shipment.verdict = undefined;
    if (cut) writeStamp(cut, 0, cut.length, stamp);
    this.#place(queue, shipment);
  }

  /**
   * Notes the stamp in the journal, which has room for one a batch. With that of a batch's first part go
   * those of the others, if all that is left of the batch, up to its end, waits here; and that records in
   * front of it are settled can be said of sequence 0 only. Else the old stamp stays, and the next
   * process counts what it cannot tell.
   */
  #place({ partition, waiting }: PartitionQueue, { batch, from, parts, stamp }: Shipment): void {
    const rest = waiting.filter((shipment) => shipment.batch === batch);
    const records = rest.reduce((sum, { recordCount }) => sum + recordCount, 0);
    const isWhole = rest.length === parts.left && records === batch.recordCount - from;
    if (rest[0]?.from !== from || !isWhole) return;
    const placement = { ...stamp, partition };
    if (from === 0) this.#journal.place(batch, placement);
    else if (stamp.baseSequence === 0) this.#journal.place(batch, placementBehind(from, placement));
  }

  /** The broker found the head too large: halves, down to the one record that cannot be sent. */
  async recut(queue: PartitionQueue): Promise<void> {
    const head = queue.waiting[0];
    if (!head) return;
    if (head.recordCount > 1) {
      queue.replaceHead(this.#split(head, head.recordCount >> 1));
      return;
    }
    const bytes = this.#plainBytes(head);
    const cause = 'too large for the broker';
    // Many of these must not hold up a partition: what finds no room is lost, by name.
    await this.#quarantine.put(bytes).then(
      (file) => this.#deviations.note('put aside', cause, bytes, file),
      (error: Error) => this.#deviations.note('lost', cause, bytes, error.message),
    );
    this.#counters.oversize++;
    await this.#leaveOut(queue, head);
  }

  /**
   * The broker computed another CRC for the head. Once it is made anew, if the journal's own hash
   * vouches for the records; then, or if it does not, the batch is put aside.
   * @throws what keeps the quarantine from taking it: the partition waits, a whole broken link must
   *   not empty the journal.
   */
  async reencode(queue: PartitionQueue): Promise<void> {
    const head = queue.waiting[0];
    if (!head) return;
    if (!head.reencoded && this.#isIntact(head)) {
      this.#restamp(queue, head);
      head.reencoded = true;
      return;
    }
    const bytes = this.#plainBytes(head);
    const file = await this.#quarantine.put(bytes);
    const cause = head.reencoded ? 'corrupt to the broker' : 'damaged in the journal';
    this.#deviations.note('put aside', cause, bytes, file);
    await this.#leaveOut(queue, head);
  }

  /** A part has no hash of its own, but a CRC made when it was cut. */
  #isIntact({ batch, cut }: Shipment): boolean {
    return cut ? crcMatches(cut, 0, readBatchHeader(cut, 0)) : this.#journal.isIntact(batch);
  }

  async #leaveOut(queue: PartitionQueue, head: Shipment): Promise<void> {
    queue.dropHead();
    this.#finish(head);
    // Its sequence numbers will never arrive, and the broker takes none behind the gap.
    const { producerId } = head.stamp;
    if (producerId >= 0n) await this.renumber(queue, producerId);
  }

  /**
   * The broker finds the head dated too far from its own clock. Once this clock was put right, what
   * it dated later than now goes again as of now, under its sequences: nothing of it was appended.
   * @returns false while the clock still runs ahead
   */
  redate(queue: PartitionQueue): boolean {
    const now = Date.now();
    const ahead = (shipment: Shipment | undefined): boolean =>
      shipment !== undefined && readBatchHeader(this.#plainBytes(shipment), 0).maxTimestamp > now;
    if (!ahead(queue.waiting[0])) return false;
    for (const shipment of queue.waiting.filter(ahead)) {
      const bytes = this.#plainBytes(shipment);
      this.#deviations.note('redated', 'dated ahead of the broker', bytes);
      shipment.cut = recutBatch(bytes, 0, shipment.recordCount, now);
      shipment.payload = undefined;
      shipment.preparing = undefined;
    }
    return true;
  }

  /** The topic was made anew without this partition: what is left of it goes to the others. */
  moveAway(gone: PartitionQueue, partitions: Partitions): void {
    while (gone.load > 0) {
      const queue = partitions.chooseAny();
      const shipment = queue && gone.dropHead();
      if (!shipment) return;
      this.#noteResent(shipment, 'placed in another topic or cluster');
      this.#restamp(queue, queue.adopt(shipment));
      partitions.noteTurn(queue);
    }
  }

  #plainBytes({ batch, cut }: Shipment): Buffer {
    return cut ?? this.#journal.bytesOf(batch);
  }

  #rest(batch: JournalledBatch, from: number): Buffer {
    return recutBatch(this.#journal.bytesOf(batch), from, batch.recordCount);
  }

  /** Two parts: the records below `at`, and the rest. */
  #split(shipment: Shipment, at: number): Shipment[] {
    const { batch, parts, order, recordCount, unsure = false } = shipment;
    const source = this.#plainBytes(shipment);
    parts.left++;
    return [
      { start: 0, end: at },
      { start: at, end: recordCount },
    ].map(({ start, end }) => ({
      batch,
      parts,
      // A batch has fewer than 2^24 records (its bytes are fewer), so parts never overtake.
      order: order + start / 2 ** 24,
      from: shipment.from + start,
      recordCount: end - start,
      ...cutWithStamp(source, start, end),
      unsure,
    }));
  }
}

function cutWithStamp(source: Buffer, from: number, to: number): Pick<Shipment, 'cut' | 'stamp'> {
  const cut = recutBatch(source, from, to);
  return { cut, stamp: readBatchHeader(cut, 0) };
}

/**
 * The broker knows nothing of the head's producer, and takes any first sequence. It never knew it, or
 * forgot: surely so if the head is not the first that was sent under its id (the first one goes alone,
 * and the next once it arrived), and possibly so after longer than any broker is trusted to remember.
 */
function isForgotten({ batch, stamp }: Shipment, head: Shipment): boolean {
  const isOld = Date.now() - batch.maxTimestamp > PRODUCER_KNOWN_MS;
  const knewProducer = head.stamp.baseSequence > 0;
  return isOld || (knewProducer && stamp.producerId === head.stamp.producerId);
}

/** How many records of the shipment the log has, if its producer's last sequence is `last`. */
function countArrived(shipment: Shipment, last: number): number {
  // Sequences never come to wrap: partition-queue.ts.
  return Math.max(0, Math.min(shipment.recordCount, last + 1 - shipment.stamp.baseSequence));
}
