// Proves who may use a journal directory and what is made of its files: anything odd is put aside or
// ignored with a word about it, and nothing but a newer format version or a missing right stops a start.

import { describe, expect, spyOn, test } from 'bun:test';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { foldWord, HASH_SEED } from '../../src/bytes.ts';
import { OpenBatch } from '../../src/journal/open-batch.ts';
import { FIRST_BATCH_AT, type Segment } from '../../src/journal/segment.ts';
import { JournalUnusable } from '../../src/journal/journal-directory.ts';
import { SegmentStore } from '../../src/journal/segment-store.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const SEGMENT_BYTES = 16_384;
const JOURNAL_BYTES = 4 * SEGMENT_BYTES;

interface OpenStore extends AsyncDisposable {
  readonly store: SegmentStore;
  readonly errors: readonly string[];
}

function openStore(
  directory: string,
  sizes: { segmentBytes?: number; journalBytes?: number } = {},
): OpenStore {
  const errors: string[] = [];
  const store = new SegmentStore({
    directory,
    segmentBytes: SEGMENT_BYTES,
    journalBytes: JOURNAL_BYTES,
    onError: (action, error) => errors.push(`${action}: ${error.message}`),
    onRefused: (segment, error) => {
      segment.refused = true;
      segment.retired = true;
      errors.push(`refused ${segment.path}: ${error.message}`);
    },
    ...sizes,
  });
  return { store, errors, [Symbol.asyncDispose]: () => store.close() };
}

function segmentNames(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.includes('.segment'))
    .toSorted();
}

/** So that the next start knows the segment as used. */
function writeTo(segment: Segment, value: string): void {
  new OpenBatch(segment).open(segment, FIRST_BATCH_AT, 4096, value, 0);
}

function failureOf(open: () => unknown): Error {
  try {
    open();
  } catch (error) {
    return error as Error;
  }
  throw new Error('it did not fail');
}

function nextOf(store: SegmentStore): Promise<Segment> {
  return waitFor(() => store.next(), { timeoutMs: 3000, what: 'a free segment', intervalMs: 1 });
}

describe('growth', () => {
  test('fault 64: an empty directory, or one that is not there, gets segments of zeros one by one, up to the journal size', async () => {
    using dir = tempDir();
    const directory = join(dir.path, 'not', 'yet', 'there');
    await using open = openStore(directory);
    const { store } = open;
    expect([store.bytes, store.takeRecovered(), segmentNames(directory)]).toEqual([0, [], []]);
    const segments: Segment[] = [];
    for (let count = 1; count <= 4; count++) {
      const segment = await nextOf(store);
      expect(segment.untouched).toBe(true);
      expect(segment.generation).toBeGreaterThan(segments.at(-1)?.generation ?? 0);
      segments.push(segment);
    }
    expect(store.ensureNext()).toBe(false);
    expect(store.next()).toBeUndefined();
    expect(store.bytes).toBe(JOURNAL_BYTES);
    expect(segmentNames(directory)).toEqual(
      [1, 2, 3, 4].map((number) => `0000000${number}.segment`),
    );
    for (const { path, buffer } of segments) {
      expect(buffer.subarray(FIRST_BATCH_AT).every((byte) => byte === 0)).toBe(true);
      expect(readFileSync(path).equals(buffer)).toBe(true); // mapped, not copied
    }
  });

  test('the next one is made before it is asked for', async () => {
    using dir = tempDir();
    await using open = openStore(dir.path);
    open.store.prepare();
    const made = join(dir.path, '00000001.segment');
    await waitFor(() => existsSync(made), { timeoutMs: 3000, what: 'a spare', intervalMs: 1 });
    expect(readFileSync(made)).toHaveLength(SEGMENT_BYTES);
    expect(open.store.bytes).toBe(SEGMENT_BYTES);
  });

  test('a released segment comes back empty under a higher generation, usage stays', async () => {
    using dir = tempDir();
    await using open = openStore(dir.path, { journalBytes: SEGMENT_BYTES });
    const { store } = open;
    const first = await nextOf(store);
    const { generation } = first;
    writeTo(first, 'old');
    first.acknowledged = 5000;
    first.closed = 6000;
    expect(store.next()).toBeUndefined();
    store.release(first);
    const again = await nextOf(store);
    expect(again).toBe(first);
    expect(again.generation).toBeGreaterThan(generation);
    expect([again.untouched, again.closed]).toEqual([true, undefined]);
    expect(again.acknowledged).toBe(FIRST_BATCH_AT);
    expect(store.bytes).toBe(SEGMENT_BYTES);
  });

  test('released segments are all made ready in the background, and no file is added meanwhile', async () => {
    using dir = tempDir();
    await using open = openStore(dir.path);
    const { store } = open;
    const used = [await nextOf(store), await nextOf(store), await nextOf(store)];
    await nextOf(store);
    for (const segment of used) {
      writeTo(segment, 'old');
      store.release(segment);
    }
    const ready = () => used.every((segment) => segment.untouched);
    await waitFor(ready, { timeoutMs: 3000, what: 'the released segments', intervalMs: 1 });
    const again = [store.next(), store.next(), store.next()];
    expect(again.map((segment) => segment?.path)).toEqual(used.map(({ path }) => path));
    expect(store.bytes).toBe(JOURNAL_BYTES);
  });

  test('a segment of another size, or one the disk refused, is deleted when it is released', async () => {
    using dir = tempDir();
    const paths: string[] = [];
    {
      await using open = openStore(dir.path, { segmentBytes: 8192 });
      for (const value of ['one', 'two']) {
        const segment = await nextOf(open.store);
        writeTo(segment, value);
        paths.push(segment.path);
      }
    }
    await using open = openStore(dir.path, { journalBytes: SEGMENT_BYTES + 8192 });
    const { store } = open;
    const recovered = store.takeRecovered();
    expect(recovered.map(({ path }) => path)).toEqual(paths);
    for (const segment of recovered) store.release(segment);
    const good = await nextOf(store);
    for (const path of paths) expect(existsSync(path)).toBe(false);
    writeTo(good, 'three');
    good.retired = true;
    store.release(good);
    expect((await nextOf(store)).path).not.toBe(good.path);
    expect(existsSync(good.path)).toBe(false);
    const sizes = segmentNames(dir.path).map((name) => Bun.file(join(dir.path, name)).size);
    expect(store.bytes).toBe(sizes.reduce((sum, size) => sum + size, 0));
  });
});

describe('a start', () => {
  test('orders used segments by generation, not by name, and keeps unused ones as spares', async () => {
    using dir = tempDir();
    const names: string[] = [];
    {
      await using open = openStore(dir.path);
      const { store } = open;
      const [one, two] = [await nextOf(store), await nextOf(store)];
      writeTo(two, 'older');
      store.release(one);
      let renewed = await nextOf(store);
      while (renewed !== one) renewed = await nextOf(store);
      writeTo(one, 'newer');
      names.push(two.path, one.path);
    }
    await using open = openStore(dir.path);
    const recovered = open.store.takeRecovered();
    expect(recovered.map(({ path }) => path)).toEqual(names);
    const spare = await nextOf(open.store);
    expect(names).not.toContain(spare.path);
    expect(spare.generation).toBeGreaterThan(recovered[1]!.generation);
    expect(open.errors).toEqual([]);
  });

  test('an unused segment of another size is deleted before it is mapped, which would hold its room', async () => {
    using dir = tempDir();
    {
      await using open = openStore(dir.path, { segmentBytes: 8192 });
      writeTo(await nextOf(open.store), 'kept');
      expect(open.store.ensureNext()).toBe(true);
    }
    const [used = '', ...unused] = segmentNames(dir.path).map((name) => join(dir.path, name));
    using mmap = spyOn(Bun, 'mmap');
    await using open = openStore(dir.path);
    expect(unused.length).toBeGreaterThan(0);
    expect(unused.filter(existsSync)).toEqual([]);
    expect(mmap.mock.calls.map(([path]) => path)).toEqual([used]);
    expect(open.store.takeRecovered().map(({ path }) => path)).toEqual([used]);
  });

  test('fault 64: puts aside an empty file, a short one and noise, says so, and goes on with the others', async () => {
    using dir = tempDir();
    {
      await using open = openStore(dir.path);
      writeTo(await nextOf(open.store), 'kept');
    }
    const odd: Record<string, Uint8Array> = {
      '00000101.segment': new Uint8Array(0),
      '00000102.segment': new Uint8Array(100).fill(7),
      '00000103.segment': new Uint8Array(8191),
      '00000104.segment': new Uint8Array(16_386),
      '00000105.segment': new Uint8Array(16_384).fill(7),
      '00000106.segment': readFileSync(join(dir.path, '00000001.segment')).subarray(0, 8192),
    };
    for (const [name, bytes] of Object.entries(odd)) writeFileSync(join(dir.path, name), bytes);
    await using open = openStore(dir.path);
    expect(open.store.takeRecovered().map(({ path }) => path)).toEqual([
      join(dir.path, '00000001.segment'),
    ]);
    for (const [name, bytes] of Object.entries(odd)) {
      expect(existsSync(join(dir.path, name))).toBe(false);
      expect(readFileSync(join(dir.path, `${name}.damaged`)).equals(bytes)).toBe(true);
      expect(open.errors.filter((error) => error.includes(`${name}.damaged`))).toHaveLength(1);
    }
    await nextOf(open.store); // the spare that was there
    expect((await nextOf(open.store)).path > join(dir.path, '00000106.segment')).toBe(true);
  });

  test('fault 64: takes a file of zeros as a spare', async () => {
    using dir = tempDir();
    writeFileSync(join(dir.path, '00000007.segment'), new Uint8Array(SEGMENT_BYTES));
    await using open = openStore(dir.path, { journalBytes: SEGMENT_BYTES });
    expect([open.store.takeRecovered(), open.errors]).toEqual([[], []]);
    const spare = open.store.next();
    expect(spare?.path).toBe(join(dir.path, '00000007.segment'));
    expect(spare?.generation).toBeGreaterThan(0);
  });

  test('fault 76: leaves foreign files and directories alone, and removes a segment that was not finished', async () => {
    using dir = tempDir();
    const foreign = [
      'README',
      '1.segment',
      'a.segment',
      '00000001.segment.bak',
      '00000002.segment.damaged',
    ];
    for (const name of foreign) writeFileSync(join(dir.path, name), 'mine');
    mkdirSync(join(dir.path, 'lost+found'));
    writeFileSync(join(dir.path, '00000003.segment.new'), 'half');
    await using open = openStore(dir.path);
    await nextOf(open.store);
    expect(existsSync(join(dir.path, '00000003.segment.new'))).toBe(false);
    for (const name of foreign) expect(readFileSync(join(dir.path, name), 'utf8')).toBe('mine');
    expect(open.errors).toEqual([]);
  });

  test('fault 75: goes on without a segment that is missing in the middle', async () => {
    using dir = tempDir();
    const kept: number[] = [];
    {
      await using open = openStore(dir.path);
      const segments = [
        await nextOf(open.store),
        await nextOf(open.store),
        await nextOf(open.store),
      ];
      for (const segment of segments) writeTo(segment, 'kept');
      rmSync(segments[1]!.path);
      kept.push(segments[0]!.generation, segments[2]!.generation);
    }
    await using open = openStore(dir.path);
    expect(open.store.takeRecovered().map(({ generation }) => generation)).toEqual(kept);
    expect((await nextOf(open.store)).generation).toBeGreaterThan(kept[1]!);
  });

  test('fault 51: refuses a newer format version in one line that says what to do, and leaves it as it is', async () => {
    using dir = tempDir();
    const words = new Int32Array(SEGMENT_BYTES / 4);
    const check = [2, 9, SEGMENT_BYTES].reduce(foldWord, HASH_SEED);
    for (const at of [0, 512]) words.set([0x676f6c68, 2, 9, SEGMENT_BYTES, check], at);
    const path = join(dir.path, '00000001.segment');
    writeFileSync(path, words);
    const error = failureOf(() => openStore(dir.path));
    expect(error).toBeInstanceOf(JournalUnusable);
    expect(error.message).toMatch(/^\S*00000001\.segment has journal format version 2, .* upgrade/);
    expect(error.message).not.toContain('\n');
    expect(readFileSync(path).equals(new Uint8Array(words.buffer))).toBe(true);
    rmSync(path);
    await using _lockIsFree = openStore(dir.path);
  });

  test('is not stopped by a byte that went bad in an identity', async () => {
    using dir = tempDir();
    {
      await using open = openStore(dir.path);
      writeTo(await nextOf(open.store), 'kept');
    }
    const path = join(dir.path, '00000001.segment');
    const sound = readFileSync(path);
    for (let word = 0; word < 5; word++) {
      for (const copy of [0, 2048]) {
        const bytes = Buffer.from(sound);
        bytes[copy + word * 4 + (word % 4)]! ^= 0x20;
        writeFileSync(path, bytes);
        await using open = openStore(dir.path);
        expect(open.store.takeRecovered().map((segment) => segment.path)).toEqual([path]);
      }
    }
  });
});

describe('what cannot be used is refused in one line', () => {
  test('a directory that cannot be made', () => {
    using dir = tempDir();
    writeFileSync(join(dir.path, 'file'), '');
    const directory = join(dir.path, 'file', 'journal');
    const error = failureOf(() => openStore(directory));
    expect(error).toBeInstanceOf(JournalUnusable);
    expect(error.message).toMatch(`cannot write to JOURNAL_DIR=${directory} (ENOTDIR). Create it`);
  });

  test('a disk that is too small', () => {
    using dir = tempDir();
    const error = failureOf(() => openStore(dir.path, { journalBytes: 2 ** 60 }));
    expect(error).toBeInstanceOf(JournalUnusable);
    expect(error.message).toMatch(/^the disk of JOURNAL_DIR=\S+ has \d+ MiB free, \d+ MiB too few/);
    expect(error.message).not.toContain('\n');
  });
});
