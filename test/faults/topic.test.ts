// Faults of the topic and of the way to it, on one real Kafka node. Numbers: faults of the project's
// list of faults: 20 a dead bootstrap host, 23 topic deleted and made anew, 25 and 26 batches and
// records that are too large for the broker.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { describeKafka } from '../support/describe-kafka.ts';
import { runKafkaTool } from '../support/kafka-jars.ts';
import { dumpLogSegments } from '../support/kafka-tools.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { namedIn } from '../support/named-ranges.ts';
import { Oracle } from '../support/oracle.ts';
import { underLoad } from '../support/scenario.ts';
import { type Options, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { verifiedIds, verifyTopic } from '../support/verified.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;

describeKafka('hoplog and a topic that is not as it should be', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  async function deleteTopic(topic: string): Promise<void> {
    const args = ['--bootstrap-server', kafka.directBrokers, '--delete', '--topic', topic];
    await runKafkaTool('org.apache.kafka.tools.TopicCommand', args);
  }

  /** Until the topic is missed, and no partition acknowledges any more: how many records were. */
  async function silence(server: Server): Promise<number> {
    await waitFor(async () => (await server.ready()).status === 503, {
      timeoutMs: 10_000,
      what: 'the missing topic to be noticed',
    });
    // One partition said it first; the others may still acknowledge what they had.
    let acknowledged = -1;
    await waitFor(
      async () => {
        const last = acknowledged;
        acknowledged = await server.metric('hoplog_records_acknowledged_total');
        return acknowledged === last;
      },
      { timeoutMs: 10_000, what: 'the old topic to be silent', intervalMs: 200 },
    );
    return acknowledged;
  }

  async function start(topic: string, journalDir: string, options: Options = {}): Promise<Server> {
    const target = { KAFKA_BROKERS: kafka.brokers, KAFKA_TOPIC: topic, FLUSH_INTERVAL_MS: 50 };
    const journal = { JOURNAL_DIR: journalDir, JOURNAL_BYTES: '64MiB' };
    return await Server.start({ ...target, ...journal, ...options });
  }

  test(
    'fault 20: a bootstrap list with dead hosts in front leads to the live one',
    async () => {
      const topic = 'bootstrap';
      await kafka.createTopic({ name: topic, partitions: 2 });
      const KAFKA_BROKERS = `no-such-host.invalid:9092,127.0.0.1:1,${kafka.brokers}`;
      await underLoad(kafka, { topic, options: { KAFKA_BROKERS } }, async (hoplog) => {
        await hoplog.readyBecomes(200);
        hoplog.noteHit(); // seeds are asked in their order
        await hoplog.delivers(2_000);
      });
    },
    TEST_MAX_MS,
  );

  test(
    'fault 23: the topic is deleted and made anew: what was not acknowledged before is in the new one',
    async () => {
      const topic = 'reborn';
      await kafka.createTopic({ name: topic, partitions: 3 });
      using dir = tempDir();
      await using server = await start(topic, dir.path, { BATCH_BYTES: 2_048 });
      const oracle = new Oracle();
      await using load = await Load.start(server.url, oracle, { perSecond: 2_000 });
      await load.lasts(1_000);
      await deleteTopic(topic);
      const before = await silence(server);
      await kafka.createTopic({ name: topic, partitions: 3 });
      await waitFor(
        async () => (await server.metric('hoplog_records_acknowledged_total')) > before + 1_000,
        {
          timeoutMs: 20_000,
          what: 'delivery to the new topic',
        },
      );
      await load.stop();
      await server.delivered();
      const { delivered, twice, altered, invented, disordered } = oracle.judge(
        await kafka.readTopic(topic),
      );
      expect([twice, altered, invented, disordered]).toEqual([[], [], [], []]);
      // Found in the old topic by an inquiry, its acknowledgement lost: gone with it all the same.
      const found = await server.metric('hoplog_records_already_delivered_total');
      expect(delivered).toHaveLength(oracle.answered() - before - found);
      expect(oracle.notRedirected).toEqual([]);
      expect((await server.ready()).status).toBe(200);
    },
    TEST_MAX_MS,
  );

  test(
    'fault 23: made anew with fewer partitions, the ones it has take what waited for the others',
    async () => {
      const topic = 'shrunk';
      await kafka.createTopic({ name: topic, partitions: 4 });
      using dir = tempDir();
      await using server = await start(topic, dir.path, { BATCH_BYTES: 2_048 });
      const oracle = new Oracle();
      await using load = await Load.start(server.url, oracle, { perSecond: 2_000 });
      await load.lasts(500);
      await deleteTopic(topic);
      const before = await silence(server);
      await kafka.createTopic({ name: topic, partitions: 1 });
      await waitFor(
        async () => (await server.metric('hoplog_records_acknowledged_total')) > before + 1_000,
        { timeoutMs: 20_000, what: 'delivery to the new topic' },
      );
      await load.stop();
      await server.delivered();
      const { delivered, twice, altered, invented } = oracle.judge(await kafka.readTopic(topic));
      expect([twice, altered, invented]).toEqual([[], [], []]);
      const found = await server.metric('hoplog_records_already_delivered_total');
      expect(delivered).toHaveLength(oracle.answered() - before - found);
      // What the deletion left without an answer may be twice, for all that hoplog can know.
      const named = namedIn(server.log.filter(({ msg }) => msg === 'records may be twice'));
      expect(await server.metric('hoplog_records_possibly_duplicated_total')).toBe(named.length);
      await waitFor(async () => (await server.ready()).status === 200, {
        timeoutMs: 10_000,
        what: 'the partitions that are gone to be forgotten',
      });
    },
    TEST_MAX_MS,
  );

  test(
    'faults 25 and 26: batches the broker finds too large are split, a record that is is put aside and named',
    async () => {
      const topic = 'too-large';
      await kafka.createTopic({
        name: topic,
        partitions: 2,
        configs: { 'max.message.bytes': 4_096 },
      });
      using dir = tempDir();
      await using server = await start(topic, dir.path, { BATCH_BYTES: 16_384 });
      const oracle = new Oracle();
      await using load = await Load.start(server.url, oracle, { perSecond: 2_000 });
      const headers = { Referer: 'r'.repeat(6_000) };
      for (let large = 0; large < 3; large++) {
        await load.lasts((large + 1) * 200);
        await fetch(server.url, { redirect: 'manual', headers });
      }
      await load.lasts(1_000);
      await load.stop();
      await server.delivered();
      const { delivered, gaps, ...faults } = oracle.judge(await kafka.readTopic(topic));
      expect(faults).toMatchObject({
        missing: [],
        twice: [],
        invented: [],
        altered: [],
        disordered: [],
      });
      expect(gaps).toHaveLength(3);
      const named = server.log.filter(({ msg }) => msg === 'records put aside');
      const ranges = named.map(({ level, cause, bootId, firstSequence, lastSequence, count }) => {
        expect([level, cause, count]).toEqual(['error', 'too large for the broker', 1]);
        expect(lastSequence).toBe(firstSequence);
        return `${String(bootId)}-${String(firstSequence)}`;
      });
      expect(ranges.toSorted()).toEqual(gaps.toSorted());
      const verified = await verifyTopic(kafka.brokers, topic);
      expect(verifiedIds(verified, 'missing').toSorted()).toEqual(gaps.toSorted());
      const files = named.map(({ detail }) => readFileSync(String(detail)));
      const dump = await dumpLogSegments(files[0]!);
      expect(dump).toContain('isvalid: true');
      for (const [index, file] of files.entries())
        expect(file.toString()).toContain(ranges[index]!);
      expect(delivered).toHaveLength(oracle.answered());
      expect(await server.metric('hoplog_records_oversize_total')).toBe(3);
      expect(await server.metric('hoplog_records_possibly_duplicated_total')).toBe(0);
      const warnings = server.log.filter(({ msg }) => msg.includes('message.max.bytes'));
      expect(warnings).toHaveLength(1);
      expect((await server.ready()).status).toBe(200);
    },
    TEST_MAX_MS,
  );
});
