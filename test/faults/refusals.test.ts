// What brokers say no to, and what is no answer at all, between hoplog under load and a real Kafka with a
// proxy in front: whatever comes back, all that was answered is in Kafka once, or named in the log.
// Faults 27 to 32 refused batches, 39 garbage for answers, 40 one partition in trouble.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describeKafka } from '../support/describe-kafka.ts';
import { extent } from '../support/extent.ts';
import type { Api } from '../support/fake-answers.ts';
import { CODE } from '../support/fake-partition.ts';
import { FaultProxy, nodesOf } from '../support/fault-proxy.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { dumpLogSegments } from '../support/kafka-tools.ts';
import { Load } from '../support/load-client.ts';
import { Oracle } from '../support/oracle.ts';
import type { Mischief } from '../support/proxy-passage.ts';
import { namedIn } from '../support/named-ranges.ts';
import { underLoad } from '../support/scenario.ts';
import { Random } from '../support/seed.ts';
import { Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 120_000;
const ACKNOWLEDGED = 'hoplog_records_acknowledged_total';
/** Five batches of 2,048 bytes, with records of 200 bytes and more. */
const HELD_RECORDS_MAX = 5 * 10;

/** Once each; what comes back of the batches behind it is Kafka's own. */
const REFUSED: readonly { fault: string; mischief: Mischief }[] = [
  {
    fault: 'fault 27: CORRUPT_MESSAGE, a bit flipped on the way',
    mischief: { kind: 'bit flipped' },
  },
  {
    fault: 'fault 28: OUT_OF_ORDER at the head of the line',
    mischief: { kind: 'refused', code: CODE.OUT_OF_ORDER_SEQUENCE_NUMBER },
  },
  {
    fault: 'fault 29: OUT_OF_ORDER behind a head that failed',
    mischief: { kind: 'refused', code: CODE.NOT_ENOUGH_REPLICAS },
  },
  {
    fault: 'fault 30: DUPLICATE_SEQUENCE is as good as delivered',
    mischief: { kind: 'answered', code: CODE.DUPLICATE_SEQUENCE_NUMBER },
  },
  {
    fault: 'fault 31: UNKNOWN_PRODUCER_ID',
    mischief: { kind: 'refused', code: CODE.UNKNOWN_PRODUCER_ID },
  },
  {
    fault: 'fault 32: INVALID_PRODUCER_EPOCH',
    mischief: { kind: 'refused', code: CODE.INVALID_PRODUCER_EPOCH },
  },
];

/** A frame with `change` made to it. */
function changed(answer: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(answer);
  change(copy);
  return copy;
}

const GARBAGE: Readonly<Record<string, (answer: Buffer, random: Random) => Buffer>> = {
  'a length of 2 GiB': (answer) => changed(answer, (copy) => copy.writeInt32BE(2 ** 31 - 1, 0)),
  'a negative length': (answer) => changed(answer, (copy) => copy.writeInt32BE(-5, 0)),
  'no length at all': () => Buffer.alloc(64),
  'random bytes': (answer, random) => {
    return Buffer.from(answer.map(() => Math.floor(random.next() * 256)));
  },
  'another protocol': () => Buffer.from('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'),
  'counts of 2^31 within': (answer) => {
    return changed(answer, (copy) => copy.fill(0x7f, 8));
  },
  'counts below zero within': (answer) => changed(answer, (copy) => copy.fill(0xff, 8)),
  'an end in the middle': (answer) => {
    const half = changed(answer, (copy) => copy.writeInt32BE(6, 0));
    return half.subarray(0, 10);
  },
};

const OTHER_APIS: readonly Api[] = ['metadata', 'describeProducers'];

describeKafka('hoplog and brokers that refuse', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  for (const [index, { fault: name, mischief }] of REFUSED.entries()) {
    test(
      name,
      async () => {
        const topic = `refused-${index}`;
        await kafka.createTopic({ name: topic, partitions: 1 });
        await using proxy = await FaultProxy.start(nodesOf(kafka));
        await underLoad(kafka, { topic, proxy }, async (hoplog) => {
          await hoplog.delivers(200);
          for (let round = 0; round < extent(3, 30); round++) {
            const fault = proxy.inflict(mischief, { api: 'produce', times: 1 });
            await fault.strikes();
            await hoplog.delivers(100);
          }
          expect(hoplog.server.log.filter(({ msg }) => msg.startsWith('records'))).toEqual([]);
        });
      },
      TEST_MAX_MS,
    );
  }

  test(
    'fault 27: what is corrupt twice is put aside and named, and all the rest arrives',
    async () => {
      const topic = 'corrupt';
      await kafka.createTopic({ name: topic, partitions: 2 });
      using dir = tempDir();
      await using proxy = await FaultProxy.start(nodesOf(kafka));
      await using server = await Server.start({
        KAFKA_BROKERS: proxy.brokers,
        KAFKA_TOPIC: topic,
        JOURNAL_DIR: dir.path,
        JOURNAL_BYTES: '64MiB',
        BATCH_BYTES: 2_048,
        FLUSH_INTERVAL_MS: 50,
      });
      const oracle = new Oracle();
      await using load = await Load.start(server.url, oracle, { perSecond: 2_000 });
      const fault = proxy.inflict({ kind: 'bit flipped' }, { api: 'produce', partition: 0 });
      const alarms = () => server.log.filter(({ msg }) => msg === 'records put aside');
      await waitFor(() => alarms().length >= 2, { timeoutMs: 30_000, what: 'two alarms' });
      await fault.heal();
      await load.lasts(load.lastedMs + 500);
      await load.stop();
      await server.delivered();
      const {
        missing: _,
        gaps: missing,
        delivered,
        ...faults
      } = oracle.judge(await kafka.readTopic(topic), Infinity);
      expect(faults).toEqual({ twice: [], invented: [], altered: [], disordered: [] });
      expect(namedIn(alarms()).toSorted()).toEqual(missing.toSorted());
      expect(delivered.length + missing.length).toBe(oracle.answered());
      for (const { level, cause, detail } of alarms()) {
        expect([level, cause]).toEqual(['error', 'corrupt to the broker']);
        expect(dirname(String(detail))).toBe(`${dir.path}/quarantine`);
      }
      const dump = await dumpLogSegments(readFileSync(String(alarms()[0]!['detail'])));
      expect(dump).toContain('isvalid: true');
      const series =
        'hoplog_records_deviated_total{deviation="put aside",cause="corrupt to the broker"}';
      expect(await server.metric(series)).toBe(missing.length);
      expect(await server.metric('hoplog_records_possibly_duplicated_total')).toBe(0);
      expect((await server.ready()).status).toBe(200);
    },
    TEST_MAX_MS,
  );

  test(
    'fault 39: garbage for answers costs the connection and nothing else',
    async () => {
      const topic = 'garbage';
      await kafka.createTopic({ name: topic, partitions: 2 });
      const random = new Random(39);
      await using proxy = await FaultProxy.start(nodesOf(kafka), { random });
      await underLoad(kafka, { topic, proxy }, async (hoplog) => {
        await hoplog.delivers(200);
        for (const garble of Object.values(GARBAGE)) {
          for (const api of [...extent([], OTHER_APIS), 'produce' as const]) {
            const where = { api, times: 1 };
            const kind = 'garbled';
            const fault = proxy.inflict(
              { kind, garble: (answer) => garble(answer, random) },
              where,
            );
            // The other two are asked for after a failure only.
            if (api !== 'produce') proxy.cut();
            await fault.strikes();
            await hoplog.delivers(100);
          }
        }
      });
    },
    TEST_MAX_MS,
  );

  test(
    'fault 40: one partition of three fails, and the others deliver all that is new',
    async () => {
      const topic = 'one-of-three';
      await kafka.createTopic({ name: topic, partitions: 3 });
      await using proxy = await FaultProxy.start(nodesOf(kafka));
      await underLoad(kafka, { topic, proxy }, async (hoplog) => {
        await hoplog.delivers(500);
        const { NOT_ENOUGH_REPLICAS: code } = CODE;
        const fault = proxy.inflict({ kind: 'refused', code }, { api: 'produce', partition: 1 });
        expect(await hoplog.readyBecomes(503)).toBe('NOT_ENOUGH_REPLICAS');
        await hoplog.goesOn(extent(4_000, 40_000));
        await hoplog.load.pause();
        // All but what the one partition had by then: no new ones went there, nor waited for it.
        const { server, oracle } = hoplog;
        const waiting = async () => oracle.issued - (await server.metric(ACKNOWLEDGED));
        await waitFor(async () => (await waiting()) <= HELD_RECORDS_MAX, {
          timeoutMs: 30_000,
          what: 'the records of the other partitions to be delivered',
        });
        process.stderr.write(`${topic}: ${await waiting()} of ${oracle.issued} records wait\n`);
        expect((await server.ready()).status).toBe(503);
        expect(await waiting()).toBeGreaterThan(0);
        expect(fault.hits).toBeGreaterThan(1);
      });
    },
    TEST_MAX_MS,
  );
});
