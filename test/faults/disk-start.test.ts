// Faults 54, 60 and 61: the directory of the journal at the start. One that cannot be used is refused
// with one line and exit code 2; one that can be is used, and what it does not keep is said. Files that
// were copied without their zeros do not end the process on a full disk.
// Mounts need Linux and root, else skipped.

import { describe, expect, test } from 'bun:test';
import { chmodSync, chownSync, existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { disksUnavailable, loopDisk, type LoopDisk, memoryDisk } from '../support/disks.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { segmentFiles } from '../support/journals.ts';
import { Load } from '../support/load-client.ts';
import { Oracle } from '../support/oracle.ts';
import { type Options, Server, spawnHoplog } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const TEST_MAX_MS = 240_000;
const REACTION_MAX_MS = 20_000;
const MIB = 2 ** 20;
const SMALL = { JOURNAL_BYTES: '4MiB', BATCH_BYTES: 16_384, FLUSH_INTERVAL_MS: 50 };
/** Served by nobody: the journal keeps all. */
const NO_KAFKA = { KAFKA_BROKERS: '127.0.0.1:1' };
const NOBODY = 65_534;
/** Runs the command behind it as a user who owns nothing here. */
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];

const reason = disksUnavailable();
if (reason !== undefined) process.stderr.write(`SKIPPED faults 54, 60 and 61: ${reason}\n`);

/** The line it is refused with. */
async function refusal(options: Options, wrapper: readonly string[] = []): Promise<string> {
  const free = { HOST: '127.0.0.1', PORT: 0, ADMIN_PORT: 0 };
  const child = spawnHoplog([], { ...free, ...SMALL, ...options }, wrapper);
  const [stderr, exitCode] = await Promise.all([child.stderr.text(), child.exited]);
  expect(stderr).toMatch(/^hoplog: [^\n]+\n$/);
  expect(exitCode).toBe(2);
  return stderr;
}

async function serves(options: Options): Promise<Server> {
  const server = await Server.start({ ...SMALL, ...options });
  const { status } = await fetch(server.url, { redirect: 'manual' });
  expect(status).toBe(301);
  expect(await server.metric('hoplog_records_appended_total')).toBe(1);
  return server;
}

/** Takes all that is left of the disk; undone by disposing. */
function fill({ path }: LoopDisk): Disposable {
  const fillers = [32 * MIB, MIB, 65_536, 4096].flatMap((bytes) => {
    const names = Array.from({ length: 40 }, (_, index) => join(path, `filler-${bytes}-${index}`));
    const end = names.findIndex((name) => !fits(name, bytes));
    expect(end).toBeGreaterThanOrEqual(0);
    return names.slice(0, end + 1);
  });
  return { [Symbol.dispose]: () => fillers.forEach((name) => rmSync(name, { force: true })) };
}

function fits(path: string, bytes: number): boolean {
  try {
    writeFileSync(path, Buffer.alloc(bytes, 1));
    return true;
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
    return false;
  }
}

describe.skipIf(reason !== undefined)('fault 54: a disk without room', () => {
  test(
    'for the journal is refused with the figures',
    async () => {
      using disk = loopDisk({ bytes: 24 * MIB });
      const line = await refusal({ JOURNAL_DIR: disk.path, JOURNAL_BYTES: '32MiB' });
      expect(line).toMatch(
        /has \d+ MiB free, \d+ MiB too few for JOURNAL_BYTES=33554432\. Free some space/,
      );
    },
    TEST_MAX_MS,
  );

  test(
    'at all is refused with what to free',
    async () => {
      using disk = loopDisk({ bytes: 24 * MIB });
      using _full = fill(disk);
      const line = await refusal({ JOURNAL_DIR: disk.path });
      // The lock, or the room for segments: whichever fails first.
      expect(line).toMatch(/(\(SQLITE_FULL\)|0 MiB free).*\. Free some /);
    },
    TEST_MAX_MS,
  );

  test(
    'for one more file is refused with what to free',
    async () => {
      using disk = memoryDisk('size=16m,nr_inodes=1');
      const line = await refusal({ JOURNAL_DIR: join(disk.path, 'journal') });
      expect(line).toContain('(ENOSPC). Free some disk space, or name another directory');
    },
    TEST_MAX_MS,
  );
});

describe.skipIf(reason !== undefined)('fault 60: a directory', () => {
  test(
    'that is missing is made, with those above it',
    async () => {
      using dir = tempDir();
      const JOURNAL_DIR = join(dir.path, 'not', 'yet', 'there');
      await using _server = await serves({ JOURNAL_DIR });
      expect(segmentFiles(JOURNAL_DIR).length).toBeGreaterThan(0);
    },
    TEST_MAX_MS,
  );

  test(
    'of another user is refused',
    async () => {
      using dir = tempDir();
      chmodSync(dir.path, 0o755);
      const line = await refusal({ JOURNAL_DIR: dir.path }, AS_NOBODY);
      expect(line).toContain(`cannot write to JOURNAL_DIR=${dir.path} (EACCES)`);
      expect(line).toContain('give this user write access');
    },
    TEST_MAX_MS,
  );

  test(
    'with files of another user is refused, the file named',
    async () => {
      using dir = tempDir();
      await using server = await serves({ JOURNAL_DIR: dir.path, ...NO_KAFKA });
      await server.kill();
      chownSync(dir.path, NOBODY, NOBODY);
      const lock = join(dir.path, 'lock');
      chmodSync(lock, 0o600);
      const locked = await refusal({ JOURNAL_DIR: dir.path }, AS_NOBODY);
      expect(locked).toMatch(`cannot lock ${lock} `);
      expect(locked).not.toContain('in use');
      chownSync(lock, NOBODY, NOBODY);
      const opened = await refusal({ JOURNAL_DIR: dir.path }, AS_NOBODY);
      expect(opened).toContain(`cannot open ${segmentFiles(dir.path)[0]!} (EACCES)`);
    },
    TEST_MAX_MS,
  );

  test(
    'that is mounted noexec is used, and that it is a tmpfs is said',
    async () => {
      using disk = memoryDisk('size=64m,noexec');
      await using server = await serves({ JOURNAL_DIR: disk.path });
      const warnings = server.log.filter(({ level }) => level === 'warn');
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatchObject({ directory: disk.path });
      expect(warnings[0]!.msg).toContain('tmpfs');
    },
    TEST_MAX_MS,
  );

  test(
    'on a disk is not called a tmpfs',
    async () => {
      using disk = loopDisk({ bytes: 24 * MIB });
      await using server = await serves({ JOURNAL_DIR: disk.path });
      expect(server.log.filter(({ level }) => level === 'warn')).toEqual([]);
    },
    TEST_MAX_MS,
  );
});

describe.skipIf(reason !== undefined)('fault 61: a journal copied without its zeros', () => {
  const allocated = (path: string): number => statSync(path).blocks * 512;

  /** A killed server's journal with some records, every file full of holes. */
  async function sparseJournal(disk: LoopDisk, oracle: Oracle): Promise<string> {
    const [original, copy] = [join(disk.path, 'original'), join(disk.path, 'copy')];
    await using server = await Server.start({ ...SMALL, ...NO_KAFKA, JOURNAL_DIR: original });
    await using load = await Load.start(server.url, oracle, { perSecond: 4_000 });
    // Two segments and a part of the third.
    await waitFor(() => segmentFiles(original).length >= 4, {
      timeoutMs: REACTION_MAX_MS,
      what: 'segments',
    });
    await load.stop();
    await server.kill();
    const command = ['cp', '--recursive', '--sparse=always', original, copy];
    expect(Bun.spawnSync(command).exitCode).toBe(0);
    rmSync(original, { recursive: true });
    Bun.spawnSync(['sync', '--file-system', disk.path]);
    const holes = segmentFiles(copy).filter((path) => allocated(path) < statSync(path).size);
    expect(holes.length).toBeGreaterThan(1);
    return copy;
  }

  test(
    'on a full disk: no SIGBUS, what has no room is dropped and counted, the backlog stays',
    async () => {
      using disk = loopDisk({ bytes: 24 * MIB });
      const oracle = new Oracle();
      const directory = await sparseJournal(disk, oracle);
      const bytes = segmentFiles(directory).reduce((sum, path) => sum + statSync(path).size, 0);
      using _full = fill(disk);
      const options = { ...SMALL, ...NO_KAFKA, JOURNAL_BYTES: bytes, JOURNAL_DIR: directory };
      await using server = await Server.start(options);
      const kept = await server.metric('hoplog_journal_backlog_bytes');
      expect(kept).toBeGreaterThan(0);
      const after = new Oracle();
      await using load = await Load.start(server.url, after, { perSecond: 4_000 });
      await waitFor(
        async () =>
          (await server.metric('hoplog_records_dropped_total{cause="journal full"}')) > 1_000,
        {
          timeoutMs: REACTION_MAX_MS,
          what: 'records to be dropped',
        },
      );
      await load.stop();
      expect(server.ended).toBe(false);
      expect(after.answered()).toBe(after.issued);
      expect(await server.metric('hoplog_records_appended_total')).toBe(0);
      expect(await server.metric('hoplog_journal_backlog_bytes')).toBe(kept);
      expect(server.log.some(({ msg }) => msg.includes('fill the holes of'))).toBe(true);
      expect(await server.stop()).toBe(0);
    },
    TEST_MAX_MS,
  );

  test(
    'on a disk that fills up after the start: Kafka gets the backlog, once',
    async () => {
      using disk = loopDisk({ bytes: 24 * MIB });
      const oracle = new Oracle();
      const directory = await sparseJournal(disk, oracle);
      const bytes = segmentFiles(directory).reduce((sum, path) => sum + statSync(path).size, 0);
      await using fake = await FakeCluster.start();
      fake.hold();
      await using server = await Server.start({
        ...SMALL,
        KAFKA_BROKERS: fake.brokers.map(({ host, port }) => `${host}:${port}`).join(),
        KAFKA_TOPIC: fake.topic,
        JOURNAL_BYTES: bytes,
        JOURNAL_DIR: directory,
      });
      await waitFor(() => fake.held > 0, { timeoutMs: REACTION_MAX_MS, what: 'the first batch' });
      using _full = fill(disk);
      fake.release();
      await waitFor(async () => (await server.metric('hoplog_journal_backlog_bytes')) === 0, {
        timeoutMs: REACTION_MAX_MS,
        what: 'Kafka to have all',
      });
      expect(fake.values).toHaveLength(oracle.issued);
      expect(await server.stop()).toBe(0);
    },
    TEST_MAX_MS,
  );

  test(
    'with room on the disk: the newest segment is filled and written on',
    async () => {
      using disk = loopDisk({ bytes: 24 * MIB });
      const directory = await sparseJournal(disk, new Oracle());
      await using server = await serves({ ...NO_KAFKA, JOURNAL_DIR: directory });
      expect(await server.metric('hoplog_records_dropped_total{cause="journal full"}')).toBe(0);
      expect(segmentFiles(directory).every(existsSync)).toBe(true);
      expect(server.log.some(({ msg }) => msg.includes('fill the holes of'))).toBe(false);
    },
    TEST_MAX_MS,
  );
});
