// Four workers on a real cluster of three nodes with twelve partitions: each worker's batches go to all
// partitions alike, so that no partition and no node gets hot and none is starved, however the kernel
// spreads the clients over the workers; at full speed, where batches queue, and at a calm pace, where
// none does. Printed: the records of each partition and node.

import { afterAll, expect } from 'bun:test';
import { describeKafka } from '../support/describe-kafka.ts';
import { slowTest } from '../support/extent.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { type Delivered, NO_FAULTS, Oracle } from '../support/oracle.ts';
import { Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 120_000;
const TEST_MAX_MS = 180_000;
const WORKERS = 4;
const PARTITIONS = 12;
const BROKERS = 3;
/** Most records of a partition or node to fewest: 1 were equal shares; 1.1 to 1.2 was measured. */
const UNEVEN_MAX = 1.5;
/** The same of one worker, which has few batches for each partition. */
const UNEVEN_OF_WORKER_MAX = 3;

/** How many records there are in each partition, or in each group of partitions. */
function tally(delivered: readonly Delivered[], groupOf = (partition: number) => partition) {
  const counts = new Map<number, number>();
  for (const { record } of delivered) {
    const group = groupOf(record.partition);
    counts.set(group, (counts.get(group) ?? 0) + 1);
  }
  return counts;
}

function unevenness(counts: ReadonlyMap<number, number>): number {
  const values = [...counts.values()];
  return Math.max(...values) / Math.min(...values);
}

describeKafka(`${WORKERS} workers, ${PARTITIONS} partitions, ${BROKERS} brokers`, () => {
  let kafka: KafkaCluster | undefined;

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  /** All that was delivered of so many requests; the oracle has nothing to say against it. */
  async function deliver(topic: string, requests: number, perSecond: number): Promise<Delivered[]> {
    kafka ??= await startKafka({ nodes: BROKERS });
    await kafka.createTopic({ name: topic, partitions: PARTITIONS });
    using dir = tempDir();
    await using server = await Server.start({
      KAFKA_BROKERS: kafka.brokers,
      KAFKA_TOPIC: topic,
      JOURNAL_DIR: dir.path,
      WORKERS,
      BATCH_BYTES: 2_048,
      FLUSH_INTERVAL_MS: 50,
    });
    const oracle = new Oracle();
    await using load = await Load.start(server.url, oracle, { connections: 64, perSecond });
    await waitFor(() => oracle.answered() >= requests, {
      timeoutMs: TEST_MAX_MS,
      what: `${requests} answers`,
    });
    await load.stop();
    await server.delivered();
    const { delivered, ...faults } = oracle.judge(await kafka.readTopic(topic));
    expect(faults).toEqual(NO_FAULTS);
    expect(delivered).toHaveLength(oracle.answered());
    return [...delivered];
  }

  async function expectEven(topic: string, delivered: readonly Delivered[]): Promise<void> {
    const byPartition = tally(delivered);
    const leaders = (await kafka!.describeTopic(topic)).map(({ leader }) => leader);
    const byLeader = tally(delivered, (partition) => leaders[partition]!);
    const workers = [...Map.groupBy(delivered, ({ bootId }) => bootId).values()].map((own) =>
      tally(own),
    );
    const worst = Math.max(...workers.map(unevenness));
    process.stderr.write(
      `${topic}: records by partition ${[...byPartition.values()].join(' ')} ` +
        `(× ${unevenness(byPartition).toFixed(2)}), by leader ${[...byLeader.values()].join(' ')}, ` +
        `worst worker × ${worst.toFixed(2)}\n`,
    );
    expect(byPartition.size).toBe(PARTITIONS);
    expect(unevenness(byPartition)).toBeLessThan(UNEVEN_MAX);
    expect(byLeader.size).toBe(BROKERS);
    expect(unevenness(byLeader)).toBeLessThan(UNEVEN_MAX);
    expect(workers.map(({ size }) => size)).toEqual(Array(WORKERS).fill(PARTITIONS));
    expect(worst).toBeLessThan(UNEVEN_OF_WORKER_MAX);
  }

  for (const [pace, requests, perSecond] of [
    ['full speed', 40_000, Infinity],
    ['a calm pace', 20_000, 2_000],
  ] as const) {
    slowTest(
      `at ${pace} every worker fills every partition, and none of them gets hot`,
      async () => {
        const topic = pace.replaceAll(' ', '-');
        await expectEven(topic, await deliver(topic, requests, perSecond));
      },
      START_MAX_MS + TEST_MAX_MS,
    );
  }
});
