// The journal is full and Kafka is away: JOURNAL_FULL=drop goes on redirecting and can name each
// record it did not keep; JOURNAL_FULL=refuse answers 503 and so keeps all it answered 301. Both come
// back by themselves, and can fill up again.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { describeKafka } from '../support/describe-kafka.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { type Delivered, NO_FAULTS, Oracle } from '../support/oracle.ts';
import { Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;
const REACTION_MAX_MS = 20_000;
/** A journal that a few thousand clicks fill: seven segments of 136 KiB. */
const SMALL = { JOURNAL_BYTES: '1MiB', BATCH_BYTES: 65_536, FLUSH_INTERVAL_MS: 50 };
interface LostRange {
  readonly cause: string;
  readonly bootId: string;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly count: number;
}

describeKafka('hoplog with a full journal', () => {
  let kafka: KafkaCluster;
  const node = () => kafka.nodes[0]!;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  /** Takes Kafka away under load until `counter` has grown by 1000, and brings it back. */
  async function outage(server: Server, oracle: Oracle, counter: string): Promise<void> {
    await using load = await Load.start(server.url, oracle, { perSecond: 4_000 });
    await node().kill();
    const before = await server.metric(counter);
    await waitFor(async () => (await server.metric(counter)) >= before + 1_000, {
      timeoutMs: REACTION_MAX_MS,
      what: `1000 more in ${counter}`,
    });
    expect((await server.ready()).status).toBe(503);
    await node().start();
    const acknowledged = await server.metric('hoplog_records_acknowledged_total');
    await waitFor(
      async () => (await server.metric('hoplog_records_acknowledged_total')) > acknowledged + 5_000,
      { timeoutMs: REACTION_MAX_MS, what: 'new records to be delivered' },
    );
    await load.stop();
    await server.delivered();
    expect((await server.ready()).status).toBe(200);
  }

  async function start(topic: string, full: 'drop' | 'refuse', dir: string): Promise<Server> {
    await kafka.createTopic({ name: topic, partitions: 2 });
    const target = { KAFKA_BROKERS: kafka.brokers, KAFKA_TOPIC: topic, JOURNAL_FULL: full };
    return await Server.start({ ...SMALL, ...target, JOURNAL_DIR: dir });
  }

  test(
    'JOURNAL_FULL=drop: all are redirected, and the log names exactly the records that are missing',
    async () => {
      using dir = tempDir();
      await using server = await start('drop', 'drop', dir.path);
      const oracle = new Oracle();
      // Twice: a journal that was full must be able to fill again.
      await outage(server, oracle, 'hoplog_records_dropped_total{cause="journal full"}');
      await outage(server, oracle, 'hoplog_records_dropped_total{cause="journal full"}');
      const metrics = await server.metrics();
      expect(await server.stop()).toBe(0);

      expect(oracle.notRedirected).toEqual([]);
      const {
        delivered,
        missing: _,
        gaps: __,
        ...faults
      } = oracle.judge(await kafka.readTopic('drop'));
      expect(faults).toMatchObject({ twice: [], invented: [], altered: [], disordered: [] });
      const dropped = metrics.get('hoplog_records_dropped_total{cause="journal full"}')!;
      expect(dropped).toBe(oracle.issued - delivered.length);
      const ranges = lostRanges(server);
      expect(ranges.reduce((sum, { count }) => sum + count, 0)).toBe(dropped);
      expect(sequencesIn(ranges)).toEqual(missingSequences(delivered, oracle.issued));
      expect(new Set(ranges.map(({ bootId }) => bootId))).toEqual(new Set([delivered[0]!.bootId]));
    },
    TEST_MAX_MS,
  );

  test(
    'JOURNAL_FULL=refuse: 503 while there is no room, and all that was answered 301 is delivered',
    async () => {
      using dir = tempDir();
      await using server = await start('refuse', 'refuse', dir.path);
      const oracle = new Oracle();
      await outage(
        server,
        oracle,
        'hoplog_http_requests_total{status="503",outcome="journal full"}',
      );
      const metrics = await server.metrics();
      expect(await server.stop()).toBe(0);

      const { delivered, ...faults } = oracle.judge(await kafka.readTopic('refuse'));
      expect(faults).toEqual(NO_FAULTS);
      expect(delivered).toHaveLength(oracle.answered(301));
      expect(metrics.get('hoplog_http_requests_total{status="503",outcome="journal full"}')).toBe(
        oracle.answered(503),
      );
      expect(oracle.answered(301) + oracle.answered(503)).toBe(oracle.issued);
      expect(metrics.get('hoplog_records_dropped_total{cause="journal full"}')).toBe(0);
      expect(lostRanges(server)).toEqual([]);
    },
    TEST_MAX_MS,
  );

  test(
    'fault 50: a server killed with a full journal delivers all of it at the next start',
    async () => {
      using dir = tempDir();
      const oracle = new Oracle();
      let dropped = 0;
      {
        await using server = await start('full-restart', 'drop', dir.path);
        await node().kill();
        await using load = await Load.start(server.url, oracle, { perSecond: 4_000 });
        await waitFor(
          async () =>
            (await server.metric('hoplog_records_dropped_total{cause="journal full"}')) > 100,
          {
            timeoutMs: REACTION_MAX_MS,
            what: 'a full journal',
          },
        );
        await load.stop();
        dropped = await server.metric('hoplog_records_dropped_total{cause="journal full"}');
        await server.kill();
      }
      await node().start();
      const target = { KAFKA_BROKERS: kafka.brokers, KAFKA_TOPIC: 'full-restart' };
      await using server = await Server.start({ ...SMALL, ...target, JOURNAL_DIR: dir.path });
      await server.delivered();
      const { delivered, ...faults } = oracle.judge(await kafka.readTopic('full-restart'));
      expect(delivered).toHaveLength(oracle.issued - dropped);
      expect(faults).toMatchObject({ twice: [], altered: [], disordered: [] });
    },
    TEST_MAX_MS,
  );
});

function lostRanges(server: Server): LostRange[] {
  return server.log
    .filter(({ msg }) => msg === 'records lost')
    .map((line) => {
      expect(line).toMatchObject({ level: 'error', cause: 'journal full' });
      return line as unknown as LostRange;
    });
}

function sequencesIn(ranges: readonly LostRange[]): number[] {
  return ranges.flatMap(({ firstSequence, lastSequence, count }) => {
    expect(count).toBe(lastSequence - firstSequence + 1);
    return Array.from({ length: count }, (_, index) => firstSequence + index);
  });
}

/** Sequences 1 to `captured` that no delivered record has. */
function missingSequences(delivered: readonly Delivered[], captured: number): number[] {
  const present = new Set(delivered.map(({ sequence }) => sequence));
  return Array.from({ length: captured }, (_, index) => index + 1).filter((n) => !present.has(n));
}
