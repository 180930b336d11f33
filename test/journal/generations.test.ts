// The numbers of segments' lives: none is given out twice, whatever a power cut leaves of the segments,
// because what is given out was reserved on the disk before.

import { expect, test } from 'bun:test';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Generations } from '../../src/journal/generations.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

function never(action: string, error: Error): never {
  throw new Error(action, { cause: error });
}

function reservedIn(directory: string): number {
  return Number(readFileSync(join(directory, 'generations'), 'latin1'));
}

test('a start goes on behind all that may have been given out, though no segment shows it', () => {
  using dir = tempDir();
  const first = new Generations(dir.path, [], never);
  const given = Array.from({ length: 400 }, () => first.next());
  const second = new Generations(dir.path, [{ generation: 1 }], never);
  expect(second.next()).toBeGreaterThan(given.at(-1)!);
});

test('and behind the segments that are there', () => {
  using dir = tempDir();
  expect(new Generations(dir.path, [{ generation: 70_000 }], never).next()).toBeGreaterThan(70_000);
});

test('what is given out is reserved in the file, however much it is', async () => {
  using dir = tempDir();
  const segments = Array.from({ length: 5_000 }, () => ({ generation: 1 }));
  const generations = new Generations(dir.path, segments, never);
  const given: number[] = [];
  for (let round = 0; round < 20; round++) {
    for (let left = 500; left > 0; left--) given.push(generations.next());
    expect(given.at(-1)!).toBeLessThanOrEqual(reservedIn(dir.path));
    await waitFor(() => reservedIn(dir.path) - given.at(-1)! >= 512, {
      timeoutMs: 5_000,
      what: 'the next reservation',
      intervalMs: 1,
    });
  }
  expect(given).toEqual(given.map((_, index) => given[0]! + index));
});

test.each(['', 'rubbish\n', '-5\n'])('a file that says %j is as good as none', (text) => {
  using dir = tempDir();
  writeFileSync(join(dir.path, 'generations'), text);
  expect(new Generations(dir.path, [{ generation: 9 }], never).next()).toBeGreaterThan(9 + 512);
});

test('what cannot be reserved is said, and the journal goes on', () => {
  using dir = tempDir();
  mkdirSync(join(dir.path, 'generations'));
  const said: string[] = [];
  const generations = new Generations(dir.path, [], (action) => void said.push(action));
  expect(said).toEqual([`reserve generations in ${join(dir.path, 'generations')}`]);
  expect(generations.next()).toBeGreaterThan(0);
});
