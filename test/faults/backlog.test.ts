// Faults 50 and 82: a server killed with a full journal, and started again with less memory than the
// journal is large. It serves as soon as one with an empty journal, delivers the backlog once and in
// order at full speed, and its own memory stays what it was.
// The memory limit is a control group (v1): Linux and root, else skipped.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { join } from 'node:path';
import { Cluster } from '../../src/kafka/cluster.ts';
import { TopicReader } from '../../src/kafka/topic-reader.ts';
import { describeKafka } from '../support/describe-kafka.ts';
import { extent } from '../support/extent.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { memoryLimit, memoryLimitUnavailable } from '../support/memory-limit.ts';
import { anonymousMiB } from '../support/proc.ts';
import { type Options, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const START_MAX_MS = 240_000;
const TEST_MAX_MS = 300_000;
const DRAIN_MAX_MS = 200_000;
const MIB = 2 ** 20;
const PROGRAM = join(import.meta.dir, '../support/backlog-process.ts');
const JOURNAL_BYTES = extent(192 * MIB, 1024 * MIB);
const MEMORY_BYTES = extent(128 * MIB, 256 * MIB);
/** Heap of a server that sends batches of 1 MB, five a partition; the journal is not in it. */
const ANONYMOUS_MAX_MIB = 96;
/** So many starts each: the machine is not ours alone. */
const STARTS_MIN = 2;
const STARTS_MAX = 8;
const PARTITIONS = 4;

/** Leaves a killed server's full journal; resolves with the number of its records. */
async function fillJournal(directory: string): Promise<number> {
  const command = [process.execPath, PROGRAM, directory, String(JOURNAL_BYTES)];
  const child = Bun.spawn(command, { stdin: 'ignore', stdout: 'pipe' });
  const count = Number(await child.stdout.text());
  await child.exited;
  expect(child.signalCode).toBe('SIGKILL');
  return count;
}

async function timed<Result>(task: () => Promise<Result>): Promise<{ ms: number; result: Result }> {
  const started = performance.now();
  const result = await task();
  return { ms: performance.now() - started, result };
}

describeKafka('hoplog with a backlog larger than its memory', () => {
  let kafka: KafkaCluster;
  const reason = memoryLimitUnavailable();
  if (reason !== undefined) process.stderr.write(`SKIPPED faults 50 and 82: ${reason}\n`);

  beforeAll(async () => {
    const topics = [{ name: 'backlog', partitions: PARTITIONS }];
    kafka = await startKafka({ nodes: 1, topics });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  /** From spawn to the first redirect. */
  async function start(options: Options): Promise<{ server: Server; ms: number }> {
    const limit = memoryLimit(MEMORY_BYTES);
    const { ms, result: server } = await timed(async () => {
      const starting = await Server.start(options, limit.wrapper);
      expect((await fetch(starting.url, { redirect: 'manual' })).status).toBe(301);
      return starting;
    });
    void server.exited().then(() => limit[Symbol.dispose]());
    return { server, ms };
  }

  test.skipIf(reason !== undefined)(
    'faults 50 and 82: killed at a full journal, it serves at once, delivers all once and in order, in bounded memory',
    async () => {
      using dir = tempDir();
      const full = join(dir.path, 'full');
      const records = await fillJournal(full);
      const target = { KAFKA_BROKERS: kafka.brokers, KAFKA_TOPIC: 'backlog', JOURNAL_BYTES };
      const away = { ...target, KAFKA_BROKERS: '127.0.0.1:1' };
      const startMs = { full: [] as number[], empty: [] as number[] };
      // Not 1: the newest segment is read through, and a busy machine has its moods.
      const isAsFast = () => Math.min(...startMs.full) < Math.min(...startMs.empty) * 2 + 250;
      for (let round = 0; round < STARTS_MIN || (!isAsFast() && round < STARTS_MAX); round++) {
        for (const journal of ['empty', 'full'] as const) {
          const JOURNAL_DIR = journal === 'full' ? full : join(dir.path, `empty-${round}`);
          const { server, ms } = await start({ ...away, JOURNAL_DIR });
          startMs[journal].push(ms);
          await server.kill();
        }
      }
      const [fullMs, emptyMs] = [Math.min(...startMs.full), Math.min(...startMs.empty)];

      const { server } = await start({ ...target, JOURNAL_DIR: full });
      await using _server = server;
      let anonymousMax = 0;
      const backlog = () => server.metric('hoplog_journal_backlog_bytes');
      const { ms: drainMs } = await timed(() =>
        waitFor(
          async () => {
            anonymousMax = Math.max(anonymousMax, anonymousMiB(server.pid) ?? 0);
            return (await backlog()) === 0;
          },
          { timeoutMs: DRAIN_MAX_MS, what: 'the backlog to reach Kafka' },
        ),
      );
      const seconds = drainMs / 1000;
      process.stderr.write(
        `${records} records, ${JOURNAL_BYTES / MIB} MiB with ${MEMORY_BYTES / MIB} MiB of memory: ` +
          `first redirect after ${fullMs.toFixed()} ms (empty journal: ${emptyMs.toFixed()}), ` +
          `${Math.round(records / seconds)} records/s, ` +
          `${(JOURNAL_BYTES / MIB / seconds).toFixed()} MiB/s, ` +
          `anonymous memory at most ${anonymousMax.toFixed()} MiB\n`,
      );
      expect(fullMs).toBeLessThan(emptyMs * 2 + 250);
      expect(anonymousMax).toBeLessThan(ANONYMOUS_MAX_MIB);
      await expectOnceAndInOrder(records);
      expect(await server.metric('hoplog_records_possibly_duplicated_total')).toBe(0);
      expect(await server.metric('hoplog_journal_unreadable_bytes_total')).toBe(0);
      expect(await server.stop()).toBe(0);
    },
    TEST_MAX_MS,
  );

  /** The numbers 0 to `records` - 1, each once, growing in each partition. */
  async function expectOnceAndInOrder(records: number): Promise<void> {
    const [, port = ''] = kafka.directBrokers.split(':');
    const cluster = new Cluster([{ host: '127.0.0.1', port: Number(port) }], 'hoplog-test');
    const last = new Int32Array(PARTITIONS).fill(-1);
    const times = new Uint8Array(records);
    let [disordered, clicks] = [0, 0];
    for await (const portion of new TopicReader(cluster, 'backlog').read()) {
      for (const { partition, value } of portion) {
        if (value[0] === 0x7b) {
          clicks++; // the first redirects of each start
          continue;
        }
        const number = Number.parseInt(Buffer.from(value.subarray(0, 10)).toString('latin1'), 10);
        if (number <= last[partition]!) disordered++;
        last[partition] = number;
        times[number]!++;
      }
    }
    await cluster.close();
    const notOnce = times.reduce((sum, count) => sum + (count === 1 ? 0 : 1), 0);
    expect({ notOnce, disordered }).toEqual({ notOnce: 0, disordered: 0 });
    expect(clicks).toBeLessThanOrEqual(STARTS_MAX + 1);
  }
});
