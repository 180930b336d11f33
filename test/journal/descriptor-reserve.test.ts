// Fault 52, seen from the journal: no descriptor is left, as when clients hold them all. What the journal
// may come to need was laid aside at its start, so it grows to its full size all the same; where that
// cannot be laid aside it is not opened. Runs in processes of their own, with few descriptors.

import { expect, test } from 'bun:test';
import { openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DescriptorReserve } from '../../src/journal/descriptor-reserve.ts';
import { openFiles } from '../support/proc.ts';
import { tempDir } from '../support/temp-dir.ts';

const PROGRAM = join(import.meta.dir, 'no-descriptors-fixture.ts');
/** 500 bytes each: some 30 segments. */
const RECORDS = 4_000;

async function runWith(descriptors: number, directory: string) {
  const command = ['sh', '-c', `ulimit -n ${descriptors} && exec "$@"`, 'sh'];
  const child = Bun.spawn([...command, process.execPath, PROGRAM, directory, String(RECORDS)], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr, exitCode: await child.exited };
}

test('fault 52: with no descriptor left the journal grows on, and loses nothing', async () => {
  using dir = tempDir();
  const { stdout, stderr } = await runWith(120, dir.path);
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toEqual({ results: { appended: RECORDS }, errors: [] });
  const segments = readdirSync(dir.path).filter((name) => name.endsWith('.segment'));
  expect(segments.length).toBeGreaterThan(25);
});

test('what is laid aside is given back when less is needed', () => {
  using reserve = new DescriptorReserve();
  const before = openFiles(process.pid) ?? 0;
  expect(reserve.hold(20)).toBe(true);
  expect(openFiles(process.pid) ?? 20).toBe(before + 20);
  expect(reserve.hold(5)).toBe(true);
  expect(openFiles(process.pid) ?? 5).toBe(before + 5);
  expect(reserve.open(() => 'as always')).toBe('as always');
  expect(openFiles(process.pid) ?? 5).toBe(before + 5);
});

test('a failure for another reason costs no descriptor', () => {
  using reserve = new DescriptorReserve();
  reserve.hold(1);
  const before = openFiles(process.pid);
  expect(() => reserve.open(() => openSync('/no-such-file', 'r'))).toThrow('ENOENT');
  expect(openFiles(process.pid)).toBe(before);
});

test('a process with too few descriptors for its journal is told so', async () => {
  using dir = tempDir();
  const { stderr, exitCode } = await runWith(60, dir.path);
  expect(exitCode).not.toBe(0);
  expect(stderr).toContain('JournalUnusable');
  expect(stderr).toContain('Raise the limit of open files');
});
