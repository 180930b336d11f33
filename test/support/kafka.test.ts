// Proves the harness itself, so that a red test elsewhere means the product: what was produced comes
// back, faults do to Kafka what they say, and Kafka's own tools read what is on its disk.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CompressionCodecs, CompressionTypes, type Message, Partitioners } from 'kafkajs';
import { describeKafka } from './describe-kafka.ts';
import { consoleConsumer, dumpLogSegments, kcat } from './kafka-tools.ts';
import { type KafkaCluster, startKafka } from './kafka.ts';
import { KafkaConnection } from './kafka-wire.ts';
import type { TopicRecord } from './record-batches.ts';
import { waitFor } from './wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;

// kafkajs knows zstd by number only.
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async ({ buffer }: { buffer: Buffer }) => Bun.zstdCompressSync(buffer),
  decompress: async (buffer: Buffer) => Bun.zstdDecompressSync(buffer),
});

/** Leads nowhere: whatever the suite does gets past it. */
const PROXY = { host: 'proxy.invalid', port: 9 };

interface Batch {
  readonly topic: string;
  readonly values: readonly string[];
  readonly partition?: number;
  readonly compression?: CompressionTypes;
}

async function produce(kafka: KafkaCluster, batch: Batch): Promise<void> {
  const { topic, values, partition = 0, compression = CompressionTypes.None } = batch;
  const producer = kafka.client().producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  try {
    const messages = values.map((value) => ({ partition, value }));
    await producer.send({ topic, compression, messages });
  } finally {
    await producer.disconnect();
  }
}

function valuesOf(records: readonly TopicRecord[]): string[] {
  return records.map(({ value }) => value.toString());
}

async function failureOf(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => 'no failure',
    (error: unknown) => String(error),
  );
}

describeKafka('one Kafka node', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({
      nodes: 1,
      topics: [{ name: 'clicks', partitions: 2 }],
      advertised: [PROXY],
    });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  test(
    'records come back by partition and offset, whatever their compression',
    async () => {
      const topic = 'clicks';
      await produce(kafka, { topic, values: ['d'], partition: 1 });
      await produce(kafka, { topic, values: ['a'] });
      await produce(kafka, { topic, values: ['b'], compression: CompressionTypes.GZIP });
      await produce(kafka, { topic, values: ['c', ''], compression: CompressionTypes.ZSTD });
      const records = await kafka.readTopic(topic);
      expect(valuesOf(records)).toEqual(['a', 'b', 'c', '', 'd']);
      expect(records.map(({ partition }) => partition)).toEqual([0, 0, 0, 0, 1]);
      expect(records.map(({ offset }) => offset)).toEqual([0, 1, 2, 3, 0]);
      expect(await kafka.topicEnd(topic)).toEqual({ total: 5, partitions: [4, 1] });
    },
    TEST_MAX_MS,
  );

  test(
    'key, headers and timestamp of a record come back',
    async () => {
      await kafka.createTopic({ name: 'whole', partitions: 1 });
      const producer = kafka.client().producer({
        createPartitioner: Partitioners.DefaultPartitioner,
      });
      await producer.connect();
      const messages: Message[] = [
        { key: 'k', value: 'v', timestamp: '1700000000123', headers: { h: 'é' } },
        { value: 'w', timestamp: '1600000000123' },
      ];
      await producer.send({ topic: 'whole', messages });
      await producer.disconnect();
      const [first, second] = await kafka.readTopic('whole');
      expect(first).toEqual({
        partition: 0,
        offset: 0,
        timestamp: 1_700_000_000_123,
        key: Buffer.from('k'),
        value: Buffer.from('v'),
        headers: [{ key: 'h', value: Buffer.from('é') }],
      });
      expect(second).toMatchObject({ timestamp: 1_600_000_000_123, key: null, headers: [] });
    },
    TEST_MAX_MS,
  );

  test(
    'a reader that expects more than there is says how many it has read',
    async () => {
      await kafka.createTopic({ name: 'short', partitions: 1 });
      await produce(kafka, { topic: 'short', values: ['only'] });
      const reading = kafka.readTopic('short', { expected: 2, timeoutMs: 500 });
      expect(await failureOf(reading)).toContain('(1 records read, 2 expected)');
    },
    TEST_MAX_MS,
  );

  test(
    'a reader waits for the records it expects',
    async () => {
      await kafka.createTopic({ name: 'late', partitions: 1 });
      const reading = kafka.readTopic('late', { until: (records) => records.length === 2 });
      await produce(kafka, { topic: 'late', values: ['first'] });
      await produce(kafka, { topic: 'late', values: ['second'] });
      expect(valuesOf(await reading)).toEqual(['first', 'second']);
    },
    TEST_MAX_MS,
  );

  test(
    "Kafka's tools and kcat read the same three records",
    async () => {
      const values = ['one', 'two', 'three'];
      await kafka.createTopic({ name: 'golden', partitions: 1 });
      await produce(kafka, { topic: 'golden', values });
      const segment = join(kafka.nodes[0]!.dataDir, 'golden-0', '00000000000000000000.log');
      const dump = await dumpLogSegments(readFileSync(segment));
      expect(dump).toContain('baseOffset: 0 lastOffset: 2 count: 3');
      expect(dump).toContain('isvalid: true');
      const payloads = dump.matchAll(/payload: (.*)/g);
      expect([...payloads].map(([, value]) => value!)).toEqual(values);
      expect(await consoleConsumer(kafka, 'golden', 3)).toEqual(values);
      expect((await kcat(kafka, 'golden')) ?? values).toEqual(values);
    },
    TEST_MAX_MS,
  );

  test('clients are sent to the advertised address, the harness is not', async () => {
    expect(kafka.brokers).toBe('proxy.invalid:9');
    const node = kafka.nodes[0]!;
    using client = new KafkaConnection(node.clientPort, 1_000);
    expect((await client.metadata()).nodes).toEqual([{ id: 1, ...PROXY }]);
    const { nodes } = await node.ask((to) => to.metadata());
    expect(nodes).toEqual([{ id: 1, host: '127.0.0.1', port: node.directPort }]);
  });

  test(
    'SIGKILL and a new start keep ports and records',
    async () => {
      const [node] = kafka.nodes;
      const before = await kafka.readTopic('clicks');
      const { pid } = node!;
      await node!.kill();
      expect(node!.running).toBe(false);
      expect(() => process.kill(pid, 0)).toThrow('ESRCH');
      await node!.start();
      expect(node!.pid).not.toBe(pid);
      expect(await kafka.readTopic('clicks')).toEqual(before);
    },
    TEST_MAX_MS,
  );

  test(
    'SIGTERM and a new start keep records',
    async () => {
      const [node] = kafka.nodes;
      const before = await kafka.readTopic('clicks');
      await node!.stop();
      await node!.start();
      expect(await kafka.readTopic('clicks')).toEqual(before);
    },
    TEST_MAX_MS,
  );

  test(
    'a frozen node answers nothing until it is thawed',
    async () => {
      const [node] = kafka.nodes;
      node!.freeze();
      const asking = node!.ask((to) => to.metadata(), 300);
      expect(await failureOf(asking)).toContain('no answer');
      node!.thaw();
      expect(await kafka.topicEnd('clicks')).toEqual({ total: 5, partitions: [4, 1] });
    },
    TEST_MAX_MS,
  );

  test(
    'a node that cannot start says why',
    async () => {
      const serverProperties = { 'metric.reporters': 'no.such.Reporter' };
      const starting = startKafka({ nodes: 1, serverProperties });
      expect(await failureOf(starting)).toContain('ClassNotFoundException');
    },
    TEST_MAX_MS,
  );
});

describeKafka('three Kafka nodes', () => {
  test(
    'a partition whose leader is killed gets another one and can be read',
    async () => {
      await using kafka = await startKafka({
        nodes: 3,
        topics: [{ name: 'clicks', partitions: 1, configs: { 'min.insync.replicas': 2 } }],
      });
      using client = new KafkaConnection(kafka.nodes[1]!.clientPort, 1_000);
      const clientAddresses = (await client.metadata()).nodes;
      expect(clientAddresses.map(({ host, port }) => `${host}:${port}`).join()).toBe(kafka.brokers);
      await produce(kafka, { topic: 'clicks', values: ['before'] });
      const [before] = await kafka.describeTopic('clicks');
      expect(before!.replicas.toSorted((a, b) => a - b)).toEqual([1, 2, 3]);

      await kafka.nodes[before!.leader - 1]!.kill();
      const leader = await waitFor(
        async () => {
          const [now] = await kafka.describeTopic('clicks');
          return now!.leader !== before!.leader && now!.leader !== -1 && now!.leader;
        },
        { timeoutMs: TEST_MAX_MS, what: 'a new leader' },
      );
      expect(kafka.nodes[leader - 1]!.running).toBe(true);
      await produce(kafka, { topic: 'clicks', values: ['after'] });
      expect(valuesOf(await kafka.readTopic('clicks'))).toEqual(['before', 'after']);

      await kafka.nodes[before!.leader - 1]!.start();
      await waitFor(
        async () => (await kafka.describeTopic('clicks'))[0]!.inSyncReplicas.length === 3,
        { timeoutMs: TEST_MAX_MS, what: 'all replicas to be in sync' },
      );
    },
    START_MAX_MS,
  );
});
