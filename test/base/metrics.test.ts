// Every number of every part is under its own name in /metrics, as it is at the moment of the question;
// ages and readiness are what they say they are. The text: exposition.test.ts.

import { describe, expect, test } from 'bun:test';
import packageJson from '../../package.json';
import { exposition, readMetrics } from '../../src/exposition.ts';
import { Histogram } from '../../src/histogram.ts';
import { type Parts, processMetrics, serverMetrics } from '../../src/metrics.ts';
import { type Metric, readExposition } from '../support/exposition.ts';

/** Parts whose numbers are all different, so that none can stand for another. */
function parts() {
  const refusals = new Map<string, number>();
  return {
    listener: {
      status: 302,
      outcome: 'default',
      counters: { redirected: 101, methodNotAllowed: 102, refused: 103, failed: 104 },
    },
    batcher: { counters: { dropped: 201, oversize: 202, failed: 203 } },
    journal: {
      counters: {
        appended: 301,
        sealed: 302,
        lostBytes: 305,
        recycledSegments: 306,
        machineStops: 311,
        refusedSegments: 307,
      },
      syncs: { seconds: new Histogram([1]), givenUp: 310 },
      bytes: 312,
      bytesMax: 313,
      freeBytes: 314,
      backlogBytes: 308,
      oldestTimestamp: undefined as number | undefined,
    },
    delivery: {
      counters: {
        acknowledged: 401,
        acknowledgedBatches: 402,
        alreadyDelivered: 403,
        possiblyDuplicated: 404,
        oversize: 405,
        retries: 406,
        refusals,
      },
      deviations: { counts: new Map<string, Map<string, number>>() },
      acknowledgeSeconds: new Histogram([0.5, 1]),
      connections: 408,
      inFlight: 407,
      trouble: undefined as string | undefined,
      orphans: [
        { bytes: 1000, backlogBytes: 2000, oldestTimestamp: undefined as number | undefined },
      ],
      lostBytes: 4000,
    },
  } satisfies Parts;
}

async function expose(of: Parts): Promise<Map<string, Metric>> {
  return readExposition(await exposition([readMetrics(processMetrics(of))]));
}

function valueOf(metrics: ReadonlyMap<string, Metric>, series: string): number | undefined {
  return metrics.get(series.replace(/\{.*/, ''))?.samples.get(series);
}

describe('a process', () => {
  test('each counter and gauge has the number of its part', async () => {
    const metrics = await expose(parts());
    const values = Object.fromEntries(
      [...metrics].flatMap(([name, { type, samples }]) =>
        type === 'histogram' || name.startsWith('process_') ? [] : [...samples],
      ),
    );
    expect(values).toEqual({
      'hoplog_http_requests_total{status="302",outcome="default"}': 101,
      'hoplog_http_requests_total{status="405",outcome="method not allowed"}': 102,
      'hoplog_http_requests_total{status="503",outcome="journal full"}': 103,
      'hoplog_http_requests_total{status="500",outcome="error"}': 104,
      'hoplog_records_dropped_total{cause="journal full"}': 201,
      'hoplog_records_dropped_total{cause="oversize"}': 202,
      'hoplog_records_dropped_total{cause="complete() failed"}': 203,
      hoplog_records_oversize_total: 202 + 405,
      hoplog_records_appended_total: 301,
      hoplog_records_acknowledged_total: 401,
      hoplog_records_already_delivered_total: 403,
      hoplog_records_possibly_duplicated_total: 404,
      hoplog_batches_sealed_total: 302,
      hoplog_batches_acknowledged_total: 402,
      hoplog_batches_in_flight: 407,
      hoplog_journal_unsynced_sends_total: 310,
      hoplog_journal_machine_stops_total: 311,
      hoplog_journal_unreadable_bytes_total: 305 + 4000,
      hoplog_journal_recycled_segments_total: 306,
      hoplog_journal_refused_segments_total: 307,
      hoplog_journal_bytes: 312 + 1000,
      hoplog_journal_max_bytes: 313,
      hoplog_journal_free_bytes: 314,
      hoplog_journal_free_ratio: 314 / 313,
      hoplog_journal_backlog_bytes: 308 + 2000,
      hoplog_oldest_unacknowledged_seconds: 0,
      hoplog_kafka_retries_total: 406,
      hoplog_kafka_connections: 408,
      hoplog_ready: 1,
    });
  });

  test('each histogram is that of its part', async () => {
    const of = { ...parts(), eventLoop: { seconds: new Histogram([1]) } };
    of.journal.syncs.seconds.observe(11);
    of.delivery.acknowledgeSeconds.observe(12);
    of.eventLoop.seconds.observe(13);
    const metrics = await expose(of);
    const sum = (name: string) => metrics.get(name)?.samples.get(`${name}_sum`);
    expect(sum('hoplog_journal_sync_seconds')).toBe(11);
    expect(sum('hoplog_acknowledge_seconds')).toBe(12);
    expect(sum('hoplog_event_loop_delay_seconds')).toBe(13);
  });

  test('says how much CPU and memory it has taken', async () => {
    const metrics = await expose(parts());
    expect(valueOf(metrics, 'process_cpu_seconds_total')).toBeWithin(0.001, 3600);
    expect(valueOf(metrics, 'process_resident_memory_bytes')).toBeWithin(2 ** 20, 2 ** 34);
  });

  test('is asked anew each time and adds nothing up by itself', async () => {
    const of = parts();
    const families = processMetrics(of);
    readMetrics(families);
    of.delivery.counters.acknowledged++;
    of.journal.backlogBytes = 5;
    const again = readExposition(await exposition([readMetrics(families)]));
    expect(valueOf(again, 'hoplog_records_acknowledged_total')).toBe(402);
    expect(valueOf(again, 'hoplog_journal_backlog_bytes')).toBe(5 + 2000);
  });
});

describe('Kafka', () => {
  test('in local mode everything of it is 0, and ready is 1', async () => {
    const { delivery: _, ...local } = parts();
    local.journal.oldestTimestamp = Date.now() - 60_000;
    const metrics = await expose(local);
    expect(valueOf(metrics, 'hoplog_records_acknowledged_total')).toBe(0);
    expect(valueOf(metrics, 'hoplog_oldest_unacknowledged_seconds')).toBe(0);
    expect(valueOf(metrics, 'hoplog_records_oversize_total')).toBe(202);
    expect(valueOf(metrics, 'hoplog_batches_in_flight')).toBe(0);
    expect(valueOf(metrics, 'hoplog_ready')).toBe(1);
  });

  test('trouble is ready = 0', async () => {
    const of = parts();
    of.delivery.trouble = 'NOT_ENOUGH_REPLICAS';
    expect(valueOf(await expose(of), 'hoplog_ready')).toBe(0);
  });

  test('refusals are counted by Kafka’s name, whatever characters a message has', async () => {
    const of = parts();
    of.delivery.counters.refusals.set('NOT_LEADER_OR_FOLLOWER', 3);
    of.delivery.counters.refusals.set('a "quoted" \\ two\nlined reason', 4);
    const { samples } = (await expose(of)).get('hoplog_kafka_errors_total')!;
    expect(new Set(samples.values())).toEqual(new Set([3, 4]));
    expect(samples.get('hoplog_kafka_errors_total{error="NOT_LEADER_OR_FOLLOWER"}')).toBe(3);
  });

  test('deviations are counted by what became of the records and by cause', async () => {
    const of = parts();
    of.delivery.deviations.counts.set('lost', new Map([['too large for the broker', 2]]));
    of.delivery.deviations.counts.set('may be twice', new Map([['sent with acks=1', 5]]));
    const { samples } = (await expose(of)).get('hoplog_records_deviated_total')!;
    expect(new Set(samples.values())).toEqual(new Set([2, 5]));
    const series =
      'hoplog_records_deviated_total{deviation="may be twice",cause="sent with acks=1"}';
    expect(samples.get(series)).toBe(5);
  });

  test('the age of the oldest unacknowledged record is in seconds, and never below 0', async () => {
    const of = parts();
    of.journal.oldestTimestamp = Date.now() - 5000;
    const series = 'hoplog_oldest_unacknowledged_seconds';
    expect(valueOf(await expose(of), series)).toBeWithin(5, 10);
    of.journal.oldestTimestamp = Date.now() + 60_000; // the clock was put back
    expect(valueOf(await expose(of), series)).toBe(0);
    of.delivery.orphans[0]!.oldestTimestamp = Date.now() - 20_000;
    expect(valueOf(await expose(of), series)).toBeWithin(20, 25);
  });
});

describe('a server', () => {
  test('says its versions, when it began, and how many serve', async () => {
    const families = serverMetrics({ workers: 3, restarts: 2 });
    const metrics = readExposition(await exposition([readMetrics(families)]));
    expect(valueOf(metrics, 'hoplog_workers')).toBe(3);
    expect(valueOf(metrics, 'hoplog_worker_restarts_total')).toBe(2);
    const build = `hoplog_build_info{version="${packageJson.version}",bun="${Bun.version}"}`;
    expect(valueOf(metrics, build)).toBe(1);
    const age = Date.now() / 1000 - valueOf(metrics, 'process_start_time_seconds')!;
    expect(age).toBeWithin(0, 3600);
  });
});
