// Three real Kafka nodes behind the fault proxy: answers lost, halved, refused and late, leaders that are
// wrong, moved or missing, a slow link, hosts that change, all under load. Everything arrives exactly once
// and redirects do not notice. Numbers: faults of the project's list of faults; whole nodes that are killed,
// stopped and frozen (1 to 7) are in test/real/outage.test.ts and test/real/leader-change.test.ts.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { behindProxy, type DuringFaults, type Setting } from '../support/behind-proxy.ts';
import { Control } from '../support/control.ts';
import { describeKafka } from '../support/describe-kafka.ts';
import { extent, slowTest } from '../support/extent.ts';
import { CODE } from '../support/fake-partition.ts';
import { FaultProxy, nodesOf } from '../support/fault-proxy.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import type { PartitionState } from '../support/kafka-wire.ts';
import { nameTest, OwnNames } from '../support/own-names.ts';
import type { Metadata } from '../support/proxy-frames.ts';
import type { Mischief } from '../support/proxy-passage.ts';
import { expectGrowingGaps, requestsMax } from '../support/retry-pace.ts';
import { underLoad } from '../support/scenario.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 180_000;
const REACTION_MAX_MS = 30_000;
const IN_FLIGHT_MAX = 5;
const HOST_NAME = 'kafka.hoplog.test';
const DOWN_MS = extent(1_500, 60_000);
/** Past hoplog's request time-out of 30 s. */
const BLACK_HOLE_MS = 40_000;
const LEADERLESS_MS = extent(2_000, 30_000);
/** One batch after the other: the back-offs of ten failures in a row are 9 s and more. */
const NOT_LEADER_TIMES = extent(5, 10);
const MOVES = extent(2, 20);
const REFUSED_MS = extent(1_500, 20_000);
const THROTTLE_MS = extent(1_500, 5_000);
const BACKLOG_BYTES = extent(1_000_000, 10_000_000);

describeKafka('hoplog behind a proxy that makes faults', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 3 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  const behind = (topic: string, during: DuringFaults, setting?: Setting): Promise<void> =>
    behindProxy(kafka, topic, during, setting);

  /** What happens to partition 0 under load, while the others go on. */
  const SPOILED: readonly { fault: string; topic: string; mischief: Mischief; times: number }[] = [
    {
      fault: `8: NOT_LEADER ${NOT_LEADER_TIMES} times in a row`,
      topic: 'not-leader',
      mischief: { kind: 'refused', code: CODE.NOT_LEADER_OR_FOLLOWER },
      times: NOT_LEADER_TIMES,
    },
    {
      fault: '11: answers lost after the append',
      topic: 'answer-lost',
      mischief: { kind: 'answer lost' },
      times: 5,
    },
    {
      fault: '12: connections cut after half a request',
      topic: 'half-request',
      mischief: { kind: 'half a request' },
      times: 5,
    },
    {
      fault: '13: connections cut after half an answer',
      topic: 'half-answer',
      mischief: { kind: 'half an answer' },
      times: 5,
    },
    {
      fault: '14: the answers of five batches lost in a row',
      topic: 'five-lost',
      mischief: { kind: 'answer lost', count: 5 },
      times: 5,
    },
  ];

  for (const { fault, topic, mischief, times } of SPOILED) {
    test(
      `fault ${fault}: everything arrives once`,
      () =>
        behind(topic, async ({ proxy, ...hoplog }) => {
          const made = proxy.inflict(mischief, { api: 'produce', partition: 0, times });
          await made.strikes(times);
          await hoplog.delivers();
        }),
      TEST_MAX_MS,
    );
  }

  test(
    'fault 15: six answers lost in a row, one more than the broker remembers batches: everything arrives once',
    () =>
      behind('six-lost', async ({ proxy, server, ...hoplog }) => {
        const where = { api: 'produce', partition: 0 } as const;
        const five = proxy.inflict({ kind: 'answer lost', count: 5 }, { ...where, times: 5 });
        const sixth = proxy.inflict({ kind: 'answer lost' }, { ...where, times: 1 });
        await five.strikes(5);
        await sixth.strikes();
        await hoplog.delivers();
        expect(
          await server.metric('hoplog_records_already_delivered_total'),
        ).toBeGreaterThanOrEqual(6);
      }),
    TEST_MAX_MS,
  );

  slowTest(
    'fault 15: the answers of five batches are lost with the broker that remembers them: everything arrives once',
    () =>
      behind(
        'five-lost-killed',
        async ({ proxy, ...hoplog }) => {
          // A broker that comes back from a crash remembers the last batch of a producer alone.
          const silent = proxy.inflict(
            { kind: 'silence' },
            { api: 'produce', times: IN_FLIGHT_MAX },
          );
          await silent.strikes(IN_FLIGHT_MAX);
          const [partition] = await kafka.describeTopic('five-lost-killed');
          const leader = kafka.nodes.find(({ id }) => id === partition!.leader)!;
          await leader.kill();
          await leader.start();
          await hoplog.delivers();
        },
        { partitions: 1, replicationFactor: 1, configs: { 'min.insync.replicas': 1 } },
      ),
    TEST_MAX_MS,
  );

  slowTest(
    'fault 6: a node that neither answers nor refuses for 40 s: the others go on, then all arrives once',
    () =>
      behind('black-hole', async ({ proxy, load, ...hoplog }) => {
        const [partition] = await kafka.describeTopic('black-hole');
        const hole = proxy.blackHole(partition!.leader);
        const healAtMs = load.lastedMs + BLACK_HOLE_MS;
        await hoplog.delivers(5_000);
        await hoplog.readyBecomes(503);
        await load.lasts(healAtMs);
        await hole.heal();
        await hoplog.readyBecomes(200);
        await hoplog.delivers();
      }),
    TEST_MAX_MS,
  );

  test(
    `fault 2: all brokers unreachable for ${DOWN_MS} ms under load: redirects are as fast as those of a server that has Kafka`,
    () =>
      behind('unreachable', async ({ proxy, load, ...hoplog }) => {
        await using control = await Control.start(kafka, 'reachable', {}, { perSecond: 1_500 });
        const down = await proxy.refuse();
        await hoplog.readyBecomes(503);
        await control.isNoFasterThan(load, { forMs: DOWN_MS });
        await down.heal();
        await hoplog.readyBecomes(200);
        await hoplog.delivers();
      }),
    TEST_MAX_MS,
  );

  test(
    `fault 9: no leader is known for ${LEADERLESS_MS} ms: not ready, redirects go on, then all arrives`,
    () =>
      behind('leaderless', async ({ proxy, load, ...hoplog }) => {
        const code = CODE.LEADER_NOT_AVAILABLE;
        const change = changeOfPartitions((partition) =>
          Object.assign(partition, { code, leader: -1 }),
        );
        const unknown = proxy.inflict({ kind: 'metadata', change }, { api: 'metadata' });
        const notLeader = { kind: 'refused', code: CODE.NOT_LEADER_OR_FOLLOWER } as const;
        const refused = proxy.inflict(notLeader, { api: 'produce' });
        expect(await hoplog.readyBecomes(503)).toMatch(/leader/i);
        await load.lasts(load.lastedMs + LEADERLESS_MS);
        expect(unknown.hits).toBeGreaterThan(1);
        await unknown.heal();
        await refused.heal();
        await hoplog.readyBecomes(200);
        await hoplog.delivers();
      }),
    TEST_MAX_MS,
  );

  test(
    'fault 10: Metadata names wrong leaders, others each time: everything arrives once',
    () =>
      behind('lies', async ({ proxy, ...hoplog }) => {
        let shift = 0;
        const change = changeOfPartitions((partition) => {
          partition.leader = ((partition.leader + shift) % kafka.nodes.length) + 1;
        });
        const lies = (metadata: Metadata): void => {
          shift++;
          change(metadata);
        };
        const lying = proxy.inflict({ kind: 'metadata', change: lies }, { api: 'metadata' });
        proxy.cut();
        await lying.strikes(extent(8, 40));
        await lying.heal();
        await hoplog.delivers();
      }),
    TEST_MAX_MS,
  );

  test(
    `fault 10: all leaders really move, ${MOVES} times: everything arrives once`,
    () =>
      behind(
        'moved',
        async (hoplog) => {
          const admin = kafka.client().admin();
          await admin.connect();
          for (let move = 0; move < MOVES; move++) {
            const before = await kafka.describeTopic('moved');
            await admin.alterPartitionReassignments({
              topics: [{ topic: 'moved', partitionAssignment: before.map(nextReplicas) }],
            });
            const moved = async () => {
              const now = await kafka.describeTopic('moved');
              return now.every(({ leader }, at) => leader > 0 && leader !== before[at]!.leader);
            };
            await waitFor(moved, { timeoutMs: REACTION_MAX_MS, what: 'all leaders to move' });
            hoplog.noteHit();
            await hoplog.delivers(200);
          }
          await admin.disconnect();
          const refused = 'hoplog_kafka_errors_total{error="NOT_LEADER_OR_FOLLOWER"}';
          expect(await hoplog.server.metric(refused)).toBeGreaterThan(0);
        },
        { replicationFactor: 2, configs: { 'min.insync.replicas': 1 } },
      ),
    TEST_MAX_MS,
  );

  /** Each for a partition of its own, by number. */
  const RETRIED: readonly Mischief[] = [
    { kind: 'refused', code: CODE.NOT_ENOUGH_REPLICAS },
    { kind: 'refused', code: CODE.COORDINATOR_LOAD_IN_PROGRESS },
    { kind: 'answered', code: CODE.REQUEST_TIMED_OUT },
    { kind: 'answered', code: CODE.NOT_ENOUGH_REPLICAS_AFTER_APPEND },
    { kind: 'answered', code: CODE.KAFKA_STORAGE_ERROR },
  ];

  test(
    `fault 16: five error codes for ${REFUSED_MS} ms are retried less and less often`,
    () =>
      behind(
        'retried',
        async ({ proxy, load, ...hoplog }) => {
          const before = proxy.requests('produce').length;
          const made = RETRIED.map((mischief, partition) =>
            proxy.inflict(mischief, { api: 'produce', partition }),
          );
          await hoplog.readyBecomes(503);
          await load.lasts(load.lastedMs + REFUSED_MS);
          const requests = proxy.requests('produce').slice(before);
          for (const [partition, fault] of made.entries()) {
            await fault.heal();
            const own = requests.filter(({ produce }) => produce?.partition === partition);
            expect(fault.hits).toBeGreaterThan(2);
            expect(own.length).toBeLessThanOrEqual(requestsMax(own));
            // What was appended is found in the log, and not sent again.
            if (RETRIED[partition]!.kind === 'refused') expectGrowingGaps(own);
          }
          await hoplog.delivers();
        },
        { partitions: RETRIED.length },
      ),
    TEST_MAX_MS,
  );

  test(
    `fault 17: a throttle time of ${THROTTLE_MS} ms is obeyed, and redirects go on`,
    () =>
      behind(
        'throttled',
        async ({ proxy, ...hoplog }) => {
          const throttled = { kind: 'throttled', throttleMs: THROTTLE_MS } as const;
          const fault = proxy.inflict(throttled, { api: 'produce', times: 1 });
          await fault.strikes();
          await hoplog.goesOn();
          await hoplog.delivers();
          const times = proxy.requests('produce').map(({ at }) => at);
          const pauses = times.slice(1).map((at, index) => at - times[index]!);
          // What was under way came a moment later than it was sent.
          expect(Math.max(...pauses)).toBeGreaterThan(0.8 * THROTTLE_MS);
        },
        { partitions: 1 },
      ),
    TEST_MAX_MS,
  );

  test(
    'fault 18: 100 ms and 3 Mbit/s to Kafka: the backlog is visible, nothing is dropped',
    () =>
      behind(
        'slow-link',
        async ({ proxy, server, ...hoplog }) => {
          const link = proxy.slow({ delayMs: 100, jitterMs: 20, bytesPerSecond: 375_000 });
          await waitFor(
            async () => (await server.metric('hoplog_journal_backlog_bytes')) > BACKLOG_BYTES,
            {
              timeoutMs: TEST_MAX_MS / 2,
              what: 'a backlog to grow',
            },
          );
          expect(await server.metric('hoplog_oldest_unacknowledged_seconds')).toBeGreaterThan(0.2);
          await hoplog.delivers(1_000);
          expect(link.hits).toBeGreaterThan(20);
          expect(await server.metric('hoplog_records_dropped_total{cause="journal full"}')).toBe(0);
          expect((await server.ready()).status).toBe(200);
        },
        { load: { perSecond: 6_000 }, options: { BATCH_BYTES: 32_768 } },
      ),
    TEST_MAX_MS,
  );

  nameTest(
    "fault 19: the brokers' name is gone, then back with another address: everything arrives once",
    async () => {
      await kafka.createTopic({ name: 'renamed', partitions: 3 });
      using names = new OwnNames();
      names.set(HOST_NAME, '127.0.0.1');
      await using proxy = await FaultProxy.start(nodesOf(kafka), { hostName: HOST_NAME });
      const load = { perSecond: 1_500 };
      const { wrapper } = names;
      await underLoad(kafka, { topic: 'renamed', proxy, load, wrapper }, async (hoplog) => {
        await hoplog.delivers();
        names.set(HOST_NAME, undefined);
        await proxy.move('127.0.0.2');
        await waitFor(async () => (await hoplog.readyBecomes(503)).includes('getaddrinfo'), {
          timeoutMs: REACTION_MAX_MS,
          what: 'the missing name to be noticed',
        });
        await hoplog.goesOn(1_000);
        names.set(HOST_NAME, '127.0.0.2');
        await hoplog.readyBecomes(200);
        await hoplog.delivers();
      });
    },
    TEST_MAX_MS,
  );

  test(
    'fault 21: each broker id is on the host of another one: everything arrives once',
    () =>
      behind('swapped', async ({ proxy, ...hoplog }) => {
        for (let swap = 0; swap < kafka.nodes.length; swap++) {
          expect(proxy.swapHosts().hits).toBeGreaterThan(0);
          await hoplog.delivers();
        }
      }),
    TEST_MAX_MS,
  );

  test(
    'fault 22: the topic grows from two partitions to five: the new ones get records too',
    () =>
      behind(
        'grown',
        async ({ proxy, ...hoplog }) => {
          const admin = kafka.client().admin();
          await admin.connect();
          await admin.createPartitions({ topicPartitions: [{ topic: 'grown', count: 5 }] });
          await admin.disconnect();
          // hoplog asks for metadata every five minutes, and when a leader has moved.
          const notLeader = { kind: 'refused', code: CODE.NOT_LEADER_OR_FOLLOWER } as const;
          await proxy.inflict(notLeader, { api: 'produce', times: 1 }).strikes();
          await waitFor(
            async () => (await kafka.topicEnd('grown')).partitions.every((end) => end > 0),
            { timeoutMs: REACTION_MAX_MS, what: 'records in all five partitions' },
          );
          await hoplog.delivers();
        },
        { partitions: 2 },
      ),
    TEST_MAX_MS,
  );
});

/** A change of each partition in a Metadata answer. */
function changeOfPartitions(
  change: (partition: Metadata['topics'][number]['partitions'][number]) => void,
): (metadata: Metadata) => void {
  return ({ topics }) => topics.forEach(({ partitions }) => partitions.forEach(change));
}

/** Two of the three nodes, and the leader is not among them. */
function nextReplicas({ partition, leader }: PartitionState): {
  partition: number;
  replicas: number[];
} {
  return { partition, replicas: [(leader % 3) + 1, ((leader + 1) % 3) + 1] };
}
