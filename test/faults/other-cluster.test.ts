// A server is killed with batches on their way to one real Kafka, and its journal goes on with another one,
// in which somebody else has the same producer id and later sequences in the same partition: each cluster
// begins with the same ids. All that was answered is in one of the two, and what may be in both is named.

import { expect, test } from 'bun:test';
import { Cluster } from '../../src/kafka/cluster.ts';
import { describeProducersRequest, type ProducerState } from '../../src/kafka/protocol.ts';
import { describeKafka } from '../support/describe-kafka.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { namedIn } from '../support/named-ranges.ts';
import { Oracle } from '../support/oracle.ts';
import { type Options, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const TEST_MAX_MS = 240_000;
const REACTION_MAX_MS = 20_000;
const TOPIC = 'clicks';

function optionsFor(kafka: KafkaCluster, journalDir: string): Options {
  return {
    KAFKA_BROKERS: kafka.brokers,
    KAFKA_TOPIC: TOPIC,
    JOURNAL_DIR: journalDir,
    JOURNAL_BYTES: '64MiB',
    BATCH_BYTES: 2_048,
    FLUSH_INTERVAL_MS: 50,
  };
}

/** The only producer that the partition knows. */
async function producerIn(kafka: KafkaCluster): Promise<ProducerState> {
  const [host = '', port] = kafka.directBrokers.split(':');
  const cluster = new Cluster([{ host, port: Number(port) }], 'hoplog-test');
  try {
    await cluster.metadata(TOPIC);
    const { producers } = await cluster.send(1, describeProducersRequest(TOPIC, 0));
    expect(producers).toHaveLength(1);
    return producers[0]!;
  } finally {
    await cluster.close();
  }
}

async function holds(kafka: KafkaCluster, records: number): Promise<void> {
  await waitFor(async () => (await kafka.topicEnd(TOPIC)).total > records, {
    timeoutMs: REACTION_MAX_MS,
    what: `more than ${records} records`,
  });
}

describeKafka('hoplog and another cluster than before', () => {
  test(
    'a backlog that meets its own producer id, given to somebody else, is delivered',
    async () => {
      const topics = [{ name: TOPIC, partitions: 1 }];
      const start = (): Promise<KafkaCluster> => startKafka({ nodes: 1, topics });
      await using former = await start();
      await using kafka = await start();
      using dir = tempDir();
      using strangersDir = tempDir();
      const oracle = new Oracle();
      {
        await using first = await Server.start(optionsFor(former, dir.path));
        await using load = await Load.start(first.url, oracle, { perSecond: 1_000 });
        await holds(former, 100);
        former.nodes[0]!.freeze();
        await waitFor(async () => (await first.metric('hoplog_batches_in_flight')) === 5, {
          timeoutMs: REACTION_MAX_MS,
          what: 'five batches on their way',
        });
        await load.stop();
        await first.kill();
        former.nodes[0]!.thaw();
      }
      {
        await using stranger = await Server.start(optionsFor(kafka, strangersDir.path));
        await using load = await Load.start(stranger.url, new Oracle(), { perSecond: 4_000 });
        await holds(kafka, oracle.answered() + 1_000);
        await load.stop();
        await stranger.delivered();
      }
      const { producerId, lastSequence } = await producerIn(former);
      const theirs = await producerIn(kafka);
      expect(theirs.producerId).toBe(producerId);
      expect(theirs.lastSequence).toBeGreaterThan(lastSequence);
      await using second = await Server.start(optionsFor(kafka, dir.path));
      await second.delivered();

      const formerRecords = await former.readTopic(TOPIC);
      const { bootId } = oracle.judge(formerRecords).delivered[0]!;
      const later = (await kafka.readTopic(TOPIC)).filter(({ value }) =>
        value.toString().includes(bootId),
      );
      const { missing, invented, altered, gaps, delivered } = oracle.judge(
        [...formerRecords, ...later],
        Infinity,
      );
      expect({ missing, invented, altered, gaps }).toEqual({
        missing: [],
        invented: [],
        altered: [],
        gaps: [],
      });
      const ids = delivered.map((one) => `${one.bootId}-${one.sequence}`);
      const twice = ids.filter((id, index) => ids.indexOf(id) < index);
      const named = namedIn(second.log.filter(({ msg }) => msg === 'records may be twice'));
      expect(named.length).toBeGreaterThan(5);
      expect(twice.filter((id) => !named.includes(id))).toEqual([]);
      expect(await second.metric('hoplog_records_possibly_duplicated_total')).toBe(named.length);
      expect(await second.metric('hoplog_records_already_delivered_total')).toBe(0);
      expect(second.log.filter(({ msg }) => msg.startsWith('Kafka cluster '))).toHaveLength(1);
    },
    TEST_MAX_MS,
  );
});
