// The files that keep what no broker takes: whole or not there, in Kafka's format under names that Kafka's
// tools take, within their bound, never over one another, and with room again once a human made some.

import { expect, spyOn, test } from 'bun:test';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Quarantine, QuarantineFull } from '../../src/kafka/quarantine.ts';
import { failureOf } from '../support/failure-of.ts';
import { readBatches, type TopicRecord } from '../support/record-batches.ts';
import { batchOf } from '../support/sealed-batch.ts';
import { tempDir } from '../support/temp-dir.ts';

/** What the files hold, read as a broker's log. */
function valuesIn(directory: string): string[] {
  const records: TopicRecord[] = [];
  for (const name of readdirSync(directory).toSorted()) {
    readBatches(readFileSync(join(directory, name)), 0, 0, records);
  }
  return records.map(({ value }) => value.toString());
}

test('each batch is a file of its own, numbered on by its records as Kafka would', async () => {
  using dir = tempDir();
  const directory = join(dir.path, 'quarantine');
  const quarantine = new Quarantine(directory, 10_000);
  const files = [
    await quarantine.put(batchOf(['a', 'b', 'c'])),
    await quarantine.put(batchOf(['d'])),
    await quarantine.put(batchOf(['e'])),
  ];
  expect(files.map((file) => Number(file.slice(-24, -4)))).toEqual([0, 3, 4]);
  expect(readdirSync(directory)).toHaveLength(3);
  expect(valuesIn(directory)).toEqual(['a', 'b', 'c', 'd', 'e']);
  const [, second] = files;
  expect(readFileSync(second!).readBigInt64BE(0)).toBe(3n);
});

test('the notes of the journal in front of a batch are not handed on', async () => {
  using dir = tempDir();
  const batch = batchOf(['a']);
  batch.fill(0x77, 0, 8);
  batch.fill(0x77, 12, 16);
  const file = readFileSync(await new Quarantine(dir.path, 10_000).put(batch));
  expect([file.readBigInt64BE(0), file.readInt32BE(12)]).toEqual([0n, -1]);
  expect(batch[0]).toBe(0x77);
});

test('puts at the same time do not meet', async () => {
  using dir = tempDir();
  const quarantine = new Quarantine(dir.path, 100_000);
  const values = Array.from({ length: 20 }, (_, index) => `${index}`);
  const files = await Promise.all(values.map((value) => quarantine.put(batchOf([value]))));
  expect(new Set(files).size).toBe(20);
  expect(valuesIn(dir.path)).toEqual(values);
});

test('a restart goes on behind the files there are, whatever else lies there', async () => {
  using dir = tempDir();
  await new Quarantine(dir.path, 10_000).put(batchOf(['a', 'b']));
  writeFileSync(join(dir.path, '00000000000000000009.log.new'), 'half of one');
  const file = await new Quarantine(dir.path, 10_000).put(batchOf(['c']));
  expect(Number(file.slice(-24, -4))).toBe(2);
});

test('it is full before its bound is passed, says so, and takes again once there is room', async () => {
  using dir = tempDir();
  const batch = batchOf(['x'.repeat(400)]);
  const quarantine = new Quarantine(dir.path, 3 * batch.length);
  const files: string[] = [];
  for (let put = 0; put < 3; put++) files.push(await quarantine.put(batch));
  const failure = await failureOf(quarantine.put(batch));
  expect(failure).toBeInstanceOf(QuarantineFull);
  expect(failure.message).toContain('move its files away');
  expect(readdirSync(dir.path)).toHaveLength(3);
  unlinkSync(files[0]!);
  expect(Number((await quarantine.put(batch)).slice(-24, -4))).toBe(3);
});

test('two processes on one directory keep its bound together', async () => {
  using dir = tempDir();
  const batch = batchOf(['x'.repeat(400)]);
  const two = [1, 2].map(() => new Quarantine(dir.path, 4 * batch.length));
  for (const quarantine of [...two, ...two]) await quarantine.put(batch);
  for (const quarantine of two) {
    expect(await failureOf(quarantine.put(batch))).toBeInstanceOf(QuarantineFull);
  }
  expect(readdirSync(dir.path)).toHaveLength(4);
});

test('a put is over once the disk has the name of the file, too', async () => {
  using dir = tempDir();
  const directory = join(dir.path, 'quarantine');
  const probe = await open(dir.path);
  const synced: string[] = [];
  using sync = spyOn(Object.getPrototypeOf(probe) as FileHandle, 'sync');
  sync.mockImplementation(async function (this: FileHandle) {
    synced.push(readlinkSync(`/proc/self/fd/${this.fd}`));
    const names = existsSync(directory) ? readdirSync(directory) : [];
    synced.push(`${names.filter((name) => name.endsWith('.log')).length} files`);
    await this.datasync();
  });
  const quarantine = new Quarantine(directory, 10_000);
  await quarantine.put(batchOf(['a']));
  expect(synced).toEqual([dir.path, '0 files', directory, '1 files']);
  await quarantine.put(batchOf(['b']));
  expect(synced.slice(4)).toEqual([directory, '2 files']);
  await probe.close();
});

test('a name that the disk does not take is an error, and leaves no copy to whoever tries again', async () => {
  using dir = tempDir();
  const quarantine = new Quarantine(dir.path, 10_000);
  await quarantine.put(batchOf(['a']));
  const probe = await open(dir.path);
  {
    using sync = spyOn(Object.getPrototypeOf(probe) as FileHandle, 'sync');
    sync.mockRejectedValueOnce(new Error('EIO'));
    expect((await failureOf(quarantine.put(batchOf(['b'])))).message).toBe('EIO');
  }
  await quarantine.put(batchOf(['b']));
  expect(valuesIn(dir.path)).toEqual(['a', 'b']);
  await probe.close();
});

test('a directory that cannot be made is an error for this batch and not for the next one', async () => {
  using dir = tempDir();
  const path = join(dir.path, 'quarantine');
  writeFileSync(path, 'a file');
  const quarantine = new Quarantine(path, 10_000);
  await failureOf(quarantine.put(batchOf(['a'])));
  unlinkSync(path);
  mkdirSync(path);
  await quarantine.put(batchOf(['b']));
  expect(valuesIn(path)).toEqual(['b']);
});
