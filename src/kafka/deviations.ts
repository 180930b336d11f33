// Where exactly-once ends: records that Kafka will not have, may have twice, or has with another time
// than they were received with. All of it goes through here, is counted by what became of the records
// and why, and is reported with the batch, so that somebody who can read records can name them.

import { readBatchHeader } from '../record-batch.ts';

/** What became of the records. */
export type Deviation = 'lost' | 'put aside' | 'may be twice' | 'redated';

export type DeviationCause =
  | 'too large for the broker'
  | 'corrupt to the broker'
  | 'damaged in the journal'
  | 'dated ahead of the broker'
  | 'sent with acks=1'
  | 'placed in another topic or cluster'
  | 'producer forgotten by the broker'
  | 'DescribeProducers refused'
  | 'sequences refused';

export interface DeviationReport {
  readonly deviation: Deviation;
  readonly cause: DeviationCause;
  /** A plain record batch; a view, valid during the call. */
  readonly batch: Buffer;
  readonly detail?: string | undefined;
}

export type DeviationCounts = ReadonlyMap<Deviation, ReadonlyMap<DeviationCause, number>>;

export class Deviations {
  readonly #counts = new Map<Deviation, Map<DeviationCause, number>>();
  readonly #onDeviation: (report: DeviationReport) => void;

  constructor(onDeviation: (report: DeviationReport) => void) {
    this.#onDeviation = onDeviation;
  }

  /** Records, by deviation and cause. */
  get counts(): DeviationCounts {
    return this.#counts;
  }

  total(deviation: Deviation): number {
    const causes = this.#counts.get(deviation)?.values() ?? [];
    return [...causes].reduce((sum, count) => sum + count, 0);
  }

  /** Must come before the batch is acknowledged: a kill in between must not make it unknown. */
  note(deviation: Deviation, cause: DeviationCause, batch: Buffer, detail?: string): void {
    const causes = this.#counts.get(deviation) ?? new Map<DeviationCause, number>();
    causes.set(cause, (causes.get(cause) ?? 0) + readBatchHeader(batch, 0).recordCount);
    this.#counts.set(deviation, causes);
    this.#onDeviation({ deviation, cause, batch, detail });
  }
}
