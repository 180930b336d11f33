// Counters of all parts → Prometheus text. The parts count in plain numbers; prom-client reads those
// when somebody asks, and is loaded only then.

import type { Counter, Gauge, MetricObjectWithValues, MetricValue, Registry } from 'prom-client';

/** What one scrape reads. Names and units follow Prometheus' conventions. */
export interface MetricSource {
  readonly counters: Readonly<Record<string, readonly [help: string, read: () => number]>>;
  /** `merge`: what several workers make of it together; their sum, if it does not say. */
  readonly gauges: Readonly<
    Record<string, readonly [help: string, read: () => number, merge?: 'max' | 'min']>
  >;
  /** Kafka's refusals by error name. */
  readonly refusals: () => ReadonlyMap<string, number>;
  /** Records by what became of them, and by cause. */
  readonly deviations: () => ReadonlyMap<string, ReadonlyMap<string, number>>;
}

/** Structural, so that this file imports no other part. */
export interface Parts {
  readonly listener: {
    readonly counters: { redirected: number; methodNotAllowed: number; refused: number };
  };
  readonly batcher: { readonly counters: { dropped: number; oversize: number; failed: number } };
  readonly journal: {
    readonly counters: {
      appended: number;
      sealed: number;
      lostBytes: number;
      recycledSegments: number;
      machineStops: number;
      refusedSegments: number;
    };
    readonly syncs: {
      readonly rounds: number;
      readonly seconds: number;
      readonly givenUp: number;
    };
    readonly bytes: number;
    readonly backlogBytes: number;
    readonly oldestTimestamp: number | undefined;
  };
  readonly delivery?:
    | {
        readonly counters: {
          acknowledged: number;
          acknowledgedBatches: number;
          alreadyDelivered: number;
          possiblyDuplicated: number;
          oversize: number;
          retries: number;
          refusals: ReadonlyMap<string, number>;
        };
        readonly deviations: {
          readonly counts: ReadonlyMap<string, ReadonlyMap<string, number>>;
        };
        readonly inFlight: number;
        readonly trouble: string | undefined;
        /** Journals that were taken over. */
        readonly orphans: readonly JournalState[];
        /** Of theirs, unreadable. */
        readonly lostBytes: number;
      }
    | undefined;
}

interface JournalState {
  readonly bytes: number;
  readonly backlogBytes: number;
  readonly oldestTimestamp: number | undefined;
}

export function metricSource({ listener, batcher, journal, delivery }: Parts): MetricSource {
  const http = listener.counters;
  const lost = batcher.counters;
  const log = journal.counters;
  const kafka = delivery?.counters;
  return {
    counters: {
      hoplog_redirects_total: ['Requests redirected and recorded', () => http.redirected],
      hoplog_method_not_allowed_total: ['Requests answered 405', () => http.methodNotAllowed],
      hoplog_refused_total: ['Requests answered 503, journal full', () => http.refused],
      hoplog_dropped_total: ['Records dropped, journal full', () => lost.dropped],
      hoplog_failed_total: ['Records that capture or complete failed on', () => lost.failed],
      hoplog_oversize_total: [
        'Records larger than a batch or than the broker takes',
        () => lost.oversize + (kafka?.oversize ?? 0),
      ],
      hoplog_appended_total: ['Records appended to the journal', () => log.appended],
      hoplog_sealed_batches_total: ['Batches sealed', () => log.sealed],
      ...journalCounters(journal, delivery),
      hoplog_acknowledged_total: ['Records Kafka acknowledged', () => kafka?.acknowledged ?? 0],
      hoplog_acknowledged_batches_total: [
        'Batches Kafka acknowledged',
        () => kafka?.acknowledgedBatches ?? 0,
      ],
      hoplog_already_delivered_total: [
        'Records found in Kafka when about to be sent again',
        () => kafka?.alreadyDelivered ?? 0,
      ],
      hoplog_possibly_duplicated_total: [
        'Records sent again although Kafka may have them',
        () => kafka?.possiblyDuplicated ?? 0,
      ],
      hoplog_kafka_retries_total: ['Batches sent again', () => kafka?.retries ?? 0],
    },
    gauges: gaugesOf({ journal, delivery }),
    refusals: () => kafka?.refusals ?? new Map(),
    deviations: () => delivery?.deviations.counts ?? new Map(),
  };
}

function journalCounters(
  { counters, syncs }: Parts['journal'],
  delivery: Parts['delivery'],
): MetricSource['counters'] {
  return {
    hoplog_journal_syncs_total: ['fdatasync rounds', () => syncs.rounds],
    hoplog_journal_sync_seconds_total: ['Time spent in them', () => syncs.seconds],
    hoplog_journal_unsynced_sends_total: [
      'Batches sent before their sequence numbers were on the disk: it took too long',
      () => syncs.givenUp,
    ],
    hoplog_journal_unreadable_bytes_total: [
      'Bytes of batches found damaged after a crash',
      () => counters.lostBytes + (delivery?.lostBytes ?? 0),
    ],
    hoplog_journal_machine_stops_total: [
      'Starts after the machine went down under hoplog: the log names what may be lost',
      () => counters.machineStops,
    ],
    hoplog_journal_recycled_segments_total: [
      'Oldest segments overwritten in local mode',
      () => counters.recycledSegments,
    ],
    hoplog_journal_refused_segments_total: [
      'Segments given up because fdatasync failed',
      () => counters.refusedSegments,
    ],
  };
}

function gaugesOf({
  journal,
  delivery,
}: Pick<Parts, 'journal' | 'delivery'>): MetricSource['gauges'] {
  const orphans = (): readonly JournalState[] => delivery?.orphans ?? [];
  const withOrphans = (own: number, of: (orphan: JournalState) => number): number =>
    orphans().reduce((sum, orphan) => sum + of(orphan), own);
  return {
    hoplog_journal_bytes: [
      'Journals on disk',
      () => withOrphans(journal.bytes, ({ bytes }) => bytes),
    ],
    hoplog_backlog_bytes: [
      'Journals that Kafka has not acknowledged',
      () => withOrphans(journal.backlogBytes, ({ backlogBytes }) => backlogBytes),
    ],
    hoplog_oldest_unacknowledged_seconds: [
      'Age of the oldest record Kafka has not acknowledged; 0 = none',
      () => ageSeconds([journal, ...orphans()]),
      'max',
    ],
    hoplog_batches_in_flight: ['Batches sent and unanswered', () => delivery?.inFlight ?? 0],
    hoplog_ready: [
      '1 = Kafka takes records, or local mode',
      () => (delivery?.trouble ? 0 : 1),
      'min',
    ],
  };
}

function ageSeconds(journals: readonly Pick<JournalState, 'oldestTimestamp'>[]): number {
  const now = Date.now();
  const ages = journals.map(({ oldestTimestamp }) => now - (oldestTimestamp ?? now));
  return Math.max(0, ...ages) / 1000;
}

const ACK_SECONDS_BUCKETS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 5, 10, 30, 60, 300, 3600];

/** Acknowledgement ages: how many up to each bound, and above the last; and their sum. */
interface AgeHistogram {
  readonly counts: number[];
  sum: number;
}

type Series = MetricObjectWithValues<MetricValue<string>>;

/** All metrics of a process at one moment. */
export interface MetricsReport {
  readonly series: readonly Series[];
  readonly ages: AgeHistogram;
}

export class Metrics {
  readonly #source: MetricSource;
  readonly #ages: AgeHistogram = { counts: ACK_SECONDS_BUCKETS.map(() => 0).concat(0), sum: 0 };
  #registry: Promise<Registry> | undefined;

  constructor(source: MetricSource) {
    this.#source = source;
  }

  /** A batch was acknowledged `ageMs` after its first record was received. */
  observeAcknowledged(ageMs: number): void {
    const seconds = ageMs / 1000;
    const bucket = ACK_SECONDS_BUCKETS.findIndex((bound) => seconds <= bound);
    const index = bucket < 0 ? ACK_SECONDS_BUCKETS.length : bucket;
    this.#ages.counts[index] = (this.#ages.counts[index] ?? 0) + 1;
    this.#ages.sum += seconds;
  }

  async exposition(): Promise<string> {
    const registry = await this.#load();
    return `${await registry.metrics()}${histogramText(this.#ages)}`;
  }

  /** The same as data, for another process to merge. */
  async report(): Promise<MetricsReport> {
    const registry = await this.#load();
    return { series: await registry.getMetricsAsJSON(), ages: this.#ages };
  }

  #load(): Promise<Registry> {
    // A process without a descriptor left cannot load prom-client: the next scrape tries again.
    this.#registry ??= this.#build().catch((error: Error) => {
      this.#registry = undefined;
      throw error;
    });
    return this.#registry;
  }

  async #build(): Promise<Registry> {
    const prom = await import('prom-client');
    const registry = new prom.Registry();
    const registers = [registry];
    for (const [name, [help, read]] of Object.entries(this.#source.counters)) {
      const counter: Counter = new prom.Counter({
        name,
        help,
        registers,
        collect: () => {
          counter.reset();
          counter.inc(read());
        },
      });
    }
    for (const [name, [help, read, merge = 'sum']] of Object.entries(this.#source.gauges)) {
      const gauge: Gauge = new prom.Gauge({
        name,
        help,
        aggregator: merge,
        registers,
        collect: () => gauge.set(read()),
      });
    }
    const { refusals, deviations } = this.#source;
    const deviated: Counter<'deviation' | 'cause'> = new prom.Counter({
      name: 'hoplog_deviations_total',
      help: 'Records not, or perhaps not, in Kafka exactly once as they were received',
      labelNames: ['deviation', 'cause'],
      registers,
      collect: () => {
        deviated.reset();
        for (const [deviation, causes] of deviations()) {
          for (const [cause, count] of causes) deviated.inc({ deviation, cause }, count);
        }
      },
    });
    const refused: Counter<'error'> = new prom.Counter({
      name: 'hoplog_kafka_refusals_total',
      help: 'Batches that a broker refused or did not answer for, by Kafka error',
      labelNames: ['error'],
      registers,
      collect: () => {
        refused.reset();
        for (const [error, count] of refusals()) refused.inc({ error }, count);
      },
    });
    return registry;
  }
}

/** Several processes as if they were one. */
export async function mergeReports(reports: readonly MetricsReport[]): Promise<MetricsReport> {
  const { AggregatorRegistry } = await import('prom-client');
  const registry = AggregatorRegistry.aggregate(reports.map(({ series }) => [...series]));
  const counts = ACK_SECONDS_BUCKETS.map(() => 0).concat(0);
  let sum = 0;
  for (const { ages } of reports) {
    ages.counts.forEach((count, index) => {
      counts[index] = (counts[index] ?? 0) + count;
    });
    sum += ages.sum;
  }
  return { series: await registry.getMetricsAsJSON(), ages: { counts, sum } };
}

/** What is left of a process that has ended: counters must not fall. */
export function countersOf({ series, ages }: MetricsReport): MetricsReport {
  return { series: series.filter(({ type }) => String(type) === 'counter'), ages };
}

/** What the supervisor of several workers adds of its own. */
export interface Crew {
  /** Serving. */
  readonly workers: number;
  /** Started again after they had ended by themselves. */
  readonly restarts: number;
}

/** Text of merged reports. */
export async function crewExposition(
  reports: readonly MetricsReport[],
  { workers, restarts }: Crew,
): Promise<string> {
  const {
    AggregatorRegistry,
    Counter: PromCounter,
    Gauge: PromGauge,
  } = await import('prom-client');
  const { series, ages } = await mergeReports(reports);
  const registry = AggregatorRegistry.aggregate([[...series]]);
  const registers = [registry];
  new PromGauge({ name: 'hoplog_workers', help: 'Workers that serve', registers }).set(workers);
  new PromCounter({
    name: 'hoplog_worker_restarts_total',
    help: 'Workers that ended by themselves and were started again',
    registers,
  }).inc(restarts);
  return `${await registry.metrics()}${histogramText(ages)}`;
}

/** prom-client's histogram cannot be set from outside, so its six lines are written here. */
function histogramText({ counts, sum }: AgeHistogram): string {
  const name = 'hoplog_acknowledge_seconds';
  const lines = [
    `# HELP ${name} Age of a batch, from its first record, when Kafka acknowledged it`,
    `# TYPE ${name} histogram`,
  ];
  let count = 0;
  for (const [index, bound] of ACK_SECONDS_BUCKETS.entries()) {
    count += counts[index] ?? 0;
    lines.push(`${name}_bucket{le="${bound}"} ${count}`);
  }
  count += counts[ACK_SECONDS_BUCKETS.length] ?? 0;
  lines.push(`${name}_bucket{le="+Inf"} ${count}`, `${name}_sum ${sum}`);
  lines.push(`${name}_count ${count}`, '');
  return lines.join('\n');
}
