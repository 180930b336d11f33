// Fault 49: the server's wall clock is put back an hour or forward a day while it works, on a real Kafka
// (libfaketime moves it). Timers go on, no age is negative, records keep the time they were received
// with; what Kafka refuses for its date waits until the clock is right and is named when it is redated.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { describeKafka } from '../support/describe-kafka.ts';
import { slowTest } from '../support/extent.ts';
import { FaultProxy, nodesOf } from '../support/fault-proxy.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { namedIn } from '../support/named-ranges.ts';
import { Oracle } from '../support/oracle.ts';
import { underLoad } from '../support/scenario.ts';
import { Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { clockFixed, WallClock } from '../support/wall-clock.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;
const HOUR_MS = 3_600_000;
/** 16 KiB of clicks. */
const BATCH_RECORDS_MAX = 64;

if (clockFixed !== undefined) process.stderr.write(`SKIPPED "fault 49": ${clockFixed}\n`);
const movable = clockFixed === undefined ? test : test.skip;

describeKafka('hoplog and a clock that is wrong', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  movable(
    'fault 49: put back an hour and forward again, nothing stops and no age is negative',
    async () => {
      const topic = 'back';
      await kafka.createTopic({ name: topic, partitions: 2 });
      using dir = tempDir();
      const clock = new WallClock(dir.path);
      await underLoad(kafka, { topic, options: clock.options }, async (hoplog) => {
        for (const offset of ['-1h', '+0', '-30d', '+0', '+30m', '+0']) {
          await hoplog.delivers(200);
          clock.set(offset);
          await hoplog.goesOn(200);
          await hoplog.delivers(200);
          hoplog.noteHit();
          const metrics = await hoplog.server.metrics();
          for (const [name, value] of metrics) {
            expect(`${name} ${Math.min(0, value)}`).toBe(`${name} 0`);
          }
        }
        expect(await hoplog.server.failures()).toBe(0);
      });
    },
    TEST_MAX_MS,
  );

  movable(
    'fault 49: a day ahead, batches wait and /ready says why; put right, all of them arrive and are named',
    async () => {
      const topic = 'ahead';
      await kafka.createTopic({ name: topic, partitions: 2 });
      using dir = tempDir();
      const clock = new WallClock(dir.path);
      await using server = await Server.start({
        ...clock.options,
        KAFKA_BROKERS: kafka.brokers,
        KAFKA_TOPIC: topic,
        JOURNAL_DIR: `${dir.path}/journal`,
        JOURNAL_BYTES: '64MiB',
        BATCH_BYTES: 16_384,
        FLUSH_INTERVAL_MS: 50,
      });
      const oracle = new Oracle();
      await using load = await Load.start(server.url, oracle, { perSecond: 1_000 });
      await load.lasts(500);
      clock.set('+1d');
      await waitFor(async () => (await server.ready()).reason?.includes('INVALID_TIMESTAMP'), {
        timeoutMs: 20_000,
        what: '/ready to name the clock',
      });
      const answered = oracle.answered();
      await waitFor(() => oracle.answered() > answered + 500, {
        timeoutMs: 20_000,
        what: 'redirects to go on',
      });
      clock.set('+0');
      const rightAt = Date.now();
      await load.lasts(load.lastedMs + 500);
      await load.stop();
      await server.delivered();
      const records = await kafka.readTopic(topic);
      const { delivered, altered, ...faults } = oracle.judge(records, Infinity);
      expect(faults).toMatchObject({
        missing: [],
        twice: [],
        invented: [],
        disordered: [],
        gaps: [],
      });
      expect(delivered).toHaveLength(oracle.answered());
      // The record says when it was received by the clock there was, Kafka when it could take it.
      const redated = delivered.filter(({ record }) => timeIn(record.value) !== record.timestamp);
      expect(redated.length).toBeGreaterThan(500);
      expect(altered).toHaveLength(redated.length);
      for (const { record } of redated) {
        expect(timeIn(record.value) - record.timestamp).toBeGreaterThan(23 * HOUR_MS);
        expect(record.timestamp).toBeWithin(rightAt - 1000, Date.now() + 1);
      }
      const named = new Set(namedIn(server.log.filter(({ msg }) => msg === 'records redated')));
      const ids = new Set(redated.map(({ bootId, sequence }) => `${bootId}-${sequence}`));
      expect(ids.difference(named).size).toBe(0);
      // Batches are named whole; the first and the last one began or ended with the clock right.
      expect(named.size - ids.size).toBeLessThan(2 * BATCH_RECORDS_MAX);
      expect((await server.ready()).status).toBe(200);
      expect(await server.metric('hoplog_records_possibly_duplicated_total')).toBe(0);
    },
    TEST_MAX_MS,
  );

  if (clockFixed === undefined) {
    slowTest(
      'fault 49: a broker that falls silent is given up in time, although the clock was put back',
      async () => {
        const topic = 'silent';
        await kafka.createTopic({ name: topic, partitions: 2 });
        using dir = tempDir();
        const clock = new WallClock(dir.path);
        await using proxy = await FaultProxy.start(nodesOf(kafka));
        const { options } = clock;
        await underLoad(kafka, { topic, proxy, options }, async (hoplog) => {
          await hoplog.delivers(500);
          const hole = proxy.blackHole();
          clock.set('-1h');
          await waitFor(async () => (await hoplog.server.ready()).reason?.includes('timed out'), {
            timeoutMs: 45_000,
            what: 'the request to time out',
          });
          await hole.heal();
          await hoplog.delivers(500);
        });
      },
      TEST_MAX_MS,
    );
  }
});

function timeIn(value: Buffer): number {
  return Date.parse((JSON.parse(value.toString()) as { time: string }).time);
}
