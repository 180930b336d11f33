// Every metric once: name, help, what it reads. The parts count in plain numbers on their own; they are
// read when somebody asks. Names and units as Prometheus wants them (`promtool check metrics` agrees);
// label values are the words of the log. How they become text, and one text of several workers:
// exposition.ts.

import type { Family, Labelled } from './exposition.ts';
import { Histogram } from './histogram.ts';
import packageJson from '../package.json';

type Merge = Exclude<Family['aggregator'], 'sum'>;

function counter(name: string, help: string, read: () => number | Labelled[]): Family {
  return { name, help, type: 'counter', aggregator: 'sum', read };
}

/** `merge`: what several workers make of it together; their sum, if it does not say. */
function gauge(name: string, help: string, read: () => number | Labelled[], merge?: Merge): Family {
  return { name, help, type: 'gauge', aggregator: merge ?? 'sum', read };
}

function histogram(name: string, help: string, of: Histogram): Family {
  return { name, help, type: 'histogram', aggregator: 'sum', read: () => of };
}

/** Structural, so that this file imports no other part. */
export interface Parts {
  readonly listener: {
    /** Of the redirects. */
    readonly status: number;
    readonly outcome: string;
    readonly counters: {
      redirected: number;
      methodNotAllowed: number;
      refused: number;
      failed: number;
    };
  };
  readonly batcher: { readonly counters: { dropped: number; oversize: number; failed: number } };
  readonly journal: JournalState & {
    readonly counters: {
      appended: number;
      sealed: number;
      lostBytes: number;
      recycledSegments: number;
      machineStops: number;
      refusedSegments: number;
    };
    readonly syncs: { readonly seconds: Histogram; readonly givenUp: number };
    readonly bytesMax: number;
    readonly freeBytes: number;
  };
  readonly delivery?: DeliveryParts | undefined;
  readonly eventLoop?: { readonly seconds: Histogram } | undefined;
}

interface DeliveryParts {
  readonly counters: {
    acknowledged: number;
    acknowledgedBatches: number;
    alreadyDelivered: number;
    possiblyDuplicated: number;
    oversize: number;
    retries: number;
    refusals: ReadonlyMap<string, number>;
  };
  readonly deviations: { readonly counts: ReadonlyMap<string, ReadonlyMap<string, number>> };
  readonly acknowledgeSeconds: Histogram;
  readonly inFlight: number;
  readonly connections: number;
  readonly trouble: string | undefined;
  /** Journals that were taken over. */
  readonly orphans: readonly JournalState[];
  /** Of theirs, unreadable. */
  readonly lostBytes: number;
}

interface JournalState {
  readonly bytes: number;
  readonly backlogBytes: number;
  readonly oldestTimestamp: number | undefined;
}

/** What one process, serving alone or as a worker, knows. */
export function processMetrics(parts: Parts): Family[] {
  return [
    ...requestMetrics(parts),
    ...recordMetrics(parts),
    ...journalMetrics(parts),
    ...kafkaMetrics(parts.delivery),
    ...runtimeMetrics(parts),
  ];
}

/** What is known of a server as a whole. */
export interface ServerState {
  /** Serving. */
  readonly workers: number;
  /** Started again after they had ended by themselves. */
  readonly restarts: number;
}

export function serverMetrics({ workers, restarts }: ServerState): Family[] {
  return [
    gauge('hoplog_build_info', 'Versions; the value is always 1', () => [
      [{ version: packageJson.version, bun: Bun.version }, 1],
    ]),
    gauge('hoplog_workers', 'Processes that serve', () => workers),
    counter(
      'hoplog_worker_restarts_total',
      'Workers that ended by themselves and were started again',
      () => restarts,
    ),
    gauge(
      'process_start_time_seconds',
      'Start of the server, in seconds since 1970',
      () => performance.timeOrigin / 1000,
    ),
  ];
}

function requestMetrics({ listener }: Parts): Family[] {
  const { status, outcome, counters } = listener;
  return [
    counter('hoplog_http_requests_total', 'Requests answered, by status and why', () => [
      [{ status, outcome }, counters.redirected],
      [{ status: 405, outcome: 'method not allowed' }, counters.methodNotAllowed],
      [{ status: 503, outcome: 'journal full' }, counters.refused],
      [{ status: 500, outcome: 'error' }, counters.failed],
    ]),
  ];
}

function recordMetrics({ batcher, journal, delivery }: Parts): Family[] {
  const lost = batcher.counters;
  const kafka = delivery?.counters;
  return [
    counter(
      'hoplog_records_appended_total',
      'Records appended to the journal',
      () => journal.counters.appended,
    ),
    counter('hoplog_records_dropped_total', 'Records that never were in the journal', () => [
      [{ cause: 'journal full' }, lost.dropped],
      [{ cause: 'oversize' }, lost.oversize],
      [{ cause: 'complete() failed' }, lost.failed],
    ]),
    counter(
      'hoplog_records_oversize_total',
      'Records larger than a batch, which are dropped, or than the broker takes, which are deviations',
      () => lost.oversize + (kafka?.oversize ?? 0),
    ),
    counter(
      'hoplog_records_acknowledged_total',
      'Records that Kafka acknowledged',
      () => kafka?.acknowledged ?? 0,
    ),
    counter(
      'hoplog_records_already_delivered_total',
      'Records found in Kafka when about to be sent again',
      () => kafka?.alreadyDelivered ?? 0,
    ),
    counter(
      'hoplog_records_possibly_duplicated_total',
      'Records sent again although Kafka may have them',
      () => kafka?.possiblyDuplicated ?? 0,
    ),
    counter(
      'hoplog_records_deviated_total',
      'Records not, or perhaps not, in Kafka exactly once as they were received',
      () => deviationsOf(delivery?.deviations.counts ?? new Map()),
    ),
    gauge(
      'hoplog_oldest_unacknowledged_seconds',
      'Age of the oldest record that Kafka has not acknowledged; 0 = none, or local mode',
      () => (delivery ? ageSeconds([journal, ...delivery.orphans]) : 0),
      'max',
    ),
  ];
}

function deviationsOf(counts: DeliveryParts['deviations']['counts']): Labelled[] {
  return [...counts].flatMap(([deviation, causes]) =>
    [...causes].map(([cause, count]): Labelled => [{ deviation, cause }, count]),
  );
}

function ageSeconds(journals: readonly JournalState[]): number {
  const now = Date.now();
  const ages = journals.map(({ oldestTimestamp }) => now - (oldestTimestamp ?? now));
  return Math.max(0, ...ages) / 1000;
}

function journalMetrics({ journal, delivery }: Parts): Family[] {
  const { counters, syncs } = journal;
  const withOrphans = (of: (journal: JournalState) => number): number =>
    [journal, ...(delivery?.orphans ?? [])].reduce((sum, one) => sum + of(one), 0);
  return [
    counter('hoplog_batches_sealed_total', 'Batches sealed', () => counters.sealed),
    gauge('hoplog_journal_bytes', 'Journals on disk', () => withOrphans(({ bytes }) => bytes)),
    gauge('hoplog_journal_backlog_bytes', 'Of them, what Kafka has not acknowledged', () =>
      withOrphans(({ backlogBytes }) => backlogBytes),
    ),
    gauge(
      'hoplog_journal_free_bytes',
      'Room for records until JOURNAL_FULL applies; the disk may be full before',
      () => journal.freeBytes,
    ),
    gauge('hoplog_journal_max_bytes', 'JOURNAL_BYTES', () => journal.bytesMax),
    gauge(
      'hoplog_journal_free_ratio',
      'Free share of the journal; of several workers, of the one that has the least',
      () => journal.freeBytes / journal.bytesMax,
      'min',
    ),
    histogram('hoplog_journal_sync_seconds', 'Rounds of fdatasync', syncs.seconds),
    counter(
      'hoplog_journal_unsynced_sends_total',
      'Batches sent before their sequence numbers were on the disk: it took too long',
      () => syncs.givenUp,
    ),
    counter(
      'hoplog_journal_unreadable_bytes_total',
      'Bytes of batches found damaged after a crash',
      () => counters.lostBytes + (delivery?.lostBytes ?? 0),
    ),
    counter(
      'hoplog_journal_machine_stops_total',
      'Starts after the machine went down under hoplog: the log names what may be lost',
      () => counters.machineStops,
    ),
    counter(
      'hoplog_journal_recycled_segments_total',
      'Oldest segments overwritten in local mode',
      () => counters.recycledSegments,
    ),
    counter(
      'hoplog_journal_refused_segments_total',
      'Segments given up because fdatasync failed',
      () => counters.refusedSegments,
    ),
  ];
}

function kafkaMetrics(delivery: DeliveryParts | undefined): Family[] {
  const counters = delivery?.counters;
  return [
    gauge(
      'hoplog_ready',
      '1 = Kafka takes records, or local mode',
      () => (delivery?.trouble === undefined ? 1 : 0),
      'min',
    ),
    histogram(
      'hoplog_acknowledge_seconds',
      'Age of a batch, from its first record, when Kafka acknowledged it',
      delivery?.acknowledgeSeconds ?? new Histogram([]),
    ),
    counter(
      'hoplog_batches_acknowledged_total',
      'Batches that Kafka acknowledged',
      () => counters?.acknowledgedBatches ?? 0,
    ),
    gauge('hoplog_batches_in_flight', 'Batches sent and unanswered', () => delivery?.inFlight ?? 0),
    counter('hoplog_kafka_retries_total', 'Batches sent again', () => counters?.retries ?? 0),
    counter(
      'hoplog_kafka_errors_total',
      'Batches that a broker refused or did not answer for, by Kafka error',
      () => [...(counters?.refusals ?? [])].map(([error, count]): Labelled => [{ error }, count]),
    ),
    gauge('hoplog_kafka_connections', 'Brokers connected', () => delivery?.connections ?? 0),
  ];
}

function runtimeMetrics({ eventLoop }: Parts): Family[] {
  return [
    ...(eventLoop
      ? [
          histogram(
            'hoplog_event_loop_delay_seconds',
            'How late a timer was, ten times a second: what held the event loop',
            eventLoop.seconds,
          ),
        ]
      : []),
    counter('process_cpu_seconds_total', 'User and system CPU time', () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    }),
    gauge('process_resident_memory_bytes', 'Resident memory', () => process.memoryUsage.rss()),
  ];
}
