// The real Kafka the variants log to: the tests' own harness, one broker, one topic of one partition
// each, put on the load core once it runs. Started before anything is pinned, so that the start may
// use both cores.

import { KAFKA_VERSION, startKafka as startCluster } from '../test/support/kafka.ts';
import { waitFor } from '../test/support/wait-for.ts';
import { moveToLoadCore, stepBack } from './cores.ts';

export { KAFKA_VERSION };

export interface BenchKafka extends AsyncDisposable {
  readonly brokers: string;
  /** How many records the topic has: nothing is ever deleted during a run. */
  records(topic: string): Promise<number>;
  /** Bytes of the topic (its one partition) on the disk. */
  logBytes(topic: string): number;
  readonly running: boolean;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Resolves when it serves again. */
  restart(): Promise<void>;
}

export async function startKafka(topics: readonly string[]): Promise<BenchKafka> {
  const cluster = await startCluster({
    nodes: 1,
    topics: topics.map((name) => ({ name, partitions: 1 })),
    // The tests' brokers compile little, to start fast; here they are to cost as little as they can.
    jvmOptions: [],
  });
  const node = cluster.nodes[0]!;
  await moveToLoadCore(node.pid);
  stepBack(node.pid);
  return {
    brokers: cluster.brokers,
    get running() {
      return node.running;
    },
    records: async (topic) => (await cluster.topicEnd(topic)).total,
    logBytes: (topic) => {
      const files = new Bun.Glob(`${topic}-0/*.log`).scanSync({ cwd: node.dataDir });
      return [...files].reduce((sum, path) => sum + Bun.file(`${node.dataDir}/${path}`).size, 0);
    },
    kill: () => node.kill(),
    restart: async () => {
      const started = node.start();
      // It has our core already; what it starts from here inherits the niceness, too.
      stepBack(node.pid);
      await started;
      stepBack(node.pid);
      // Leaders of the partitions come a little later than the node itself.
      await waitFor(() => Promise.all(topics.map((topic) => cluster.topicEnd(topic))), {
        timeoutMs: 30_000,
        what: 'the topics to have leaders again',
        intervalMs: 20,
      });
    },
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  };
}
