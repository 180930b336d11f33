// The producer against brokers that will not have a batch as it is: corrupt to them (fault 27), dated by a
// clock that ran ahead (fault 49), of a partition that a topic made anew no longer has (fault 23). Each
// record arrives once or is put aside and named, and none behind it is lost.

import { expect, test } from 'bun:test';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { HOLD_MS } from '../../src/kafka/errors.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE, refused, times } from '../support/fake-partition.ts';
import { numbersTo, settled, Shipping } from '../support/shipping.ts';
import { laterClock, shortSleeps } from '../support/short-sleeps.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const WAIT_MS = 5000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

test('fault 27: a batch corrupt on the way is sent again, once', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, refused(CODE.CORRUPT_MESSAGE));
  shipping.batches(3, 2);
  await shipping.deliverAll();
  expect(shipping.deviations).toEqual([]);
});

for (const compression of ['none', 'zstd'] as const) {
  test(`fault 27: corrupt twice, it is put aside and those behind it arrive (${compression})`, async () => {
    using dir = tempDir();
    using _ = shortSleeps();
    await using fake = await FakeCluster.start();
    await using shipping = await settled(fake, dir.path, { compression });
    shipping.batch(2);
    await shipping.deliverAll();
    fake.partitions[0]!.refuses = ({ baseSequence }) =>
      baseSequence === 3 ? CODE.CORRUPT_MESSAGE : undefined;
    shipping.batches(3, 2);
    expect(await shipping.producer.drain(WAIT_MS)).toBe(true);
    expect(shipping.deviations).toEqual([
      { deviation: 'put aside', cause: 'corrupt to the broker', numbers: [4, 5] },
    ]);
    expect(fake.values.map(Number)).toEqual([1, 2, 3, 6, 7, 8, 9]);
    expect(readdirSync(join(dir.path, 'quarantine'))).toHaveLength(1);
    expect(shipping.journal.backlogBytes).toBe(0);
    expect(shipping.producer.counters.possiblyDuplicated).toBe(0);
  });
}

test('fault 27: with the quarantine full, batches that stay corrupt are held, and say so', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path, { quarantineBytes: 10 });
  let broken = true;
  fake.partitions[0]!.refuses = () => (broken ? CODE.CORRUPT_MESSAGE : undefined);
  shipping.batches(3, 2);
  await waitFor(() => shipping.producer.trouble?.includes('quarantine'), {
    timeoutMs: WAIT_MS,
    what: 'the trouble to be named',
  });
  broken = false;
  await waitFor(() => readdirSync(join(dir.path, 'quarantine')).length === 0, {
    timeoutMs: WAIT_MS,
    what: 'nothing to be put aside',
  });
  // A human makes room, here by way of a restart with a larger journal.
  await shipping[Symbol.asyncDispose]();
  await using second = new Shipping(fake, dir.path, { from: shipping.appended + 1 });
  await second.producer.start();
  await second.deliverAll();
});

/** Refuses what is dated more than an hour ahead of the real clock. */
function refuseTheFuture(fake: FakeCluster): void {
  const clock = performance.timeOrigin;
  fake.partitions[0]!.refuses = ({ bytes }) => {
    const ahead = Number(bytes.readBigInt64BE(35)) - (clock + performance.now());
    return ahead > HOUR_MS ? CODE.INVALID_TIMESTAMP : undefined;
  };
}

for (const compression of ['none', 'gzip'] as const) {
  test(`fault 49: batches of a clock a day ahead are held until it is put right (${compression})`, async () => {
    using dir = tempDir();
    using sleeps = shortSleeps();
    await using fake = await FakeCluster.start();
    await using shipping = await settled(fake, dir.path, { compression });
    refuseTheFuture(fake);
    {
      using _ahead = laterClock(DAY_MS);
      shipping.batches(4, 2);
      await waitFor(() => sleeps.asked.filter((ms) => ms === HOLD_MS).length > 3, {
        timeoutMs: WAIT_MS,
        what: 'some holds',
      });
      expect(shipping.producer.trouble).toContain('INVALID_TIMESTAMP');
      expect(shipping.deviations).toEqual([]);
    }
    const rightAt = Date.now();
    shipping.batches(2);
    await shipping.deliverAll();
    expect(shipping.producer.trouble).toBeUndefined();
    expect(shipping.deviations).toHaveLength(4);
    for (const { deviation } of shipping.deviations) expect(deviation).toBe('redated');
    for (const { timestamp } of fake.partitions[0]!.records.slice(1)) {
      expect(timestamp).toBeWithin(rightAt - 1000, Date.now() + 1);
    }
  });
}

test('fault 49: a clock put back makes no age negative', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  const ages: number[] = [];
  shipping.producer.onAcknowledged = (ms) => void ages.push(ms);
  {
    using _ahead = laterClock(HOUR_MS / 2);
    shipping.batch();
  }
  await shipping.deliverAll();
  expect(ages).toEqual([0]);
});

test('fault 23: a topic made anew with fewer partitions gets what waited for the others, once', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 3 });
  await using shipping = await settled(fake, dir.path);
  shipping.batches(6, 2);
  await shipping.deliverAll();
  const before = shipping.appended;
  fake.hold();
  shipping.batches(15, 2);
  await waitFor(() => fake.held > 5, { timeoutMs: WAIT_MS, what: 'batches at all partitions' });
  fake.remake(1);
  fake.release();
  expect(await shipping.producer.drain(WAIT_MS)).toBe(true);
  const numbers = fake.values.map(Number);
  expect(numbers.toSorted((a, b) => a - b)).toEqual(numbersTo(shipping.appended).slice(before));
  expect(shipping.deviations).toEqual([]);
  expect(shipping.producer.trouble).toBeUndefined();
});

test('fault 23: what had no answer when its partition went away is counted, by name', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 2 });
  await using shipping = await settled(fake, dir.path);
  const before = shipping.appended;
  fake.hold();
  shipping.batches(2, 2);
  await waitFor(() => fake.held === 2, { timeoutMs: WAIT_MS, what: 'a batch at each' });
  fake.remake(1);
  fake.drop();
  await fake.stopNode(0);
  await fake.restartNode(0);
  expect(await shipping.producer.drain(WAIT_MS)).toBe(true);
  const numbers = fake.values.map(Number);
  expect(numbers.toSorted((a, b) => a - b)).toEqual(numbersTo(shipping.appended).slice(before));
  // Nobody can tell a new topic from a broker that forgot: the batch of the other partition, too.
  expect(new Set(shipping.deviations.map(({ cause }) => cause))).toEqual(
    new Set(['placed in another topic or cluster', 'producer forgotten by the broker']),
  );
  expect(shipping.producer.counters.possiblyDuplicated).toBe(4);
});

test('fault 23: in a topic made anew, a refused batch is not taken for delivered when the next one is', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  const before = shipping.appended;
  fake.remake(1);
  // Its leader is not ready for the head yet, and is for the batch right behind it.
  const { UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER } = CODE;
  fake.script(0, ...times(3, refused(UNKNOWN_TOPIC_OR_PARTITION)), refused(NOT_LEADER_OR_FOLLOWER));
  shipping.batches(3, 2);
  expect(await shipping.producer.drain(WAIT_MS)).toBe(true);
  expect(fake.values.map(Number)).toEqual(numbersTo(shipping.appended).slice(before));
});
