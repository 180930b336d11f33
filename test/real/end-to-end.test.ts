// The main job on a real Kafka: a request is answered, and its record, of whatever kind, is in the
// topic by size or by time, spread over the partitions, and nothing else is said or stored.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { join } from 'node:path';
import { describeKafka } from '../support/describe-kafka.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load, type LoadOptions } from '../support/load-client.ts';
import { NO_FAULTS, Oracle } from '../support/oracle.ts';
import { type Options, Server } from '../support/server.ts';
import { storedBatches } from '../support/stored-batches.ts';
import { patience } from '../support/patience.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;
/** Longer than any test: a record that arrives was not sent by the timer. */
const NEVER_MS = 600_000;
/** What a busy machine may add to a timer. */
const LATE_MS_MAX = 1_500;

let kafka: KafkaCluster;

/** A server on a topic and a journal of its own. */
async function startOnTopic(
  stack: AsyncDisposableStack,
  topic: string,
  partitions: number,
  options: Options = {},
) {
  await kafka.createTopic({ name: topic, partitions });
  return await startAgain(stack, topic, options);
}

async function startAgain(stack: AsyncDisposableStack, topic: string, options: Options) {
  const dir = stack.use(tempDir());
  const journal = { JOURNAL_DIR: dir.path, JOURNAL_BYTES: '64MiB' };
  const target = { KAFKA_BROKERS: kafka.brokers, KAFKA_TOPIC: topic };
  return stack.use(await Server.start({ ...journal, ...target, ...options }));
}

/** Sends load until `requests` were answered. */
async function load(server: Server, requests: number, options?: LoadOptions): Promise<Oracle> {
  const oracle = new Oracle();
  await using running = await Load.start(server.url, oracle, options);
  await waitFor(() => oracle.issued >= requests, {
    timeoutMs: 10_000,
    what: 'the load',
    intervalMs: 2,
  });
  await running.stop();
  expect(oracle.notRedirected).toEqual([]);
  return oracle;
}

async function get(url: string, init: RequestInit = {}): Promise<Response> {
  return await fetch(url, { redirect: 'manual', ...init });
}

async function valuesOf(topic: string, expected: number): Promise<string[]> {
  const records = await kafka.readTopic(topic, { expected });
  return records.map(({ value }) => value.toString());
}

describeKafka('hoplog with Kafka', () => {
  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  test(
    'RECORD=seed: topic `log` receives exactly the three fields for each request',
    async () => {
      await using stack = new AsyncDisposableStack();
      const server = await startOnTopic(stack, 'log', 3, { RECORD: 'seed' });
      const oracle = await load(server, 500, { connections: 4 });
      const expected = oracle.answeredPorts.map(
        (port) =>
          `{"runtime_param":"runtimeDataString","async_param":"asyncDataString","remote_address":"127.0.0.1:${port}"}`,
      );
      const records = await kafka.readTopic('log', { expected: expected.length });
      expect(records.map(({ value }) => value.toString()).sort()).toEqual(expected.sort());
      const extras = records.filter(({ key, headers }) => key !== null || headers.length > 0);
      expect(extras).toEqual([]);
    },
    TEST_MAX_MS,
  );

  test(
    'a record is sent when its batch is FLUSH_INTERVAL_MS old, and not before',
    async () => {
      await using stack = new AsyncDisposableStack();
      const flushIntervalMs = 700;
      const server = await startOnTopic(stack, 'timed', 1, { FLUSH_INTERVAL_MS: flushIntervalMs });
      for (let batch = 1; batch <= 3; batch++) {
        const before = await server.metric('hoplog_acknowledge_seconds_sum');
        await get(server.url);
        await waitFor(
          async () => (await server.metric('hoplog_acknowledge_seconds_count')) === batch,
          {
            timeoutMs: flushIntervalMs + 5_000,
            what: 'the acknowledgement',
          },
        );
        const ageMs = ((await server.metric('hoplog_acknowledge_seconds_sum')) - before) * 1000;
        // The record's time is whole milliseconds, and so is the timer.
        expect(ageMs).toBeGreaterThanOrEqual(flushIntervalMs - 2);
        expect(ageMs).toBeLessThan(flushIntervalMs + LATE_MS_MAX * patience());
      }
      expect(await kafka.topicEnd('timed')).toMatchObject({ total: 3 });
    },
    TEST_MAX_MS,
  );

  test(
    'under steady load no record waits longer than FLUSH_INTERVAL_MS and the way to Kafka',
    async () => {
      await using stack = new AsyncDisposableStack();
      const server = await startOnTopic(stack, 'steady', 3, { FLUSH_INTERVAL_MS: 200 });
      const oracle = await load(server, 1500, { perSecond: 1000 });
      await server.delivered();
      const metrics = await server.metrics();
      expect(metrics.get('hoplog_records_acknowledged_total')).toBe(oracle.answered());
      const inTime = metrics.get('hoplog_acknowledge_seconds_bucket{le="2"}');
      expect(inTime).toBe(metrics.get('hoplog_acknowledge_seconds_count'));
      // About one batch an interval: neither one a request nor one for all.
      expect(metrics.get('hoplog_batches_acknowledged_total')).toBeWithin(3, 12);
    },
    TEST_MAX_MS,
  );

  test(
    'a batch of BATCH_BYTES is sent at once, whatever the timer, and none is larger',
    async () => {
      await using stack = new AsyncDisposableStack();
      const options = { BATCH_BYTES: 2048, FLUSH_INTERVAL_MS: NEVER_MS };
      const server = await startOnTopic(stack, 'sized', 1, options);
      const oracle = await load(server, 200, { connections: 2 });
      // Only the batch that is still open stays behind: 2048 bytes hold fewer than ten of them.
      const records = await kafka.readTopic('sized', { expected: oracle.issued - 10 });
      const batches = storedBatches(kafka.nodes[0]!, 'sized', 0);
      expect(Math.max(...batches.map(({ bytes }) => bytes))).toBeLessThanOrEqual(2048);
      expect(Math.min(...batches.map(({ bytes }) => bytes))).toBeGreaterThan(1024);
      expect(records.length).toBeLessThan(oracle.issued + 1);
      expect(await server.stop()).toBe(0);
      expect(oracle.judge(await kafka.readTopic('sized'))).toMatchObject(NO_FAULTS);
    },
    TEST_MAX_MS,
  );

  test(
    'RECORD=click: who came, for what, when, and where they were sent',
    async () => {
      await using stack = new AsyncDisposableStack();
      const options = {
        REDIRECT_TO: 'https://example.org/x',
        REDIRECT_STATUS: 302,
        FLUSH_INTERVAL_MS: 10,
      };
      const server = await startOnTopic(stack, 'clicks', 1, options);
      const headers = {
        'User-Agent': 'Ünïcode/1 "quoted"',
        Referer: 'https://ref.test/a?b=c',
        Host: 'go.test',
      };
      // Header bytes are latin1 for fetch; as clients mean it, these are UTF-8.
      headers['User-Agent'] = Buffer.from(headers['User-Agent']).toString('latin1');
      const before = Date.now();
      const answer = await get(`${server.url}/a%20b/%E2%82%AC?q=1&q=%22`, { headers });
      await get(`${server.url}/`, { method: 'HEAD' });
      expect(answer.status).toBe(302);
      expect(answer.headers.get('Location')).toBe('https://example.org/x');
      const [first, second] = (await valuesOf('clicks', 2)).map((value) => JSON.parse(value));
      expect(first).toEqual({
        id: expect.stringMatching(/^[0-9a-f]{16}-1$/),
        time: expect.any(String),
        method: 'GET',
        host: 'go.test',
        path: '/a%20b/%E2%82%AC',
        query: 'q=1&q=%22',
        status: 302,
        location: 'https://example.org/x',
        remote_address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
        user_agent: 'Ünïcode/1 "quoted"',
        referer: 'https://ref.test/a?b=c',
        outcome: 'default',
      });
      expect(Date.parse(first.time)).toBeWithin(before, Date.now() + 1);
      expect(second).toMatchObject({ id: first.id.replace(/1$/, '2'), method: 'HEAD', query: '' });
    },
    TEST_MAX_MS,
  );

  test(
    "RECORD=path: a user's module makes the record",
    async () => {
      await using stack = new AsyncDisposableStack();
      const RECORD = join(import.meta.dir, 'record-module-fixture.ts');
      const server = await startOnTopic(stack, 'module', 1, { RECORD, FLUSH_INTERVAL_MS: 10 });
      await get(`${server.url}/?utm=spring`);
      const [value] = await valuesOf('module', 1);
      expect(JSON.parse(value!)).toEqual({
        id: expect.stringMatching(/^[0-9a-f]{16}-1$/),
        campaign: 'spring',
        status: 301,
        remoteAddress: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
        shouted: 'SPRING',
      });
    },
    TEST_MAX_MS,
  );

  test(
    'many small batches are spread evenly over the partitions',
    async () => {
      await using stack = new AsyncDisposableStack();
      const partitions = 6;
      const server = await startOnTopic(stack, 'spread', partitions, { BATCH_BYTES: 1024 });
      // Slow enough that a batch is acknowledged before the next one is sealed: under full load all
      // partitions are busy, and any choice would look even.
      await load(server, 2_400, { perSecond: 2_000 });
      expect(await server.stop()).toBe(0);
      const node = kafka.nodes[0]!;
      const counts = Array.from(
        { length: partitions },
        (_, p) => storedBatches(node, 'spread', p).length,
      );
      const mean = counts.reduce((sum, count) => sum + count) / partitions;
      expect(mean).toBeGreaterThan(100);
      // Chi-square with 5 degrees of freedom: random spread stays below this 999 times of 1000, and
      // taking turns is more even than random.
      const chiSquare = counts.reduce((sum, count) => sum + (count - mean) ** 2 / mean, 0);
      expect(chiSquare).toBeLessThan(20.5);
    },
    TEST_MAX_MS,
  );

  test(
    'KAFKA_ACKS=1 delivers without idempotence, and the start line says what that means',
    async () => {
      await using stack = new AsyncDisposableStack();
      const server = await startOnTopic(stack, 'acks', 1, {
        KAFKA_ACKS: '1',
        FLUSH_INTERVAL_MS: 10,
      });
      expect(server.lines[0]).toContain('acks=1: records may arrive twice, or be lost');
      const oracle = await load(server, 100);
      await server.delivered();
      expect(oracle.judge(await kafka.readTopic('acks'))).toMatchObject(NO_FAULTS);
      const [batch] = storedBatches(kafka.nodes[0]!, 'acks', 0);
      expect(batch!.producerId).toBe(-1n);
    },
    TEST_MAX_MS,
  );

  test(
    'a start, some work and a stop say one line each, on stderr only',
    async () => {
      await using stack = new AsyncDisposableStack();
      const server = await startOnTopic(stack, 'quiet', 3);
      expect(server.lines).toHaveLength(1);
      await load(server, 2000);
      await server.delivered();
      expect(await server.ready()).toEqual({ status: 200, reason: undefined });
      const { msg, url } = server.log[0]!;
      expect(msg).toContain(
        `answers ${url as string} with 301 to http://google.com; click records (json)`,
      );
      expect(msg).toContain(`go to Kafka topic quiet at ${kafka.brokers}`);
      expect(msg).not.toContain('acks');
      expect(await server.stop()).toBe(0);
      expect(server.log.map((line) => line.msg)).toEqual([msg, 'stopped']);
      expect(server.noise).toEqual([]);
      expect(await server.stdout).toBe('');
    },
    TEST_MAX_MS,
  );
});
