// What to do once a partition's batches came back failed: turns the head's verdict into a line of
// shipments that can be sent again without losing or doubling a record. Knows no timers and no
// connections; asks the broker through `Inquiries`.

import {
  nextSequence,
  type ProducerStamp,
  readBatchHeader,
  recutBatch,
  writeStamp,
} from '../record-batch.ts';
import type { Backlog } from '../journal/backlog.ts';
import { RECOVERED } from './errors.ts';
import type { PartitionQueue, Shipment } from './partition-queue.ts';
import type { ProducerState } from './protocol.ts';

/** `producer.id.expiration.ms` of Kafka: after this the broker has forgotten a sequence. */
const PRODUCER_ID_EXPIRATION_MS = 86_400_000;

export interface Inquiries {
  /** Last sequences the leader knows; undefined = it cannot or will not tell. */
  describeProducers(queue: PartitionQueue): Promise<readonly ProducerState[] | undefined>;
  newProducerId(): Promise<Pick<ProducerStamp, 'producerId' | 'producerEpoch'>>;
}

export interface RemedyCounters {
  /** Records found to be in the log already when they were about to be sent again. */
  alreadyDelivered: number;
  /** Records sent again that may be in the log twice: the broker could no longer tell. */
  possiblyDuplicated: number;
  /** Records larger than the broker takes, given up one by one. */
  oversize: number;
}

export class Remedy {
  readonly #journal: Backlog;
  readonly #inquiries: Inquiries;
  readonly #counters: RemedyCounters;
  readonly #finish: (shipment: Shipment) => void;

  constructor(
    journal: Backlog,
    inquiries: Inquiries,
    counters: RemedyCounters,
    finish: (shipment: Shipment) => void,
  ) {
    this.#journal = journal;
    this.#inquiries = inquiries;
    this.#counters = counters;
    this.#finish = finish;
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
    // The broker knows nothing of the producer: the batch never arrived, or so long ago that the
    // broker forgot. It takes any first sequence then.
    this.#noteResent(
      queue,
      (shipment) => !states || shipment.stamp.producerId < 0n || isForgotten(shipment),
    );
  }

  #noteResent(queue: PartitionQueue, mayBeThere: (shipment: Shipment) => boolean): void {
    for (const shipment of queue.waiting) {
      if (!shipment.unsure || !mayBeThere(shipment)) continue;
      this.#counters.possiblyDuplicated += shipment.recordCount;
      shipment.unsure = false;
    }
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
    this.#noteResent(queue, () => true);
    for (const shipment of queue.waiting) {
      shipment.stamp = queue.nextStamp(shipment.recordCount);
      shipment.payload = undefined;
      shipment.verdict = undefined;
      if (shipment.cut) writeStamp(shipment.cut, 0, shipment.cut.length, shipment.stamp);
      else this.#journal.place(shipment.batch, { ...shipment.stamp, partition: queue.partition });
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
    this.#counters.oversize++;
    queue.dropHead();
    this.#finish(head);
    // Its sequence number will never arrive, and the broker takes none behind the gap.
    if (head.stamp.producerId >= 0n) await this.renumber(queue);
  }

  /** Two parts: the records below `at`, and the rest. */
  #split(shipment: Shipment, at: number): Shipment[] {
    const { batch, parts, order, recordCount, unsure = false } = shipment;
    const source = shipment.cut ?? this.#journal.bytesOf(batch);
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

function isForgotten({ batch }: Shipment): boolean {
  return Date.now() - batch.maxTimestamp > PRODUCER_ID_EXPIRATION_MS;
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
