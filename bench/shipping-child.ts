// The Kafka half alone: fills a journal with seed records, then ships all of it and prints the CPU time
// that took as JSON. Run pinned by shipping.ts; env KAFKA_BROKERS, KAFKA_TOPIC, JOURNAL_DIR.

import { Journal } from '../src/journal/journal.ts';
import { Cluster } from '../src/kafka/cluster.ts';
import { Deviations } from '../src/kafka/deviations.ts';
import { Producer } from '../src/kafka/producer.ts';
import { Quarantine } from '../src/kafka/quarantine.ts';
import { Topic } from '../src/kafka/topic.ts';
import { readCommandLine } from '../src/config.ts';

const RECORDS = 2_000_000;
const HEAD =
  '{"runtime_param":"runtimeDataString","async_param":"asyncDataString","remote_address":"127.0.0.1:';

const { config } = readCommandLine([]);
const fail = (action: string, error: Error): never => {
  throw new Error(action, { cause: error });
};
const journal = new Journal({
  directory: config.JOURNAL_DIR,
  journalBytes: config.JOURNAL_BYTES,
  batchBytes: config.BATCH_BYTES,
  syncMs: config.JOURNAL_SYNC_MS,
  recycleOldest: false,
  onError: fail,
});
for (let index = 0; index < RECORDS; index++) {
  const result = journal.append(`${HEAD}${20_000 + (index & 0x3fff)}"}`, Date.now());
  if (result !== 'appended') throw new Error(`record ${index}: ${result}`);
}
journal.seal();

const onWarning = (message: string): void => console.error(message);
const cluster = Cluster.of(config);
const topic = new Topic(cluster, { name: config.KAFKA_TOPIC, acks: 'all', onWarning });
const compression = config.KAFKA_COMPRESSION;
const producer = new Producer(journal, topic, {
  compression,
  quarantine: new Quarantine(`${config.JOURNAL_DIR}/quarantine`, 0),
  deviations: new Deviations(({ deviation, cause }) => {
    fail(`records ${deviation}`, new Error(cause));
  }),
  onWarning,
  onChange: () => {},
});
const before = process.cpuUsage();
const started = performance.now();
await producer.start();
const drained = await producer.drain(120_000);
const seconds = (performance.now() - started) / 1000;
const { user, system } = process.cpuUsage(before);
const { acknowledged } = producer.counters;
console.log(
  JSON.stringify({ drained, acknowledged, records: RECORDS, seconds, cpuUs: user + system }),
);
process.exit(0);
