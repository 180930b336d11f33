// Several workers on one port, on a real Kafka, judged by the oracle: a worker or the supervisor killed
// under load, all replaced under load without a visitor noticing, journals that a start with other
// WORKERS leaves behind, stops in every way, and one admin port that speaks for all.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describeKafka } from '../support/describe-kafka.ts';
import { extent } from '../support/extent.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { NO_FAULTS, Oracle } from '../support/oracle.ts';
import { type Options, runHoplog, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { Visitors } from '../support/visitors.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 240_000;
const REACTION_MAX_MS = 30_000;

/** Pids of the workers, by what /proc says of their parents. */
function workersOf(server: Server): number[] {
  const children = readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8');
  return children.trim().split(' ').filter(Boolean).map(Number);
}

interface Pids {
  readonly first: number;
  readonly supervisor: number;
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** A process that has ended and not been waited for has no descriptors left. */
function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && descriptorsOf(pid) > 0;
}

function descriptorsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}

async function kill(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await eventually('a killed worker to be gone', () => !isAlive(pid));
}

async function eventually(what: string, condition: () => unknown): Promise<void> {
  await waitFor(condition, { timeoutMs: REACTION_MAX_MS, what });
}

function segmentsIn(root: string): string[] {
  return [...new Bun.Glob('**/*.segment').scanSync({ cwd: root })].toSorted();
}

describeKafka('several workers', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  function start(topic: string, dir: string, options: Options = {}): Promise<Server> {
    return Server.start({
      KAFKA_BROKERS: kafka.brokers,
      KAFKA_TOPIC: topic,
      JOURNAL_DIR: dir,
      // A survivor has all of the load: nothing may be dropped.
      JOURNAL_BYTES: '256MiB',
      BATCH_BYTES: 4_096,
      FLUSH_INTERVAL_MS: 50,
      WORKERS: 2,
      ...options,
    });
  }

  async function expectAllIn(topic: string, oracle: Oracle): Promise<void> {
    const { delivered, ...faults } = oracle.judge(await kafka.readTopic(topic));
    expect(faults).toEqual(NO_FAULTS);
    expect(delivered.length).toBeGreaterThanOrEqual(oracle.answered());
    expect(oracle.answered()).toBeGreaterThan(0);
  }

  test(
    'fault 48: a worker killed under load is started again, siblings serve, nothing is lost or doubled',
    async () => {
      await kafka.createTopic({ name: 'killed', partitions: 3 });
      using dir = tempDir();
      await using server = await start('killed', dir.path);
      const oracle = new Oracle();
      const visitors = new Visitors(server.url, oracle, {
        visitors: 12,
        perConnection: 20,
        pauseMs: 10,
      });
      for (let kills = 1; kills <= extent(1, 6); kills++) {
        const before = oracle.answered();
        await eventually('load', () => oracle.answered() > before + 300);
        const [victim = 0] = workersOf(server);
        process.kill(victim, 'SIGKILL');
        await eventually('the worker to be gone', () => !workersOf(server).includes(victim));
        const since = oracle.answered();
        await eventually('its sibling to answer', () => oracle.answered() > since + 200);
        await eventually('a successor', async () => (await server.metric('hoplog_workers')) === 2);
        expect(await server.metric('hoplog_worker_restarts_total')).toBe(kills);
      }
      await visitors.stop();
      await server.delivered();
      await eventually('orphans to be delivered', async () => {
        return (await kafka.readTopic('killed')).length >= oracle.answered();
      });
      await expectAllIn('killed', oracle);
      expect(await server.metric('hoplog_records_possibly_duplicated_total')).toBe(0);
      expect(await server.stop()).toBe(0);
    },
    extent(TEST_MAX_MS, 10 * TEST_MAX_MS),
  );

  test(
    'SIGUSR2 replaces all workers, and no visitor notices: new connections and keep-alive ones',
    async () => {
      await kafka.createTopic({ name: 'replaced', partitions: 3 });
      using dir = tempDir();
      await using server = await start('replaced', dir.path);
      const oracle = new Oracle();
      const fleeting = new Visitors(server.url, oracle, { visitors: 12 });
      const lasting = new Visitors(server.url, oracle, { perConnection: Infinity, pauseMs: 5 });
      await eventually('load', () => oracle.answered() > 200);
      for (let turn = 1; turn <= extent(1, 10); turn++) {
        const before = workersOf(server);
        server.signal('SIGUSR2');
        const ends = () => server.log.filter(({ msg }) => msg === 'all workers are replaced');
        await eventually('the replacement', () => ends().length === turn);
        await eventually('the former workers to end', () => !before.some(isAlive));
        await eventually('two workers', () => workersOf(server).length === 2);
      }
      const since = oracle.answered();
      await eventually('answers of the new workers', () => oracle.answered() > since + 200);
      await Promise.all([fleeting.stop(), lasting.stop()]);
      expect([...fleeting.broken, ...lasting.broken]).toEqual([]);
      expect(oracle.notRedirected).toEqual([]);
      // Keep-alive connections were asked to end, and none lives for ever.
      expect(lasting.closes).toBeGreaterThan(0);
      await server.delivered();
      await expectAllIn('replaced', oracle);
      expect(
        await server.metric('hoplog_http_requests_total{status="301",outcome="default"}'),
      ).toBe(oracle.answered());
      expect(await server.metric('hoplog_worker_restarts_total')).toBe(0);
      expect(await server.stop()).toBe(0);
      expect(server.noise).toEqual([]);
      expect(server.log.filter(({ level }) => level !== 'info')).toEqual([]);
    },
    extent(TEST_MAX_MS, 10 * TEST_MAX_MS),
  );

  test(
    'the supervisor killed: its workers deliver and end, and the next start finds nothing missing',
    async () => {
      await kafka.createTopic({ name: 'headless', partitions: 2 });
      using dir = tempDir();
      const oracle = new Oracle();
      await using server = await start('headless', dir.path);
      await using load = await Load.start(server.url, oracle, { perSecond: 2_000 });
      await load.lasts(300);
      const workers = workersOf(server);
      expect(workers).toHaveLength(2);
      process.kill(server.pid, 'SIGKILL');
      await eventually('the workers to end', () => !workers.some(isAlive));
      await expectAllIn('headless', oracle);
    },
    TEST_MAX_MS,
  );

  test(
    'what one start leaves is delivered by the next one, whatever WORKERS is then',
    async () => {
      await kafka.createTopic({ name: 'moved', partitions: 2 });
      using dir = tempDir();
      const oracle = new Oracle();
      for (const workers of [3, 1, 2]) {
        // Nobody is there: all that is recorded stays behind.
        const nowhere = { KAFKA_BROKERS: '127.0.0.1:1', WORKERS: workers };
        await using server = await start('moved', dir.path, nowhere);
        const visitors = new Visitors(server.url, oracle, { visitors: 12, perConnection: 5 });
        const before = oracle.answered();
        await eventually('load', () => oracle.answered() > before + 300);
        await visitors.stop();
        await Promise.all([server.pid, ...workersOf(server)].map(kill));
      }
      await using server = await start('moved', dir.path, { WORKERS: 1 });
      await eventually('all journals to be empty', async () => {
        return (await kafka.readTopic('moved')).length >= oracle.answered();
      });
      await expectAllIn('moved', oracle);
      await eventually('their files to be removed', () => {
        return !segmentsIn(dir.path).some((path) => path.startsWith('worker-'));
      });
      expect(server.log.some(({ msg }) => msg.startsWith('took over a journal'))).toBe(true);
      expect(await server.metric('hoplog_records_possibly_duplicated_total')).toBe(0);
    },
    TEST_MAX_MS,
  );

  for (const signal of extent(['SIGTERM'] as const, ['SIGTERM', 'SIGINT'] as const)) {
    test(
      `${signal} under load: exit 0, everything answered is in the topic by then`,
      async () => {
        await kafka.createTopic({ name: `stopped-${signal}`, partitions: 2 });
        using dir = tempDir();
        await using server = await start(`stopped-${signal}`, dir.path);
        const oracle = new Oracle();
        await using load = await Load.start(server.url, oracle, { connections: 16 });
        await load.lasts(300);
        expect(await server.stop(signal)).toBe(0);
        await expectAllIn(`stopped-${signal}`, oracle);
        expect(server.log.at(-1)!.msg).toBe('all workers have stopped');
      },
      TEST_MAX_MS,
    );
  }
});

describe('without Kafka', () => {
  const LOCAL = { WORKERS: 2, JOURNAL_BYTES: '64MiB' };

  test(
    'each worker logs its number; load is spread; tail reads all journals',
    async () => {
      using dir = tempDir();
      const options = { ...LOCAL, JOURNAL_DIR: dir.path };
      await using server = await Server.start(options);
      const oracle = new Oracle();
      const visitors = new Visitors(server.url, oracle, { visitors: 8 });
      await eventually('load', () => oracle.answered() > 400);
      await visitors.stop();
      const counts = await Promise.all(
        ['worker-1', 'worker-2'].map(async (name) => {
          const { stdout } = await runHoplog(['tail'], { JOURNAL_DIR: join(dir.path, name) });
          return stdout.trim().split('\n').length;
        }),
      );
      expect(Math.min(...counts)).toBeGreaterThan(100);
      const { stdout } = await runHoplog(['tail'], { JOURNAL_DIR: dir.path });
      expect(stdout.trim().split('\n')).toHaveLength(oracle.answered());
      expect(await server.metric('hoplog_records_appended_total')).toBe(oracle.answered());
      expect(await server.ready()).toEqual({ status: 200, reason: undefined });
      expect(await server.stop()).toBe(0);
      const stopped = server.log.filter(({ msg }) => msg === 'stopped');
      expect(new Set(stopped.map(({ worker }) => worker))).toEqual(new Set([1, 2]));
      expect(server.noise).toEqual([]);
    },
    TEST_MAX_MS,
  );

  test(
    'a second signal ends all at once, with that signal’s code',
    async () => {
      using dir = tempDir();
      const options = { ...LOCAL, JOURNAL_DIR: dir.path, SHUTDOWN_MS: 60_000 };
      await using server = await Server.start(options);
      const workers = workersOf(server);
      // A stopped worker cannot end in order.
      for (const pid of workers) process.kill(pid, 'SIGSTOP');
      server.signal('SIGTERM');
      await eventually('the stop', async () => (await server.ready()).reason === 'shutting down');
      expect(await server.stop('SIGINT')).toBe(130);
      expect(workers.filter(isAlive)).toEqual([]);
    },
    TEST_MAX_MS,
  );

  test(
    'a worker that does not answer makes the crew unready, in words',
    async () => {
      using dir = tempDir();
      await using server = await Server.start({ ...LOCAL, JOURNAL_DIR: dir.path });
      const [pid = 0] = workersOf(server);
      process.kill(pid, 'SIGSTOP');
      const { status, reason } = await server.ready();
      expect([status, reason]).toEqual([503, 'worker 1: does not answer']);
      process.kill(pid, 'SIGCONT');
      await eventually('the crew to be ready', async () => (await server.ready()).status === 200);
    },
    TEST_MAX_MS,
  );

  test(
    'SIGUSR2 with a worker that is being restarted replaces that one, too',
    async () => {
      using dir = tempDir();
      await using server = await Server.start({ ...LOCAL, JOURNAL_DIR: dir.path });
      const before = workersOf(server);
      await kill(before[1]!);
      server.signal('SIGUSR2');
      const done = () => server.log.some(({ msg }) => msg === 'all workers are replaced');
      await eventually('the replacement', done);
      await eventually('the former workers to end', () => !before.some(isAlive));
      await eventually('two workers', () => workersOf(server).length === 2);
      expect(await server.metric('hoplog_workers')).toBe(2);
    },
    TEST_MAX_MS,
  );

  for (const [what, happens] of [
    ['the first one is killed', ({ first }) => kill(first)],
    ['SIGHUP comes', ({ supervisor }) => void process.kill(supervisor, 'SIGHUP')],
  ] satisfies [string, (pids: Pids) => unknown][]) {
    test(
      `while the second worker starts, ${what}: both serve in the end`,
      async () => {
        using dir = tempDir();
        using gate = tempDir();
        const starting = Server.start({
          ...LOCAL,
          JOURNAL_DIR: dir.path,
          RECORD: `${import.meta.dir}/slow-worker-fixture.ts`,
          GATE: gate.path,
        });
        // What it throws is thrown below.
        starting.catch(() => {});
        await eventually('the second worker', () => existsSync(join(gate.path, 'worker-2')));
        const first = Number(readFileSync(join(gate.path, 'worker-1'), 'utf8'));
        await happens({ first, supervisor: parentOf(first) });
        writeFileSync(join(gate.path, 'open'), '');
        await using server = await starting;
        await eventually('both', async () => (await server.metric('hoplog_workers')) === 2);
        expect(await server.stop()).toBe(0);
      },
      TEST_MAX_MS,
    );
  }

  test(
    'no process can be had for a worker that ended: its sibling serves on, and then it is started',
    async () => {
      using dir = tempDir();
      using programs = tempDir();
      const [program, away] = ['bun', 'away'].map((name) => join(programs.path, name)) as [
        string,
        string,
      ];
      copyFileSync(process.execPath, program);
      // Instead of the command behind it.
      const command = `exec setpriv --pdeathsig KILL ${program} run src/server.ts`;
      const options = { ...LOCAL, JOURNAL_DIR: dir.path };
      await using server = await Server.start(options, ['sh', '-c', command]);
      const [victim = 0] = workersOf(server);
      renameSync(program, away);
      await kill(victim);
      const refusals = () => server.log.filter(({ reason }) => /ENOENT/.test(String(reason)));
      await eventually('two tries', () => refusals().length >= 2);
      server.signal('SIGUSR2');
      const isSaid = () => server.log.some(({ msg }) => msg === 'a new worker gets no process');
      await eventually('a replacement to be given up', isSaid);
      expect((await fetch(server.url, { redirect: 'manual' })).status).toBe(301);
      renameSync(away, program);
      await eventually('both', async () => (await server.metric('hoplog_workers')) === 2);
      expect(await server.stop()).toBe(0);
    },
    TEST_MAX_MS,
  );

  test(
    'what no worker can do is said once, with exit code 2',
    async () => {
      using dir = tempDir();
      for (const [options, reason] of [
        [{ RECORD: './no-such-module.ts' }, 'no-such-module.ts'],
        [{ JOURNAL_BYTES: '4MiB' }, '2 workers share JOURNAL_BYTES=4194304'],
      ] as const) {
        const { exitCode, stderr } = await runHoplog([], {
          ...LOCAL,
          HOST: '127.0.0.1',
          PORT: 0,
          ADMIN_PORT: 0,
          JOURNAL_DIR: dir.path,
          ...options,
        });
        expect(exitCode).toBe(2);
        expect(stderr).toContain(reason);
        expect(stderr).toMatch(/^hoplog: [^\n]+\n$/);
      }
    },
    TEST_MAX_MS,
  );

  test(
    'a second server on the port, or on JOURNAL_DIR, is refused',
    async () => {
      using dir = tempDir();
      using other = tempDir();
      await using server = await Server.start({ ...LOCAL, JOURNAL_DIR: dir.path });
      const { port } = new URL(server.url);
      const at = { ...LOCAL, HOST: '127.0.0.1', ADMIN_PORT: 0 };
      for (const workers of [1, 2]) {
        const onPort = { ...at, WORKERS: workers, PORT: port, JOURNAL_DIR: other.path };
        const portTaken = await runHoplog([], onPort);
        expect([portTaken.exitCode, portTaken.stderr]).toEqual([
          2,
          expect.stringContaining('is taken'),
        ]);
        const onJournal = { ...at, WORKERS: workers, PORT: 0, JOURNAL_DIR: dir.path };
        const journalTaken = await runHoplog([], onJournal);
        expect([journalTaken.exitCode, journalTaken.stderr]).toEqual([
          2,
          expect.stringContaining(`is in use by another hoplog (process ${server.pid})`),
        ]);
      }
    },
    TEST_MAX_MS,
  );
});
