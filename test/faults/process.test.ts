// Faults 46, 52 and 53: hoplog's process is frozen, has no descriptor left, or does not come round for
// seconds. It goes on where it was: what was answered is in Kafka once, and nothing was sent again
// for no reason. Fault 47 is in test/real/bad-start.test.ts, 44 and 45 in test/real/shutdown.test.ts.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { REQUEST_TIMEOUT_MS } from '../../src/kafka/cluster.ts';
import { describeKafka } from '../support/describe-kafka.ts';
import { extent } from '../support/extent.ts';
import { FaultProxy, nodesOf } from '../support/fault-proxy.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { NO_FAULTS, Oracle } from '../support/oracle.ts';
import { openFiles } from '../support/proc.ts';
import { type Options, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const FREEZE_MS = extent(2_000, 60_000);
const TEST_MAX_MS = 240_000 + FREEZE_MS;
const REACTION_MAX_MS = 30_000;
const BLOCK_MS = 5_000;
const FILES_MAX = 300;
/** Never silent for the 12 s after which Bun ends a connection that has not asked for anything. */
const BUSY_CONNECTIONS = 120;
const SEGMENT_NAME = /\.segment$/;

/** Becomes the command behind it, with so many descriptors. */
const FEW_FILES = ['sh', '-c', `ulimit -n ${FILES_MAX} && exec "$@"`, 'sh'];

/** More connections than the server has descriptors for: those behind wait to be accepted. */
async function flood(url: string): Promise<Disposable> {
  const { hostname, port } = new URL(url);
  const open = () => Bun.connect({ hostname, port: Number(port), socket: { data: () => {} } });
  const sockets = await Promise.all(Array.from({ length: FILES_MAX + 40 }, open));
  return { [Symbol.dispose]: () => sockets.forEach((socket) => socket.terminate()) };
}

describeKafka('the process of hoplog in trouble', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  async function optionsFor(topic: string, journalDir: string): Promise<Options> {
    await kafka.createTopic({ name: topic, partitions: 3 });
    const target = { KAFKA_BROKERS: kafka.brokers, KAFKA_TOPIC: topic, FLUSH_INTERVAL_MS: 50 };
    return { ...target, JOURNAL_DIR: journalDir, JOURNAL_BYTES: '64MiB', BATCH_BYTES: 2_048 };
  }

  /** All that was issued was answered and is there once, and hoplog goes on without a trace. */
  async function endsWell(topic: string, server: Server, oracle: Oracle): Promise<void> {
    await server.delivered();
    const { delivered, ...faults } = oracle.judge(await kafka.readTopic(topic));
    expect(faults).toEqual(NO_FAULTS);
    expect(delivered).toHaveLength(oracle.issued);
    expect(oracle.notRedirected).toEqual([]);
    for (const name of ['dropped_total{cause="journal full"}', 'possibly_duplicated_total']) {
      expect(await server.metric(`hoplog_records_${name}`)).toBe(0);
    }
    expect((await server.ready()).status).toBe(200);
    expect(await server.stop()).toBe(0);
    expect(server.noise).toEqual([]);
    expect(server.log.filter(({ level }) => level === 'error')).toEqual([]);
    expect(server.log.at(-1)!.msg).toBe('stopped');
  }

  test(
    `fault 46: hoplog is frozen for ${FREEZE_MS / 1_000} s and goes on where it was`,
    async () => {
      using dir = tempDir();
      const topic = 'frozen';
      await using server = await Server.start(await optionsFor(topic, dir.path));
      const oracle = new Oracle();
      await using load = await Load.start(server.url, oracle, { perSecond: 4_000 });
      await load.lasts(300);
      const failures = await server.failures();
      server.signal('SIGSTOP');
      const frozenAtMs = load.lastedMs;
      await load.lasts(frozenAtMs + FREEZE_MS);
      server.signal('SIGCONT');
      await load.lasts(frozenAtMs + FREEZE_MS + 500);
      await load.stop();
      expect(load.interrupted).toBe(0);
      expect(load.slowestMs).toBeGreaterThan(FREEZE_MS - 100);
      // What was on its way for longer than its time-out is asked for, and may be found or sent again.
      if (FREEZE_MS < REQUEST_TIMEOUT_MS) {
        expect(await server.failures()).toBe(failures);
      }
      await endsWell(topic, server, oracle);
    },
    TEST_MAX_MS,
  );

  test(
    'fault 53: the event loop is blocked for 5 s: nothing is lost, and nothing sent twice',
    async () => {
      using dir = tempDir();
      const topic = 'blocked';
      await using server = await Server.start({
        ...(await optionsFor(topic, dir.path)),
        RECORD: join(import.meta.dir, 'blocking-record-fixture.ts'),
        BLOCK_MS,
      });
      const oracle = new Oracle();
      await using load = await Load.start(server.url, oracle, { perSecond: 4_000 });
      await load.lasts(300);
      const failures = await server.failures();
      server.signal('SIGUSR2');
      await waitFor(() => load.slowestMs >= BLOCK_MS - 100, {
        timeoutMs: REACTION_MAX_MS,
        what: 'the block to be over',
      });
      await load.lasts(load.lastedMs + 500);
      await load.stop();
      expect(load.interrupted).toBe(0);
      expect(await server.failures()).toBe(failures);
      await endsWell(topic, server, oracle);
    },
    TEST_MAX_MS,
  );

  test(
    'fault 52: no descriptor is left: who has a connection is served, the journal grows, and all recovers',
    async () => {
      using dir = tempDir();
      const topic = 'descriptors';
      await using proxy = await FaultProxy.start(nodesOf(kafka));
      const options = { ...(await optionsFor(topic, dir.path)), KAFKA_BROKERS: proxy.brokers };
      await using server = await Server.start({ ...options, JOURNAL_BYTES: '8MiB' }, FEW_FILES);
      const segments = () => readdirSync(dir.path).filter((name) => SEGMENT_NAME.test(name)).length;
      const oracle = new Oracle();
      await using load = await Load.start(server.url, oracle, {
        connections: BUSY_CONNECTIONS,
        perSecond: 3_000,
      });
      await load.lasts(300);
      {
        using _sockets = await flood(server.url);
        await waitFor(() => openFiles(server.pid) === FILES_MAX, {
          timeoutMs: REACTION_MAX_MS,
          what: 'the last descriptor to be taken',
        });
        // Of Kafka nothing comes while the connection stands: the backlog needs files.
        const before = segments();
        const silence = proxy.blackHole();
        await waitFor(() => segments() >= before + 10, {
          timeoutMs: REACTION_MAX_MS,
          what: 'the journal to grow',
        });
        await silence.heal();
        // And the connection breaks. The next client has its descriptor before Kafka has it back.
        proxy.cut();
        await load.lasts(load.lastedMs + 1_000);
        await waitFor(() => openFiles(server.pid) === FILES_MAX, {
          timeoutMs: REACTION_MAX_MS,
          what: 'the last descriptor to be taken again',
        });
      }
      await load.stop();
      expect(load.interrupted).toBe(0);
      await using fresh = await Load.start(server.url, oracle, { perSecond: 1_000 });
      await fresh.lasts(50);
      await fresh.stop();
      await endsWell(topic, server, oracle);
    },
    TEST_MAX_MS,
  );
});
