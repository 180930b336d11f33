// What a supervisor and its workers say to each other, over the channel that Bun.spawn opens between
// them. The supervisor asks, the worker answers; on its own it says once that it serves. To end it takes
// a signal, as for any server: that works in whatever state a worker is.

import type { MetricsReport } from '../exposition.ts';

export type Question =
  /** Answered with a `Report`. */
  | 'report'
  /** All new connections are to come to it: it is the newest. */
  | 'take all'
  /** … and only its share again. */
  | 'share'
  /** Its successor takes all: leave the port, let clients go, deliver, end. Answered once it left. */
  | 'leave';

export interface ToWorker {
  readonly id: number;
  readonly question: Question;
}

export type FromWorker =
  | { readonly serving: string }
  /** The last words, so that counters of one that ends in order are complete. */
  | { readonly last: Report }
  | { readonly id: number; readonly report?: Report; readonly failure?: string };

export interface Report {
  /** Why it is not ready; none = it is. */
  readonly troubles: readonly string[];
  readonly metrics: MetricsReport;
}
