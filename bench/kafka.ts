// The real Kafka the variants log to: the tests' own harness, one broker, one topic of one partition
// each, put on the load core once it runs. Started before anything is pinned, so that the start may
// use both cores.

import { KAFKA_VERSION, startKafka as startCluster } from '../test/support/kafka.ts';
import { moveToLoadCore, stepBack } from './cores.ts';

export interface BenchKafka extends AsyncDisposable {
  readonly brokers: string;
  readonly version: string;
  /** How many records the topic has: nothing is ever deleted during a run. */
  records(topic: string): Promise<number>;
}

export async function startKafka(topics: readonly string[]): Promise<BenchKafka> {
  const cluster = await startCluster({
    nodes: 1,
    topics: topics.map((name) => ({ name, partitions: 1 })),
    // The tests' brokers compile little, to start fast; here they are to cost as little as they can.
    jvmOptions: [],
  });
  for (const { pid } of cluster.nodes) {
    await moveToLoadCore(pid);
    stepBack(pid);
  }
  return {
    brokers: cluster.brokers,
    version: KAFKA_VERSION,
    records: async (topic) => (await cluster.topicEnd(topic)).total,
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  };
}
