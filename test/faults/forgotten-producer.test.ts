// Fault 33: what was sent before a crash is asked for when the broker has forgotten its producer (real
// Kafka, with an expiration of a second): it goes again and is twice where it had arrived, and exactly
// those records are counted and named, by boot and sequences.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { Cluster } from '../../src/kafka/cluster.ts';
import { describeProducersRequest } from '../../src/kafka/protocol.ts';
import { describeKafka } from '../support/describe-kafka.ts';
import { FaultProxy, nodesOf } from '../support/fault-proxy.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { namedIn } from '../support/named-ranges.ts';
import { Oracle } from '../support/oracle.ts';
import { Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { verifiedIds, verifyTopic } from '../support/verified.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;
const PARTITIONS = 2;
/** Of 200 bytes and more, in 2,048. */
const BATCH_RECORDS_MAX = 10;

describeKafka('hoplog and a broker that forgot its producer', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({
      nodes: 1,
      serverProperties: {
        'producer.id.expiration.ms': 1_000,
        'producer.id.expiration.check.interval.ms': 200,
      },
    });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  /** Producers that the partitions of the topic remember. */
  async function remembered(topic: string): Promise<number> {
    const [host = '', port] = kafka.directBrokers.split(':');
    const cluster = new Cluster([{ host, port: Number(port) }], 'hoplog-test');
    try {
      await cluster.metadata(topic);
      let producers = 0;
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const answer = await cluster.send(1, describeProducersRequest(topic, partition));
        producers += answer.producers.length;
      }
      return producers;
    } finally {
      await cluster.close();
    }
  }

  test(
    'fault 33: what may be twice after the id expired is what is named, and nothing is missing',
    async () => {
      const topic = 'forgotten';
      await kafka.createTopic({ name: topic, partitions: PARTITIONS });
      using dir = tempDir();
      await using proxy = await FaultProxy.start(nodesOf(kafka));
      const options = {
        KAFKA_BROKERS: proxy.brokers,
        KAFKA_TOPIC: topic,
        JOURNAL_DIR: dir.path,
        JOURNAL_BYTES: '64MiB',
        BATCH_BYTES: 2_048,
        FLUSH_INTERVAL_MS: 50,
      };
      const oracle = new Oracle();
      {
        await using first = await Server.start(options);
        await using load = await Load.start(first.url, oracle, { perSecond: 2_000 });
        // The first batch to a partition goes alone; what is behind it proves that it was known.
        const isKnown = (end: number) => end > 2 * BATCH_RECORDS_MAX;
        await waitFor(async () => (await kafka.topicEnd(topic)).partitions.every(isKnown), {
          timeoutMs: 20_000,
          what: 'both partitions to know the producer',
        });
        const silence = proxy.inflict({ kind: 'silence' }, { api: 'produce' });
        await silence.strikes(PARTITIONS * 5);
        await load.stop();
        await first.kill();
        await silence.heal();
      }
      await waitFor(async () => (await remembered(topic)) === 0, {
        timeoutMs: 20_000,
        what: 'the broker to forget',
      });
      await using second = await Server.start(options);
      await second.delivered();
      const records = await kafka.readTopic(topic);
      const { missing, invented, altered, delivered } = oracle.judge(records, Infinity);
      expect([missing, invented, altered]).toEqual([[], [], []]);
      const ids = delivered.map(({ bootId, sequence }) => `${bootId}-${sequence}`);
      const twice = ids.filter((id, index) => ids.indexOf(id) < index);
      expect(twice.length).toBeGreaterThan(PARTITIONS * 5);
      const lines = second.log.filter(({ msg }) => msg === 'records may be twice');
      const named = namedIn(lines);
      expect(await second.metric('hoplog_records_possibly_duplicated_total')).toBe(named.length);
      expect(twice.filter((id) => !named.includes(id))).toEqual([]);
      // A slow machine's broker may forget the second server, too: then what did arrive once is named.
      const causes = new Set(lines.map(({ cause }) => cause));
      expect(causes).toContain('producer forgotten by the broker');
      if (causes.size === 1) expect(named.toSorted()).toEqual(twice.toSorted());
      const verified = await verifyTopic(kafka.brokers, topic);
      expect(verifiedIds(verified, 'duplicate').toSorted()).toEqual(twice.toSorted());
      expect(verifiedIds(verified, 'missing')).toEqual([]);
    },
    TEST_MAX_MS,
  );
});
