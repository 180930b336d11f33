// What Kafka has, per segment. Batches are acknowledged in any order (partitions do not wait for
// each other), while the segment stores one position: all below is acknowledged. Those above it are
// remembered here only; after a crash the broker itself tells which they were (kafka/remedy.ts).

import { batchStart } from './journalled-batch.ts';
import type { JournalledHeader, Placement } from './journalled-batch.ts';
import type { Segment } from './segment.ts';

/** A sealed batch on its way: out of the journal's queue, not yet acknowledged. */
export interface JournalledBatch extends Omit<JournalledHeader, 'placement'> {
  readonly segment: Segment;
  readonly position: number;
  placement: Placement | undefined;
  /** A power cut took its placement and left no other, so it may be in Kafka and nobody knows. */
  readonly placementLost: boolean;
  /** The round of fdatasync that puts its placement on the disk. */
  syncRound: number;
}

export class Cursor {
  /** Taken and unacknowledged from the first gap on, in journal order. */
  readonly #taken = new Map<Segment, { batch: JournalledBatch; acknowledged: boolean }[]>();

  take(batch: JournalledBatch): void {
    const queue = this.#taken.get(batch.segment) ?? [];
    queue.push({ batch, acknowledged: false });
    this.#taken.set(batch.segment, queue);
  }

  acknowledge(batch: JournalledBatch): void {
    const queue = this.#taken.get(batch.segment) ?? [];
    const entry = queue.find((candidate) => candidate.batch === batch);
    if (!entry || entry.acknowledged) return;
    entry.acknowledged = true;
    const gap = queue.findIndex((candidate) => !candidate.acknowledged);
    const done = queue.splice(0, gap < 0 ? queue.length : gap);
    const last = done.at(-1);
    if (last) batch.segment.acknowledged = batchStart(last.batch.end);
  }

  /** Is all that was taken of this segment acknowledged? */
  isClear(segment: Segment): boolean {
    return (this.#taken.get(segment)?.length ?? 0) === 0;
  }

  /** Timestamp (ms since 1970) of the oldest batch that is taken and not acknowledged. */
  get oldestTimestamp(): number | undefined {
    for (const queue of this.#taken.values()) {
      if (queue[0]) return queue[0].batch.baseTimestamp;
    }
    return undefined;
  }

  forget(segment: Segment): void {
    this.#taken.delete(segment);
  }
}
