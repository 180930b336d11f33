// Where exactly-once ends: records that Kafka will not have, may have twice, or has with another time
// than they were received with. All of it goes through here, is counted by what became of the records
// and why, and is reported with the batch, so that somebody who can read records can name them.

import { readBatchHeader } from '../record-batch.ts';

/** What may become of records, and why. */
const CAUSES = {
  lost: ['too large for the broker'],
  'put aside': ['too large for the broker', 'corrupt to the broker', 'damaged in the journal'],
  'may be twice': [
    'sent with acks=1',
    'placed in another topic or cluster',
    'its sequences torn by a power cut',
    'producer forgotten by the broker',
    'DescribeProducers refused',
    'sequences refused',
  ],
  redated: ['dated ahead of the broker'],
} as const;

export type Deviation = keyof typeof CAUSES;
export type DeviationCause = (typeof CAUSES)[Deviation][number];

export interface DeviationReport {
  readonly deviation: Deviation;
  readonly cause: DeviationCause;
  /** A plain record batch; a view, valid during the call. */
  readonly batch: Buffer;
  readonly detail?: string | undefined;
}

export type DeviationCounts = ReadonlyMap<Deviation, ReadonlyMap<DeviationCause, number>>;

export class Deviations {
  // With their zeros: Prometheus sees no increase in a series that begins with its first count.
  readonly #counts = new Map(
    Object.entries(CAUSES).map(([deviation, causes]) => [
      deviation as Deviation,
      new Map<DeviationCause, number>(causes.map((cause) => [cause, 0])),
    ]),
  );
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
