// Three Kafka nodes, and the one that leads a partition goes away under load: by crash, cleanly, or
// as a frozen process that learns only later that it leads no more. Everything arrives exactly once.
// At full length the leader is frozen past hoplog's request time-out of 30 s, and a follower is missing,
// over which Kafka itself takes 15 s and more.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { describeKafka } from '../support/describe-kafka.ts';
import { extent, slowTest } from '../support/extent.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import type { KafkaNode } from '../support/kafka-node.ts';
import { underLoad } from '../support/scenario.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 90_000;
/** Past the broker session of 3 s: the others elect a new leader meanwhile. */
const FREEZE_MS = extent(5_000, 40_000);
const TEST_MAX_MS = 90_000 + 2 * FREEZE_MS;
const LEADER_MAX_MS = 30_000;
/** Each batch is written three times, by Kafkas that share this machine's cores with all else. */
const load = { perSecond: 1_500 };

describeKafka('hoplog on three Kafka nodes', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 3 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  async function leaderOf(topic: string): Promise<KafkaNode | undefined> {
    const [partition] = await kafka.describeTopic(topic);
    return kafka.nodes.find(({ id }) => id === partition?.leader);
  }

  /** Waits until partition 0 is led by another node than `old`. */
  async function newLeader(topic: string, old: KafkaNode): Promise<void> {
    const moved = async () => {
      const leader = await leaderOf(topic);
      return leader !== undefined && leader.id !== old.id;
    };
    await waitFor(moved, { timeoutMs: LEADER_MAX_MS, what: 'a new leader' });
  }

  async function allInSync(topic: string): Promise<void> {
    const whole = async () => {
      const partitions = await kafka.describeTopic(topic);
      return partitions.every(({ inSyncReplicas }) => inSyncReplicas.length === 3);
    };
    await waitFor(whole, { timeoutMs: LEADER_MAX_MS, what: 'all replicas to be in sync' });
  }

  test(
    'faults 3 and 7: the leader is SIGKILLed under load, another takes over, and it comes back',
    async () => {
      const topic = 'killed';
      await kafka.createTopic({ name: topic, partitions: 3 });
      await underLoad(kafka, { topic, load }, async (hoplog) => {
        await hoplog.delivers();
        const leader = (await leaderOf(topic))!;
        await leader.kill();
        await newLeader(topic, leader);
        await hoplog.delivers(1_000);
        await leader.start();
        await allInSync(topic);
        await hoplog.delivers();
      });
    },
    TEST_MAX_MS,
  );

  test(
    'faults 4 and 7: the leader stops cleanly under load, its leadership moves first',
    async () => {
      const topic = 'stopped';
      await kafka.createTopic({ name: topic, partitions: 3 });
      await underLoad(kafka, { topic, load }, async (hoplog) => {
        await hoplog.delivers();
        const leader = (await leaderOf(topic))!;
        await leader.stop();
        await hoplog.delivers(1_000);
        await leader.start();
        await allInSync(topic);
        await hoplog.delivers();
      });
    },
    TEST_MAX_MS,
  );

  test(
    `faults 6 and 7: the leader freezes for ${FREEZE_MS} ms and wakes up when another leads`,
    async () => {
      const topic = 'frozen';
      await kafka.createTopic({ name: topic, partitions: 3 });
      await underLoad(kafka, { topic, load }, async (hoplog) => {
        await hoplog.delivers();
        const leader = (await leaderOf(topic))!;
        leader.freeze();
        const thawAtMs = hoplog.load.lastedMs + FREEZE_MS;
        await newLeader(topic, leader);
        await waitFor(() => hoplog.load.lastedMs >= thawAtMs, {
          timeoutMs: 2 * FREEZE_MS,
          what: 'the end of the freeze',
        });
        leader.thaw();
        await hoplog.delivers(1_000);
        await allInSync(topic);
        expect((await hoplog.server.ready()).status).toBe(200);
      });
    },
    TEST_MAX_MS,
  );

  slowTest(
    'fault 16: too few replicas in sync: held and not ready, and once there are enough all is there once',
    async () => {
      const topic = 'replicas';
      await kafka.createTopic({ name: topic, partitions: 1, replicationFactor: 2 });
      await underLoad(kafka, { topic, load }, async (hoplog) => {
        await hoplog.delivers();
        const leader = (await leaderOf(topic))!;
        const [partition] = await kafka.describeTopic(topic);
        const follower = kafka.nodes.find(
          ({ id }) => id !== leader.id && partition!.replicas.includes(id),
        );
        // What is on its way is appended by the leader, and never acknowledged.
        await follower!.kill();
        expect(await hoplog.readyBecomes(503)).toMatch(/NOT_ENOUGH_REPLICAS|REQUEST_TIMED_OUT/);
        await hoplog.goesOn(2_000);
        await follower!.start();
        await hoplog.readyBecomes(200);
        await hoplog.delivers();
      });
    },
    TEST_MAX_MS,
  );
});
