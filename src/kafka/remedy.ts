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
import type { DeviationCause, Deviations } from './deviations.ts';
import { RECOVERED } from './errors.ts';
import type { PartitionQueue, Shipment } from './partition-queue.ts';
import type { Partitions } from './partitions.ts';
import type { ProducerState } from './protocol.ts';
import type { Quarantine } from './quarantine.ts';

/** Kafka's default for `producer.id.expiration.ms`: after this a broker has forgotten a producer. */
export const PRODUCER_ID_EXPIRATION_MS = 86_400_000;

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

  constructor(parts: RemedyParts) {
    this.#journal = parts.journal;
    this.#inquiries = parts.inquiries;
    this.#counters = parts.counters;
    this.#deviations = parts.deviations;
    this.#quarantine = parts.quarantine;
    this.#finish = parts.finish;
  }

  /**
   * Did what was sent arrive? Its producer's last sequence in the log decides, not the broker's memory
   * of five batches: after a lost answer, after a restart, and when the broker doubts a sequence.
   */
  async inquire(queue: PartitionQueue): Promise<void> {
    const states = await this.#inquiries.describeProducers(queue);
    const lastOf = (shipment: Shipment): number | undefined =>
      states?.find(({ producerId }) => producerId === shipment.stamp.producerId)?.lastSequence;
    this.#settleArrived(queue, lastOf);
    const head = queue.waiting[0];
    if (!head?.verdict) return;
    const last = lastOf(head);
    if (last !== undefined && nextSequence(last, 1) === head.stamp.baseSequence) return;
    const doubted = head.verdict.action === 'inquire' && head.verdict !== RECOVERED;
    if (doubted || last !== undefined) return this.renumber(queue);
    for (const shipment of queue.waiting) {
      if (shipment.stamp.producerId < 0n) this.#noteResent(shipment, 'sent with acks=1');
      else if (!states) this.#noteResent(shipment, 'DescribeProducers refused');
      else if (isForgotten(shipment, head)) {
        this.#noteResent(shipment, 'producer forgotten by the broker');
      }
    }
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

  /** A new producer id for all that waits: the broker will not take the old sequences. */
  async renumber(queue: PartitionQueue): Promise<void> {
    const producer = await this.#inquiries.newProducerId();
    queue.stamp = { ...producer, baseSequence: 0 };
    for (const shipment of queue.waiting) {
      this.#noteResent(shipment, 'sequences refused');
      shipment.stamp = queue.nextStamp(shipment.recordCount);
      this.#restamp(queue, shipment);
    }
  }

  /** Writes the shipment's stamp into its bytes: it begins anew. */
  #restamp({ partition }: PartitionQueue, shipment: Shipment): void {
    const { cut, batch, stamp } = shipment;
    shipment.payload = undefined;
    shipment.preparing = undefined;
    shipment.verdict = undefined;
    if (cut) writeStamp(cut, 0, cut.length, stamp);
    // The stamp of a part would be wrong for the rest of its batch.
    if (shipment.recordCount === batch.recordCount) {
      this.#journal.place(batch, { ...stamp, partition });
    }
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
    if (head.stamp.producerId >= 0n) await this.renumber(queue);
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

  /** Two parts: the records below `at`, and the rest. */
  #split(shipment: Shipment, at: number): Shipment[] {
    const { batch, parts, order, recordCount, unsure = false } = shipment;
    const source = this.#plainBytes(shipment);
    parts.left++;
    return [
      { from: 0, to: at },
      { from: at, to: recordCount },
    ].map(({ from, to }) => {
      const cut = recutBatch(source, from, to);
      // A batch has fewer than 2^24 records (its bytes are fewer), so parts never overtake.
      const place = order + from / 2 ** 24;
      const stamp = readBatchHeader(cut, 0);
      return { batch, parts, order: place, recordCount: to - from, stamp, cut, unsure };
    });
  }
}

const HALF_CIRCLE = 2 ** 30;

/**
 * The broker knows nothing of the head's producer, and takes any first sequence. It never knew it, or
 * forgot: surely so if the head is not the first that was sent under its id (the first one goes alone,
 * and the next once it arrived).
 */
function isForgotten({ batch, stamp }: Shipment, head: Shipment): boolean {
  const isOld = Date.now() - batch.maxTimestamp > PRODUCER_ID_EXPIRATION_MS;
  const knewProducer = head.stamp.baseSequence > 0;
  return isOld || (knewProducer && stamp.producerId === head.stamp.producerId);
}

/** How many records of the shipment the log has, if its producer's last sequence is `last`. */
function countArrived(shipment: Shipment, last: number): number {
  if (last < 0) return 0;
  // Sequences wrap at 2^31: a distance of more than half the circle is "behind".
  let distance = last - shipment.stamp.baseSequence;
  if (distance < -HALF_CIRCLE) distance += 2 * HALF_CIRCLE;
  else if (distance > HALF_CIRCLE) distance -= 2 * HALF_CIRCLE;
  return Math.max(0, Math.min(shipment.recordCount, distance + 1));
}
