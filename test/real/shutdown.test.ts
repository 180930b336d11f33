// SIGTERM and SIGINT: what was answered is in Kafka when hoplog ends with 0, it ends in time whatever
// clients and Kafka do, and what did not get there stays in the journal and goes out at the next
// start. A second signal ends it at once, at no loss either.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { describeKafka } from '../support/describe-kafka.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { NO_FAULTS, Oracle } from '../support/oracle.ts';
import { type Options, Server } from '../support/server.ts';
import { patience } from '../support/patience.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;
/** Far above what an end takes here, far below SHUTDOWN_MS: the end did not come from the deadline. */
const PROMPT_MS = 5_000;
/** What a busy machine may add to a deadline. */
const LATE_MS_MAX = 1_500;

interface Stopped {
  readonly exitCode: number;
  readonly tookMs: number;
}

async function stop(server: Server, signal: NodeJS.Signals = 'SIGTERM'): Promise<Stopped> {
  const started = performance.now();
  const exitCode = await server.stop(signal);
  return { exitCode, tookMs: performance.now() - started };
}

/** Connections that send `head` and then wait for ever. */
async function silentSockets(url: string, count: number, head: string): Promise<Disposable> {
  const { hostname, port } = new URL(url);
  const open = () => Bun.connect({ hostname, port: Number(port), socket: { data: () => {} } });
  const sockets = await Promise.all(Array.from({ length: count }, open));
  for (const socket of sockets) socket.write(head);
  return { [Symbol.dispose]: () => sockets.forEach((socket) => socket.terminate()) };
}

describeKafka('hoplog asked to stop', () => {
  let kafka: KafkaCluster;
  const node = () => kafka.nodes[0]!;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  async function start(topic: string, dir: string, options: Options = {}): Promise<Server> {
    const target = { KAFKA_BROKERS: kafka.brokers, KAFKA_TOPIC: topic, SHUTDOWN_MS: 60_000 };
    // A timer that never comes: what arrives was flushed by the end.
    const journal = { JOURNAL_DIR: dir, JOURNAL_BYTES: '64MiB', FLUSH_INTERVAL_MS: 600_000 };
    return await Server.start({ ...target, ...journal, ...options });
  }

  async function expectAllIn(topic: string, oracle: Oracle): Promise<void> {
    const { delivered, ...faults } = oracle.judge(await kafka.readTopic(topic));
    expect(faults).toEqual(NO_FAULTS);
    expect(delivered.length).toBeGreaterThan(0);
  }

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(
      `fault 44: ${signal} while idle: exit 0 at once, and one line`,
      async () => {
        await kafka.createTopic({ name: `idle-${signal}`, partitions: 1 });
        using dir = tempDir();
        await using server = await start(`idle-${signal}`, dir.path);
        const { exitCode, tookMs } = await stop(server, signal);
        expect(exitCode).toBe(0);
        expect(tookMs).toBeLessThan(PROMPT_MS * patience());
        expect(server.log.slice(1).map(({ msg }) => msg)).toEqual(['stopped']);
        expect(server.noise).toEqual([]);
      },
      TEST_MAX_MS,
    );

    test(
      `fault 44: ${signal} under load: exit 0, and everything answered is in the topic by then`,
      async () => {
        const topic = `load-${signal}`;
        await kafka.createTopic({ name: topic, partitions: 3 });
        using dir = tempDir();
        await using server = await start(topic, dir.path);
        const oracle = new Oracle();
        await using load = await Load.start(server.url, oracle, { connections: 16, depth: 4 });
        await load.lasts(500);
        const { exitCode, tookMs } = await stop(server, signal);
        expect(exitCode).toBe(0);
        expect(tookMs).toBeLessThan(PROMPT_MS * patience());
        await waitFor(() => load.connections === 0, {
          timeoutMs: 5_000,
          what: 'the sockets to end',
        });
        expect(server.log.at(-1)!.msg).toBe('stopped');
        await expectAllIn(topic, oracle);
      },
      TEST_MAX_MS,
    );
  }

  test(
    'fault 45: SIGTERM with 500 silent keep-alive sockets: exit 0 without waiting for them',
    async () => {
      await kafka.createTopic({ name: 'silent', partitions: 1 });
      using dir = tempDir();
      await using server = await start('silent', dir.path);
      const oracle = new Oracle();
      await using load = await Load.start(server.url, oracle, { connections: 400 });
      await load.lasts(200);
      await load.pause();
      expect(load.connections).toBe(400);
      using _never = await silentSockets(server.url, 50, '');
      using _half = await silentSockets(server.url, 50, 'GET / HTTP/1.1\r\nHost: h');
      const { exitCode, tookMs } = await stop(server);
      expect(exitCode).toBe(0);
      expect(tookMs).toBeLessThan(PROMPT_MS * patience());
      await expectAllIn('silent', oracle);
    },
    TEST_MAX_MS,
  );

  test(
    'fault 44: SIGTERM while Kafka is down: exit 0 at SHUTDOWN_MS, and the backlog arrives after the next start',
    async () => {
      await kafka.createTopic({ name: 'down', partitions: 2 });
      using dir = tempDir();
      const oracle = new Oracle();
      await node().kill();
      for (const shutdownMs of [1_500, 0]) {
        await using server = await start('down', dir.path, { SHUTDOWN_MS: shutdownMs });
        await using load = await Load.start(server.url, oracle, { perSecond: 2_000 });
        await load.lasts(200);
        const { exitCode, tookMs } = await stop(server);
        expect(exitCode).toBe(0);
        expect(tookMs).toBeLessThan(shutdownMs + LATE_MS_MAX * patience());
        const { level, msg, bytes } = server.log.at(-1)!;
        expect({ level, msg }).toEqual({
          level: 'warn',
          msg: 'stopped; the journal keeps what Kafka has not confirmed',
        });
        expect(bytes).toBeGreaterThan(0);
      }
      await node().start();
      await using server = await start('down', dir.path);
      await server.delivered();
      await expectAllIn('down', oracle);
    },
    TEST_MAX_MS,
  );

  test(
    "fault 44: a second signal ends it at once with that signal's code, and nothing is lost",
    async () => {
      await kafka.createTopic({ name: 'second', partitions: 2 });
      using dir = tempDir();
      const oracle = new Oracle();
      await node().kill();
      for (const [second, code] of [
        ['SIGTERM', 143],
        ['SIGINT', 130],
      ] as const) {
        await using server = await start('second', dir.path);
        await using load = await Load.start(server.url, oracle, { perSecond: 2_000 });
        await load.lasts(200);
        server.signal('SIGTERM');
        await waitFor(async () => (await server.ready()).reason?.startsWith('shutting down'), {
          timeoutMs: 5_000,
          what: '/ready to say that it shuts down',
        });
        const { exitCode, tookMs } = await stop(server, second);
        expect(exitCode).toBe(code);
        expect(tookMs).toBeLessThan(PROMPT_MS * patience());
      }
      await node().start();
      await using server = await start('second', dir.path);
      await server.delivered();
      await expectAllIn('second', oracle);
    },
    TEST_MAX_MS,
  );
});
