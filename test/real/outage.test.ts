// Kafka, one node, fails in every way one node can while hoplog is under load: redirects go on, /ready
// says why nothing arrives, and once Kafka is back everything arrives exactly once.
// At full length the freeze goes past hoplog's request time-out of 30 s, there are five restarts, and a
// topic is missing for five minutes.
// Numbers: faults of the project's list of faults.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { describeKafka } from '../support/describe-kafka.ts';
import { extent } from '../support/extent.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { underLoad } from '../support/scenario.ts';
import type { Server } from '../support/server.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const FREEZE_MS = extent(3_000, 40_000);
const BOUNCES = extent(1, 5);
const TOPIC_MISSING_MS = extent(500, 300_000);
const TEST_MAX_MS = 240_000 + 2 * FREEZE_MS + BOUNCES * 20_000;

describeKafka('hoplog while its one Kafka node fails', () => {
  let kafka: KafkaCluster;
  const node = () => kafka.nodes[0]!;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  /** Freezes the node until five batches for each of three partitions are unanswered. */
  async function fillTheWay(server: Server): Promise<void> {
    node().freeze();
    await waitFor(async () => (await server.metric('hoplog_batches_in_flight')) === 15, {
      timeoutMs: 10_000,
      what: '15 batches on their way',
    });
  }

  test(
    'fault 1: down at the start: redirects at once, and all delivered when it is up',
    async () => {
      await kafka.createTopic({ name: 'down-at-start', partitions: 3 });
      await node().kill();
      await underLoad(kafka, { topic: 'down-at-start' }, async ({ server, ...hoplog }) => {
        expect(await hoplog.readyBecomes(503)).not.toBeEmpty();
        await hoplog.goesOn(2_000);
        expect(await server.metric('hoplog_records_acknowledged_total')).toBe(0);
        expect((await server.ready()).reason).toContain('ECONNREFUSED');
        await node().start();
        await hoplog.readyBecomes(200);
        // A line when the trouble was found and one when it was over, however many tries between;
        // a reason that changes is worth another one every ten seconds.
        const said = server.log.slice(1).map(({ msg }) => msg);
        expect(said[0]).toBe('Kafka takes no records: the journal keeps them and retries');
        expect(said.at(-1)).toBe('Kafka takes records');
        expect(said.length).toBeLessThanOrEqual(4);
        await hoplog.delivers();
      });
    },
    TEST_MAX_MS,
  );

  test(
    `faults 2, 3 and 5: SIGKILLed and started again under load (${BOUNCES})`,
    async () => {
      await kafka.createTopic({ name: 'killed', partitions: 3 });
      await underLoad(kafka, { topic: 'killed' }, async ({ server, ...hoplog }) => {
        for (let bounce = 0; bounce < BOUNCES; bounce++) {
          await hoplog.delivers();
          // The first and every other time with as much on its way as there can be: nobody can tell whether it
          // arrived before the crash.
          if (bounce % 2 === 0) await fillTheWay(server);
          await node().kill();
          expect(await hoplog.readyBecomes(503)).not.toBeEmpty();
          await hoplog.goesOn();
          expect(await server.metric('hoplog_oldest_unacknowledged_seconds')).toBeGreaterThan(0);
          await node().start();
          await hoplog.readyBecomes(200);
        }
        await hoplog.delivers();
      });
    },
    TEST_MAX_MS,
  );

  test(
    'fault 4: stopped cleanly and started again under load',
    async () => {
      await kafka.createTopic({ name: 'stopped', partitions: 3 });
      await underLoad(kafka, { topic: 'stopped' }, async (hoplog) => {
        await hoplog.delivers();
        await node().stop();
        await hoplog.readyBecomes(503);
        await hoplog.goesOn();
        await node().start();
        await hoplog.delivers();
      });
    },
    TEST_MAX_MS,
  );

  test(
    `fault 6: frozen for ${FREEZE_MS} ms under load`,
    async () => {
      await kafka.createTopic({ name: 'frozen', partitions: 3 });
      await underLoad(kafka, { topic: 'frozen' }, async ({ server, load, ...hoplog }) => {
        await hoplog.delivers();
        await fillTheWay(server);
        hoplog.noteHit();
        const thawAtMs = load.lastedMs + FREEZE_MS;
        await hoplog.goesOn();
        await waitFor(() => load.lastedMs >= thawAtMs, {
          timeoutMs: 2 * FREEZE_MS,
          what: 'the end of the freeze',
        });
        node().thaw();
        await hoplog.delivers();
      });
    },
    TEST_MAX_MS,
  );

  test(
    `fault 24: no such topic for ${TOPIC_MISSING_MS} ms: not ready and nothing dropped until it is made`,
    async () => {
      const topic = { name: 'made-later', partitions: 3 };
      const load = { perSecond: 1_000 };
      await underLoad(kafka, { topic: topic.name, load }, async (hoplog) => {
        await waitFor(async () => (await hoplog.readyBecomes(503)).includes('made-later'), {
          timeoutMs: 10_000,
          what: '/ready to name the topic',
        });
        await hoplog.load.lasts(hoplog.load.lastedMs + TOPIC_MISSING_MS);
        await kafka.createTopic(topic);
        await hoplog.readyBecomes(200);
        await hoplog.delivers();
      });
    },
    TEST_MAX_MS + TOPIC_MISSING_MS,
  );
});
