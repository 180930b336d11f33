// doctor's steps about the journal: what is well, and each way in which it is not (read-only, in memory,
// too small, too full) with its advice; a running server is no fault, and nothing is left behind.

import { expect, setDefaultTimeout, test } from 'bun:test';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { disksUnavailable, memoryDisk } from '../../support/disks.ts';
import { diagnose, expectFailure, findingOf, stepsThat } from '../../support/doctor.ts';
import { Server } from '../../support/server.ts';
import { tempDir } from '../../support/temp-dir.ts';

setDefaultTimeout(30_000);

const SMALL = { JOURNAL_BYTES: '4MiB', BATCH_BYTES: 16_384 };
const reason = disksUnavailable();
if (reason !== undefined) process.stderr.write(`SKIPPED doctor on other disks: ${reason}\n`);

test('all is well: only the journal without KAFKA_BROKERS, and no file is left behind', async () => {
  using dir = tempDir();
  const diagnosis = await diagnose({ ...SMALL, JOURNAL_DIR: dir.path });
  expect(diagnosis.exitCode).toBe(0);
  expect(diagnosis.findings.map(({ step }) => step)).toEqual([
    'journal directory',
    'file system',
    'free space',
    'fdatasync',
    'lock',
    'journal size',
    'open files',
  ]);
  expect(stepsThat(diagnosis, 'skipped')).toEqual([]);
  expect(readdirSync(dir.path)).toEqual([]);
});

test('a directory that is not there yet is not made', async () => {
  using dir = tempDir();
  const directory = join(dir.path, 'a', 'b');
  const diagnosis = await diagnose({ ...SMALL, JOURNAL_DIR: directory });
  expect(diagnosis.exitCode).toBe(0);
  expect(findingOf(diagnosis, 'journal directory').what).toContain('is not there yet');
  expect(existsSync(join(dir.path, 'a'))).toBe(false);
});

test('a file in its place', async () => {
  using dir = tempDir();
  const path = join(dir.path, 'file');
  writeFileSync(path, '');
  const diagnosis = await diagnose({ ...SMALL, JOURNAL_DIR: path });
  expectFailure(diagnosis, 'journal directory', 'is no directory', 'another JOURNAL_DIR');
  expect(stepsThat(diagnosis, 'skipped')).toEqual(['file system', 'free space', 'fdatasync']);
});

test('a running server has the lock, is no fault, and is not disturbed', async () => {
  using dir = tempDir();
  const options = { ...SMALL, JOURNAL_DIR: dir.path };
  await using server = await Server.start(options);
  const diagnosis = await diagnose(options);
  expect(diagnosis.exitCode).toBe(0);
  expect(findingOf(diagnosis, 'lock').what).toBe(`a server has it (process ${server.pid})`);
  expect(await server.stop()).toBe(0);
  expect(findingOf(await diagnose(options), 'lock').what).toBe('free');
});

test('more than the disk has', async () => {
  using dir = tempDir();
  const diagnosis = await diagnose({ JOURNAL_DIR: dir.path, JOURNAL_BYTES: '16TiB' });
  expectFailure(diagnosis, 'free space', 'MiB free', 'a smaller JOURNAL_BYTES');
});

test('a share of a worker that does not hold three segments', async () => {
  using dir = tempDir();
  const diagnosis = await diagnose({ JOURNAL_DIR: dir.path, JOURNAL_BYTES: '4MiB', WORKERS: 2 });
  expect(stepsThat(diagnosis, 'failed')).toContain('journal size');
  expect(findingOf(diagnosis, 'journal size').advice).toContain('Set JOURNAL_BYTES');
});

test.skipIf(reason !== undefined)(
  'too little for the journal of a new worker, beside one that has served',
  async () => {
    using disk = memoryDisk('size=16m');
    const served = { ...SMALL, JOURNAL_DIR: disk.path };
    await using server = await Server.start(served);
    expect(await server.stop()).toBe(0);
    const alone = await diagnose({ ...served, JOURNAL_BYTES: '40MiB' });
    expect(stepsThat(alone, 'failed')).toEqual([]);
    expect(stepsThat(alone, 'warning')).toContain('free space');
    const crew = await diagnose({ ...served, JOURNAL_BYTES: '40MiB', WORKERS: 2 });
    expectFailure(crew, 'free space', 'MiB free', 'a smaller JOURNAL_BYTES');
  },
);

test.skipIf(reason !== undefined)('a tmpfs is a warning, a read-only one a failure', async () => {
  {
    using disk = memoryDisk('size=16m');
    const diagnosis = await diagnose({ ...SMALL, JOURNAL_DIR: disk.path });
    expect(diagnosis.exitCode).toBe(0);
    expect(stepsThat(diagnosis, 'warning')).toEqual(['file system']);
    expect(findingOf(diagnosis, 'file system').meaning).toContain('power cut');
  }
  using disk = memoryDisk('size=16m,ro');
  const diagnosis = await diagnose({ ...SMALL, JOURNAL_DIR: disk.path });
  expectFailure(diagnosis, 'journal directory', 'EROFS', 'mount it for writing');
});

test('a limit of open files below what a full journal needs', async () => {
  using dir = tempDir();
  const command = ['sh', '-c', 'ulimit -n 150; exec "$0" "$@"', process.execPath];
  const options = { ...SMALL, JOURNAL_DIR: dir.path, PATH: process.env['PATH'] ?? '' };
  const child = Bun.spawn([...command, 'run', 'src/server.ts', 'doctor'], {
    cwd: join(import.meta.dir, '../../..'),
    env: Object.fromEntries(Object.entries(options).map(([key, value]) => [key, String(value)])),
  });
  const stdout = await child.stdout.text();
  expect(stdout).toContain('✗ open files: 150 for each process');
  expect(stdout).toContain('to do: raise it (ulimit -n, LimitNOFILE) to ');
  expect(await child.exited).toBe(1);
});
