// `verify` on real brokers agrees with those who know better: the ranges that the server logged as lost
// are the ranges it calls missing, no more and no fewer; what the oracle finds whole, it does; and what
// another producer doubled, put out of order or retention removed, it names.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { Range } from '../../src/tools/tally.ts';
import { bootId, craftedValue, idsOf } from '../support/crafted-topic.ts';
import { describeKafka } from '../support/describe-kafka.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { NO_FAULTS, Oracle } from '../support/oracle.ts';
import { type Options, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { verifyTopic } from '../support/verified.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;
const REACTION_MAX_MS = 20_000;
const BATCH_BYTES = 8_192;

/** Ranges that touch made one: the server begins a new one when the cause changes. */
function joined(ranges: readonly Range[]): Range[] {
  const whole: { first: number; last: number }[] = [];
  for (const { first, last } of ranges.toSorted((a, b) => a.first - b.first)) {
    const before = whole.at(-1);
    if (before && before.last === first - 1) before.last = last;
    else whole.push({ first, last });
  }
  return whole;
}

describeKafka('verify', () => {
  let kafka: KafkaCluster;
  const node = () => kafka.nodes[0]!;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  function optionsFor(topic: string, journalDir: string): Options {
    return {
      KAFKA_BROKERS: kafka.brokers,
      KAFKA_TOPIC: topic,
      JOURNAL_DIR: journalDir,
      // A few thousand clicks fill it.
      JOURNAL_BYTES: '1MiB',
      BATCH_BYTES,
      FLUSH_INTERVAL_MS: 50,
    };
  }

  const verify = (topic: string) => verifyTopic(kafka.brokers, topic);

  /** More than BATCH_BYTES in one record. */
  async function requestTooMuch(server: Server): Promise<void> {
    const { status } = await fetch(`${server.url}/?${'x'.repeat(BATCH_BYTES)}`, {
      redirect: 'manual',
    });
    expect(status).toBe(301);
  }

  function lostRanges(server: Server): Range[] {
    return server.log
      .filter(({ msg }) => msg === 'records lost')
      .map(({ firstSequence: first, lastSequence: last }) => ({ first, last }) as Range);
  }

  test(
    'what it calls missing is what the server logged as lost: dropped and oversize records',
    async () => {
      await kafka.createTopic({ name: 'dropped', partitions: 3 });
      using dir = tempDir();
      await using server = await Server.start(optionsFor('dropped', dir.path));
      const oracle = new Oracle();
      await using load = await Load.start(server.url, oracle, { perSecond: 4_000 });
      await requestTooMuch(server);
      await node().kill();
      await requestTooMuch(server);
      await waitFor(
        async () =>
          (await server.metric('hoplog_records_dropped_total{cause="journal full"}')) >= 1_000,
        {
          timeoutMs: REACTION_MAX_MS,
          what: '1000 dropped records',
        },
      );
      await node().start();
      // Behind the last lost record there must be one that arrives: a boot's end cannot be judged.
      const appended = await server.metric('hoplog_records_appended_total');
      await waitFor(
        async () => (await server.metric('hoplog_records_appended_total')) > appended + 2_000,
        {
          timeoutMs: REACTION_MAX_MS,
          what: 'new records',
        },
      );
      await requestTooMuch(server);
      await load.stop();
      await fetch(server.url, { redirect: 'manual' });
      await server.delivered();
      const metrics = await server.metrics();
      expect(await server.stop()).toBe(0);

      const { exitCode, ...report } = await verify('dropped');
      const lost = lostRanges(server);
      expect(exitCode).toBe(1);
      expect(report.boots).toHaveLength(1);
      const [boot] = report.boots;
      expect(boot?.missing.ranges).toEqual(joined(lost));
      expect(boot?.missing.count).toBe(
        metrics.get('hoplog_records_dropped_total{cause="journal full"}')! +
          metrics.get('hoplog_records_oversize_total')!,
      );
      expect(metrics.get('hoplog_records_oversize_total')).toBeGreaterThanOrEqual(2);
      expect([boot?.duplicate.count, boot?.late.count, boot?.trimmed.count]).toEqual([0, 0, 0]);
      expect(boot?.last).toBe(oracle.issued + 4);
    },
    TEST_MAX_MS,
  );

  test(
    'a topic that the oracle finds whole is complete, a server killed on the way',
    async () => {
      await kafka.createTopic({ name: 'whole', partitions: 3 });
      using dir = tempDir();
      const options = { ...optionsFor('whole', dir.path), JOURNAL_BYTES: '64MiB' };
      const oracle = new Oracle();
      {
        await using server = await Server.start(options);
        await using load = await Load.start(server.url, oracle, { perSecond: 4_000 });
        await load.lasts(1_000);
        await server.kill();
      }
      await using server = await Server.start(options);
      await using load = await Load.start(server.url, oracle, { perSecond: 4_000 });
      await load.lasts(500);
      await load.stop();
      await server.delivered();
      expect(await server.stop()).toBe(0);

      const { delivered, ...faults } = oracle.judge(await kafka.readTopic('whole'));
      expect(faults).toEqual(NO_FAULTS);
      const { exitCode, ...report } = await verify('whole');
      expect({ exitCode, complete: report.complete }).toEqual({ exitCode: 0, complete: true });
      expect(report.records).toBe(delivered.length);
      const byBoot = Map.groupBy(delivered, (one) => one.bootId);
      expect(new Map(report.boots.map((boot) => [boot.bootId, boot.records]))).toEqual(
        new Map([...byBoot].map(([id, ofBoot]) => [id, ofBoot.length])),
      );
      expect(byBoot.size).toBe(2);
    },
    TEST_MAX_MS,
  );

  /** By another producer than hoplog's: each list is a batch. */
  async function craft(topic: string, batches: readonly [number, string[]][]): Promise<void> {
    await kafka.createTopic({ name: topic, partitions: 2 });
    const producer = kafka.client().producer();
    await producer.connect();
    for (const [partition, ids] of batches) {
      const messages = ids.map((id) => ({ partition, value: craftedValue(id) }));
      await producer.send({ topic, messages });
    }
    await producer.disconnect();
  }

  test(
    'what was sent twice and what was sent out of order is named, with partitions and offsets',
    async () => {
      await craft('crafted', [
        [0, idsOf('b1', 1, 5)],
        [1, idsOf('b1', 6, 8)],
        [0, idsOf('b1', 12, 14)],
        [0, idsOf('b1', 9, 11)],
        [1, idsOf('b1', 4, 7)],
        [1, idsOf('b1', 17, 17)],
      ]);
      const { exitCode, ...report } = await verify('crafted');
      expect(exitCode).toBe(1);
      const at = (partition: number, offset: number) => ({ partition, offset });
      expect(report.boots).toMatchObject([
        {
          bootId: bootId('b1'),
          missing: { count: 2, ranges: [{ first: 15, last: 16 }] },
          duplicate: {
            count: 4,
            ranges: [
              { first: 4, last: 5, place: at(0, 3), again: at(1, 3) },
              { first: 6, last: 7, place: at(1, 0), again: at(1, 5) },
            ],
          },
          late: {
            count: 7,
            ranges: [
              { first: 9, last: 11, place: at(0, 8), behind: 14 },
              { first: 4, last: 7, place: at(1, 3), behind: 8 },
            ],
          },
        },
      ]);
    },
    TEST_MAX_MS,
  );

  test(
    'what retention may have removed is not called missing, what it cannot have removed is',
    async () => {
      await craft('trimmed', [
        [0, idsOf('b1', 1, 3)],
        [1, idsOf('b1', 4, 6)],
        [0, idsOf('b1', 7, 9)],
        [1, idsOf('b1', 12, 14)],
      ]);
      const admin = kafka.client().admin();
      await admin.connect();
      await admin.fetchTopicMetadata({ topics: ['trimmed'] });
      const partitions = [{ partition: 0, offset: '3' }];
      await admin.deleteTopicRecords({ topic: 'trimmed', partitions });
      await admin.disconnect();
      const { exitCode, ...report } = await verify('trimmed');
      expect(exitCode).toBe(1);
      expect(report).toMatchObject({
        trimmed: [0],
        boots: [
          {
            missing: { ranges: [{ first: 10, last: 11 }] },
            trimmed: { ranges: [{ first: 1, last: 3 }] },
          },
        ],
      });
    },
    TEST_MAX_MS,
  );
});
