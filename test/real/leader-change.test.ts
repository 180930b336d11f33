// Three Kafka nodes, and the one that leads a partition goes away under load: by crash, cleanly, or
// as a frozen process that learns only later that it leads no more. Everything arrives exactly once.
// At full length the leader is frozen past hoplog's request time-out of 30 s, and a follower is missing,
// over which Kafka itself takes 15 s and more.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { behindProxy } from '../support/behind-proxy.ts';
import { describeKafka } from '../support/describe-kafka.ts';
import { extent, slowTest } from '../support/extent.ts';
import { CODE } from '../support/fake-partition.ts';
import type { FaultProxy, Where } from '../support/fault-proxy.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import type { KafkaNode } from '../support/kafka-node.ts';
import type { Mischief } from '../support/proxy-passage.ts';
import { underLoad } from '../support/scenario.ts';
import type { Random } from '../support/seed.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
/** Past the broker session of 3 s: the others elect a new leader meanwhile. */
const FREEZE_MS = extent(5_000, 40_000);
const TEST_MAX_MS = 240_000 + 2 * FREEZE_MS;
const RANDOM_MS = extent(4_000, 120_000);
const KILLS = extent(0, 4);
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

  test(
    `faults 7 to 17 at random for ${RANDOM_MS} ms, ${KILLS} leaders SIGKILLed meanwhile: everything arrives once`,
    () =>
      behindProxy(kafka, 'at-random', async ({ proxy, random, load, ...hoplog }) => {
        const startMs = load.lastedMs;
        for (const [mischief, where] of AT_RANDOM) proxy.inflict(mischief, where);
        for (let kills = 0; load.lastedMs < startMs + RANDOM_MS;) {
          await upset(proxy, random);
          await load.lasts(load.lastedMs + random.integer(50, 800));
          const killAtMs = startMs + ((kills + 1) * RANDOM_MS) / (KILLS + 1);
          if (kills === KILLS || load.lastedMs < killAtMs) continue;
          const leader = await leaderOf('at-random');
          if (!leader) continue;
          kills++;
          await leader.kill();
          await leader.start();
        }
        expect(proxy.hits).toBeGreaterThan(RANDOM_MS / 200);
        await proxy.heal();
        await hoplog.delivers();
        await allInSync('at-random');
      }),
    TEST_MAX_MS + RANDOM_MS + KILLS * 30_000,
  );
});

/** The more of them at a time, the less gets through between two of them. */
const AT_RANDOM: readonly [Mischief, Where][] = [
  [{ kind: 'cut' }, { api: 'produce', chance: 0.02 }],
  [{ kind: 'half a request' }, { api: 'produce', chance: 0.02 }],
  [{ kind: 'half an answer' }, { api: 'produce', chance: 0.02 }],
  [{ kind: 'answer lost' }, { api: 'produce', chance: 0.02 }],
  [
    { kind: 'refused', code: CODE.NOT_LEADER_OR_FOLLOWER },
    { api: 'produce', chance: 0.02 },
  ],
  [
    { kind: 'answered', code: CODE.REQUEST_TIMED_OUT },
    { api: 'produce', chance: 0.02 },
  ],
  [
    { kind: 'answered', code: CODE.NOT_ENOUGH_REPLICAS_AFTER_APPEND },
    { api: 'produce', chance: 0.02 },
  ],
  [
    { kind: 'throttled', throttleMs: 100 },
    { api: 'produce', chance: 0.02 },
  ],
  [
    { kind: 'late', ms: 200 },
    { api: 'produce', chance: 0.02 },
  ],
  [{ kind: 'cut' }, { api: 'metadata', chance: 0.1 }],
  [{ kind: 'half an answer' }, { api: 'metadata', chance: 0.1 }],
  [{ kind: 'answer lost' }, { api: 'describeProducers', chance: 0.2 }],
  [{ kind: 'answer lost' }, { api: 'initProducerId', chance: 0.2 }],
  [{ kind: 'cut' }, { api: 'apiVersions', chance: 0.1 }],
];

/** Something that happens to all that is under way, or to the link until the next time. */
async function upset(proxy: FaultProxy, random: Random): Promise<void> {
  await proxy.faults.findLast(({ what }) => what === 'slow link')?.heal();
  switch (random.integer(0, 5)) {
    case 0:
      return void proxy.cut();
    case 1:
      return void proxy.cut(random.integer(1, 3));
    case 2:
      return void proxy.swapHosts();
    case 3:
      return void proxy.slow({ delayMs: 50, jitterMs: 200 });
  }
}
