// Which cluster a journal's batches are placed in: noted before the first one is, for good, and both
// clusters while batches of the former may be left. A note that cannot be read is none, one that cannot
// be written is said.

import { expect, test } from 'bun:test';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HomeCluster } from '../../src/journal/home-cluster.ts';
import { tempDir } from '../support/temp-dir.ts';

function never(message: string): never {
  throw new Error(message);
}

function homeOf(
  directory: string,
  onWarning: (message: string) => void = never,
  backlogBytes = 0,
): HomeCluster {
  return new HomeCluster({ directory, backlogBytes }, onWarning);
}

function noteIn(directory: string): string {
  return readFileSync(join(directory, 'cluster'), 'latin1');
}

test('the first cluster is noted in one line, and the next process reads it', async () => {
  using dir = tempDir();
  const first = homeOf(dir.path);
  expect([first.isOther('a'), first.others]).toEqual([true, []]);
  await first.enter('a');
  expect(noteIn(dir.path)).toBe('a\n');
  expect(readdirSync(dir.path)).toEqual(['cluster']);
  const second = homeOf(dir.path);
  expect([second.isOther('a'), second.isOther('b'), second.others]).toEqual([false, true, []]);
});

test('another one is noted beside it until nothing is left that was placed in the first', async () => {
  using dir = tempDir();
  writeFileSync(join(dir.path, 'cluster'), 'a\n');
  const home = homeOf(dir.path);
  await home.enter('b');
  expect([noteIn(dir.path), home.others]).toEqual(['a b\n', ['a']]);
  const back = homeOf(dir.path);
  expect(back.others).toEqual(['a']);
  await back.enter('a');
  expect([noteIn(dir.path), back.others]).toEqual(['b a\n', ['b']]);
  await back.settle();
  expect([noteIn(dir.path), back.others]).toEqual(['a\n', []]);
});

test('that there is a backlog for another one is said', async () => {
  using dir = tempDir();
  const said: string[] = [];
  const home = homeOf(dir.path, (message) => void said.push(message), 1);
  await home.enter('a');
  expect(said).toEqual([]);
  await home.enter('b');
  expect(said).toHaveLength(1);
  expect(said[0]).toContain(`cluster b answers, and the journal ${dir.path} was delivered to a`);
});

test('notes that are made at once are written in their order', async () => {
  using dir = tempDir();
  const home = homeOf(dir.path);
  await Promise.all([home.enter('a'), home.enter('b'), home.settle(), home.enter('c')]);
  expect(noteIn(dir.path)).toBe('b c\n');
});

test('a cluster that does not say its id is no other one, and is not noted', async () => {
  using dir = tempDir();
  const home = homeOf(dir.path);
  await home.enter('');
  expect(readdirSync(dir.path)).toEqual([]);
  await home.enter('a');
  expect(home.isOther('')).toBe(false);
});

const DAMAGED = ['', '\n', 'a', 'a  b\n', 'a\nb\n', '\0\0\0\n', `${'x'.repeat(65)}\n`];
test.each(DAMAGED)('a file that says %j is as good as none', (text) => {
  using dir = tempDir();
  writeFileSync(join(dir.path, 'cluster'), text);
  const home = homeOf(dir.path);
  expect([home.others, home.isOther('a')]).toEqual([[], true]);
});

test('what cannot be noted is said, and the cluster is used', async () => {
  using dir = tempDir();
  mkdirSync(join(dir.path, 'cluster', 'in-the-way'), { recursive: true });
  const said: string[] = [];
  const home = homeOf(dir.path, (message) => void said.push(message));
  await home.enter('a');
  expect(said).toHaveLength(1);
  expect(said[0]).toContain(`cannot be noted in ${join(dir.path, 'cluster')}`);
  expect(home.isOther('a')).toBe(false);
});
