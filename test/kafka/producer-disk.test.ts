// What is sent must be found again after a power cut: a batch leaves only once the disk has it and the
// numbers it was placed with, and it leaves all the same when the disk refuses or hangs. The disk is
// the fdatasync of the journal's files, held here until a test lets it go.

import { expect, spyOn, test } from 'bun:test';
import { ROUND_MS_MAX } from '../../src/journal/syncer.ts';
import { SegmentStore } from '../../src/journal/segment-store.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE, refused } from '../support/fake-partition.ts';
import { settled, Shipping } from '../support/shipping.ts';
import { shortSleeps } from '../support/short-sleeps.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const WAIT_MS = 4000;

/** While `held`, an fdatasync waits; then it ends, with `error` if there is one. */
class HeldDisk implements Disposable {
  error: Error | undefined;
  readonly #spy;
  #waiting: (() => void)[] | undefined;

  constructor() {
    this.#spy = spyOn(SegmentStore.prototype, 'sync').mockImplementation(async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      if (this.#waiting) this.#waiting.push(resolve);
      else resolve();
      await promise;
      if (this.error) throw this.error;
    });
  }

  get waiting(): number {
    return this.#waiting?.length ?? 0;
  }

  hold(): void {
    this.#waiting = [];
  }

  /** Those that wait end; the next ones wait again. */
  async step(): Promise<void> {
    await waitFor(() => this.waiting > 0, { timeoutMs: WAIT_MS, what: 'an fdatasync' });
    for (const resolve of this.#waiting?.splice(0) ?? []) resolve();
  }

  release(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const resolve of waiting) resolve();
  }

  [Symbol.dispose](): void {
    this.release();
    this.#spy.mockRestore();
  }
}

/** Requests that overtake none: what was sent before is there when they are answered. */
async function roundTrips({ topic }: Shipping): Promise<void> {
  for (let trip = 0; trip < 5; trip++) await topic.metadata();
}

for (const compression of ['none', 'zstd'] as const) {
  test(`nothing is sent before the disk has it, and one fdatasync serves all (${compression})`, async () => {
    using dir = tempDir();
    using disk = new HeldDisk();
    await using fake = await FakeCluster.start();
    await using shipping = await settled(fake, dir.path, { compression });
    disk.hold();
    const before = fake.requests.produce;
    shipping.batches(4, 2);
    await waitFor(() => disk.waiting > 0, { timeoutMs: WAIT_MS, what: 'an fdatasync' });
    await roundTrips(shipping);
    expect(fake.requests.produce).toBe(before);
    const { rounds } = shipping.journal.syncs;
    await disk.step();
    const all = () => fake.values.length === shipping.appended;
    await waitFor(all, { timeoutMs: WAIT_MS, what: 'all batches' });
    expect(shipping.journal.syncs.rounds).toBe(rounds + 1);
    disk.release();
    await shipping.deliverAll();
  });
}

test('an append never waits for it', async () => {
  using dir = tempDir();
  using disk = new HeldDisk();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  disk.hold();
  shipping.batches(200, 3);
  expect(shipping.journal.counters.appended).toBe(601);
  disk.release();
  await shipping.deliverAll();
});

test('a batch that gets a new place waits for the disk again', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  using disk = new HeldDisk();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, refused(CODE.UNKNOWN_PRODUCER_ID));
  fake.partitions[0]!.forgetProducers();
  disk.hold();
  shipping.batch(3);
  await disk.step();
  const refusedOnce = fake.requests.produce + 1;
  const asked = () => fake.requests.initProducerId === 2;
  await waitFor(asked, { timeoutMs: WAIT_MS, what: 'a new producer id' });
  await waitFor(() => disk.waiting > 0, { timeoutMs: WAIT_MS, what: 'an fdatasync' });
  await roundTrips(shipping);
  expect(fake.requests.produce).toBe(refusedOnce);
  disk.release();
  await shipping.deliverAll();
});

test('what a killed process placed is not sent again before the disk has it', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  using disk = new HeldDisk();
  await using fake = await FakeCluster.start();
  let appended = 0;
  {
    await using first = await settled(fake, dir.path);
    fake.hold();
    first.batches(3, 2);
    await waitFor(() => fake.held === 3, { timeoutMs: WAIT_MS, what: 'batches in flight' });
    ({ appended } = first);
  }
  fake.drop();
  disk.hold();
  const before = fake.requests.produce;
  await using second = new Shipping(fake, dir.path, { from: appended + 1 });
  await second.producer.start();
  await waitFor(() => disk.waiting > 0, { timeoutMs: WAIT_MS, what: 'an fdatasync' });
  await roundTrips(second);
  expect(fake.requests.produce).toBe(before);
  disk.release();
  await second.deliverAll();
});

test('with acks=1 there is nothing to be found again: it does not wait', async () => {
  using dir = tempDir();
  using disk = new HeldDisk();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path, { acks: '1' });
  disk.hold();
  shipping.batches(3);
  await shipping.deliverAll();
  disk.release();
});

test('fault 59: an fdatasync that fails keeps nothing back', async () => {
  using dir = tempDir();
  using disk = new HeldDisk();
  await using fake = await FakeCluster.start();
  const errors: string[] = [];
  await using shipping = await settled(fake, dir.path, {
    onError: (action, error) => errors.push(`${action}: ${error.message}`),
  });
  disk.error = new Error('EIO');
  shipping.batches(3);
  await shipping.deliverAll();
  expect(errors[0]).toMatch(/^fdatasync .*segment: EIO$/);
});

test('fault 59: an fdatasync that fails when Kafka has all leaves nothing to wait for', async () => {
  using dir = tempDir();
  using disk = new HeldDisk();
  await using fake = await FakeCluster.start();
  const errors: string[] = [];
  await using shipping = await settled(fake, dir.path, {
    onError: (action) => errors.push(action),
  });
  // The one that is due is for the acknowledgements.
  disk.error = new Error('EIO');
  await waitFor(() => errors.length > 0, { timeoutMs: WAIT_MS, what: 'a refused segment' });
  await shipping.deliverAll();
  expect(shipping.journal.hasUntaken).toBe(false);
});

test('fault 62: a disk that hangs delays delivery, and does not end it', async () => {
  using dir = tempDir();
  using disk = new HeldDisk();
  await using fake = await FakeCluster.start();
  const errors: string[] = [];
  await using shipping = await settled(fake, dir.path, {
    onError: (action, error) => errors.push(`${action}: ${error.message}`),
  });
  disk.hold();
  const started = performance.now();
  shipping.batches(3);
  await shipping.deliverAll();
  expect(performance.now() - started).toBeGreaterThan(ROUND_MS_MAX - 100);
  expect(shipping.journal.syncs.givenUp).toBeGreaterThan(0);
  expect(errors).toEqual([
    'fdatasync within 5000 ms: batches are sent without it, and may arrive twice should the power fail now',
  ]);
  // Once it is known to hang, it keeps nobody waiting.
  shipping.batches(10, 2);
  await shipping.deliverAll();
  expect(performance.now() - started).toBeLessThan(2 * ROUND_MS_MAX);
  disk.release();
}, 240_000);
