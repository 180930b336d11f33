// What /metrics says: a text that Prometheus can read, line by line; every counter of every part under
// its own name; values as they are at the moment of the question; and nothing kept twice.

import { describe, expect, test } from 'bun:test';
import { Metrics, metricSource, type Parts } from '../../src/metrics.ts';
import { type Metric, readExposition } from '../support/exposition.ts';

/** Parts whose numbers are all different, so that none can stand for another. */
function parts() {
  const refusals = new Map<string, number>();
  return {
    listener: { counters: { redirected: 101, methodNotAllowed: 102, refused: 103 } },
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
      syncs: { rounds: 303, seconds: 304.5, givenUp: 310 },
      bytes: 307,
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
  return readExposition(await new Metrics(metricSource(of)).exposition());
}

function valueOf(metrics: ReadonlyMap<string, Metric>, series: string): number | undefined {
  return metrics.get(series.replace(/\{.*/, ''))?.samples.get(series);
}

describe('exposition', () => {
  test('every line is one that Prometheus reads; counters end in _total', async () => {
    const of = parts();
    of.delivery.counters.refusals.set('NOT_LEADER_OR_FOLLOWER', 7);
    const metrics = await expose(of);
    expect(metrics.size).toBeGreaterThan(20);
    for (const name of metrics.keys()) expect(name).toStartWith('hoplog_');
  });

  test('each counter and gauge has the number of its part', async () => {
    const metrics = await expose(parts());
    const values = Object.fromEntries(
      [...metrics].flatMap(([, { type, samples }]) => (type === 'histogram' ? [] : [...samples])),
    );
    expect(values).toEqual({
      hoplog_redirects_total: 101,
      hoplog_method_not_allowed_total: 102,
      hoplog_refused_total: 103,
      hoplog_dropped_total: 201,
      hoplog_oversize_total: 202 + 405,
      hoplog_failed_total: 203,
      hoplog_appended_total: 301,
      hoplog_sealed_batches_total: 302,
      hoplog_journal_syncs_total: 303,
      hoplog_journal_sync_seconds_total: 304.5,
      hoplog_journal_unsynced_sends_total: 310,
      hoplog_journal_machine_stops_total: 311,
      hoplog_journal_unreadable_bytes_total: 305 + 4000,
      hoplog_journal_recycled_segments_total: 306,
      hoplog_journal_refused_segments_total: 307,
      hoplog_acknowledged_total: 401,
      hoplog_acknowledged_batches_total: 402,
      hoplog_already_delivered_total: 403,
      hoplog_possibly_duplicated_total: 404,
      hoplog_kafka_retries_total: 406,
      hoplog_journal_bytes: 307 + 1000,
      hoplog_backlog_bytes: 308 + 2000,
      hoplog_oldest_unacknowledged_seconds: 0,
      hoplog_batches_in_flight: 407,
      hoplog_ready: 1,
    });
  });

  test('is asked anew each time and adds nothing up by itself', async () => {
    const of = parts();
    const metrics = new Metrics(metricSource(of));
    await metrics.exposition();
    of.listener.counters.redirected++;
    of.journal.backlogBytes = 5;
    const again = readExposition(await metrics.exposition());
    expect(valueOf(again, 'hoplog_redirects_total')).toBe(102);
    expect(valueOf(again, 'hoplog_backlog_bytes')).toBe(5 + 2000);
  });

  test('questions at the same time get whole answers', async () => {
    const metrics = new Metrics(metricSource(parts()));
    const texts = await Promise.all([1, 2, 3].map(() => metrics.exposition()));
    expect(new Set(texts).size).toBe(1);
    readExposition(texts[0]!);
  });

  test('two servers in one process do not mix', async () => {
    const [a, b] = [parts(), parts()];
    b.listener.counters.redirected = 9;
    const [ofA, ofB] = await Promise.all([expose(a), expose(b)]);
    expect(valueOf(ofA, 'hoplog_redirects_total')).toBe(101);
    expect(valueOf(ofB, 'hoplog_redirects_total')).toBe(9);
  });
});

describe('Kafka', () => {
  test('in local mode everything of it is 0, and ready is 1', async () => {
    const { delivery: _, ...local } = parts();
    const metrics = await expose(local);
    expect(valueOf(metrics, 'hoplog_acknowledged_total')).toBe(0);
    expect(valueOf(metrics, 'hoplog_oversize_total')).toBe(202);
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
    const { samples } = (await expose(of)).get('hoplog_kafka_refusals_total')!;
    expect(new Set(samples.values())).toEqual(new Set([3, 4]));
    expect(samples.get('hoplog_kafka_refusals_total{error="NOT_LEADER_OR_FOLLOWER"}')).toBe(3);
  });

  test('deviations are counted by what became of the records and by cause', async () => {
    const of = parts();
    of.delivery.deviations.counts.set('lost', new Map([['too large for the broker', 2]]));
    of.delivery.deviations.counts.set('may be twice', new Map([['sent with acks=1', 5]]));
    const { samples } = (await expose(of)).get('hoplog_deviations_total')!;
    expect(new Set(samples.values())).toEqual(new Set([2, 5]));
    const series = 'hoplog_deviations_total{deviation="may be twice",cause="sent with acks=1"}';
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

describe('acknowledgement ages', () => {
  const NAME = 'hoplog_acknowledge_seconds';

  test('fall into the bucket of their bound, cumulatively', async () => {
    const metrics = new Metrics(metricSource(parts()));
    for (const ms of [10, 11, 999, 1000, 1001, 4_000_000]) metrics.observeAcknowledged(ms);
    const { samples } = readExposition(await metrics.exposition()).get(NAME)!;
    const upTo = (bound: string): number | undefined =>
      samples.get(`${NAME}_bucket{le="${bound}"}`);
    expect(['0.01', '0.05', '0.5', '1', '1.5', '3600', '+Inf'].map(upTo)).toEqual([
      1, 2, 2, 4, 5, 5, 6,
    ]);
    expect(samples.get(`${NAME}_count`)).toBe(6);
    expect(samples.get(`${NAME}_sum`)).toBeCloseTo(4003.021, 6);
  });

  test('are a whole histogram before the first one, too', async () => {
    const { samples } = (await expose(parts())).get(NAME)!;
    expect(samples.get(`${NAME}_count`)).toBe(0);
  });
});
