// The producer end to end against a broker in the same process, which has Kafka's own sequence rules,
// while nothing is wrong with it: exactly once, in order, at most five in flight, spread over the
// partitions that have a leader, and what acks=1 gives up. Faults: producer-faults.test.ts; restarts:
// producer-restart.test.ts.

import { expect, test } from 'bun:test';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE } from '../support/fake-partition.ts';
import { settled, Shipping } from '../support/shipping.ts';
import { laterClock, shortSleeps } from '../support/short-sleeps.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const WAIT_MS = 5000;
/** An error code that Kafka has yet to give a meaning. */
const UNHEARD_OF = 999;

test('what is sealed before the start and behind it arrives once and in order', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start();
  await using shipping = new Shipping(fake, dir.path);
  shipping.batches(20, 3);
  await shipping.producer.start();
  shipping.batches(20, 2);
  await shipping.deliverAll();
  expect(shipping.producer.counters).toMatchObject({
    acknowledged: 100,
    acknowledgedBatches: 40,
    alreadyDelivered: 0,
    possiblyDuplicated: 0,
    oversize: 0,
    retries: 0,
  });
});

test('the batches of a partition carry one producer id and sequences without a gap', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start();
  await using shipping = new Shipping(fake, dir.path);
  await shipping.producer.start();
  for (const records of [3, 1, 4, 1, 5]) shipping.batch(records);
  await shipping.deliverAll();
  const { seen } = fake.partitions[0]!;
  expect(seen.map(({ baseSequence }) => baseSequence)).toEqual([0, 3, 4, 8, 9]);
  expect(new Set(seen.map(({ producerId }) => producerId))).toEqual(new Set([1000n]));
  expect(seen.every(({ producerEpoch }) => producerEpoch === 0)).toBe(true);
});

test('at most five batches of a partition are unanswered', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start({ partitions: 2 });
  await using shipping = new Shipping(fake, dir.path);
  await shipping.producer.start();
  // One answered batch each, so that both are known to the broker.
  shipping.batches(2);
  await shipping.deliverAll();
  fake.hold();
  shipping.batches(30);
  await waitFor(() => fake.held >= 10, { timeoutMs: WAIT_MS, what: 'five batches a partition' });
  // On the same connection: an eleventh batch would have come before this answer.
  await shipping.cluster.metadata(fake.topic);
  expect(fake.held).toBe(10);
  expect(shipping.producer.inFlight).toBe(10);
  fake.release();
  await shipping.deliverAll();
});

test('batches are spread evenly over the partitions', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start({ partitions: 4, nodes: 2 });
  await using shipping = new Shipping(fake, dir.path);
  await shipping.producer.start();
  for (let round = 0; round < 10; round++) {
    shipping.batches(4);
    await shipping.deliverAll();
  }
  expect(fake.partitions.map(({ log }) => log.length)).toEqual([10, 10, 10, 10]);
});

test('a batch now and then goes to each partition in turn', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start({ partitions: 3 });
  await using shipping = new Shipping(fake, dir.path);
  await shipping.producer.start();
  for (let round = 0; round < 6; round++) {
    shipping.batch();
    await shipping.deliverAll();
  }
  expect(fake.partitions.map(({ log }) => log.length)).toEqual([2, 2, 2]);
});

test('a partition without a leader is left out, the others take everything', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start({ partitions: 3 });
  fake.partitions[1]!.leader = -1;
  await using shipping = new Shipping(fake, dir.path);
  await shipping.producer.start();
  shipping.batches(12);
  await shipping.deliverAll();
  expect(fake.partitions.map(({ log }) => log.length)).toEqual([6, 0, 6]);
  expect(shipping.producer.trouble).toBeUndefined();
});

test('a topic without any leader is trouble until one is elected', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  fake.partitions[0]!.leader = -1;
  await using shipping = new Shipping(fake, dir.path);
  void shipping.producer.start();
  shipping.batches(3);
  await waitFor(() => fake.requests.metadata > 3, { timeoutMs: WAIT_MS, what: 'some retries' });
  expect(shipping.producer.trouble).toContain('no partition of topic log has a leader');
  fake.partitions[0]!.leader = 0;
  await shipping.deliverAll();
  expect(shipping.producer.trouble).toBeUndefined();
});

for (const compression of ['gzip', 'zstd'] as const) {
  test(`batches compressed with ${compression} arrive once, in order, and smaller`, async () => {
    using dir = tempDir();
    await using fake = await FakeCluster.start({ partitions: 2 });
    await using shipping = new Shipping(fake, dir.path, { compression, batchBytes: 20_000 });
    await shipping.producer.start();
    for (let left = 20; left > 0; left--) shipping.batch(10, 300);
    await shipping.deliverAll();
    const bytes = fake.partitions.flatMap(({ log }) => log).map((batch) => batch.length);
    expect(Math.max(...bytes)).toBeLessThan(500);
  });
}

test('acks=1 asks for no producer id and sends without sequences', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start();
  await using shipping = new Shipping(fake, dir.path, { acks: '1' });
  await shipping.producer.start();
  shipping.batches(12, 2);
  await shipping.deliverAll();
  expect(fake.requests.initProducerId).toBe(0);
  expect(fake.partitions[0]!.seen.every((batch) => batch.producerId === -1n)).toBe(true);
  expect(fake.partitions[0]!.seen.every((batch) => batch.baseSequence === -1)).toBe(true);
});

test('acks=1 sends again what was not answered and counts each record that may be there twice', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = new Shipping(fake, dir.path, { acks: '1' });
  fake.script(0, ...Array.from({ length: 3 }, () => ({ kind: 'appended, cut' }) as const));
  shipping.batches(3, 2);
  await shipping.producer.start();
  expect(await shipping.producer.drain(WAIT_MS)).toBe(true);
  const sorted = fake.values.map(Number).toSorted((a, b) => a - b);
  expect(sorted).toEqual([1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]);
  expect(fake.requests.describeProducers).toBe(0);
  expect(shipping.producer.counters.possiblyDuplicated).toBe(6);
});

for (const code of [CODE.NOT_LEADER_OR_FOLLOWER, UNHEARD_OF]) {
  test(`acks=1 counts what was not answered behind a batch refused with ${code}, too`, async () => {
    using dir = tempDir();
    using _ = shortSleeps();
    await using fake = await FakeCluster.start();
    await using shipping = await settled(fake, dir.path, { acks: '1' });
    fake.script(0, { kind: 'refused', code }, { kind: 'appended, cut' });
    shipping.batches(2, 2);
    expect(await shipping.producer.drain(WAIT_MS)).toBe(true);
    const sorted = fake.values.map(Number).toSorted((a, b) => a - b);
    expect(sorted).toEqual([1, 2, 3, 4, 4, 5, 5]);
    const named = shipping.deviations.flatMap(({ numbers }) => numbers);
    // A code that nobody knows may stand for a batch that is in the log.
    expect(named.toSorted((a, b) => a - b)).toEqual(code === UNHEARD_OF ? [2, 3, 4, 5] : [4, 5]);
  });
}

test('drain says no at its deadline and keeps what Kafka does not take', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start();
  await using shipping = new Shipping(fake, dir.path);
  await shipping.producer.start();
  fake.hold();
  shipping.batches(3);
  expect(await shipping.producer.drain(20)).toBe(false);
  expect(shipping.journal.backlogBytes).toBeGreaterThan(0);
  fake.release();
  await shipping.deliverAll();
});

test('only what Kafka acknowledged is counted as that, and only what is sent again as that', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  const { producer } = shipping;
  const ages: number[] = [];
  producer.onAcknowledged = (ageMs) => void ages.push(ageMs);
  const counted = (): number[] => [producer.counters.acknowledgedBatches, ages.length];
  expect(counted()).toEqual([1, 0]);
  // Found in the log.
  fake.script(0, { kind: 'appended, cut' });
  shipping.batch(2);
  await shipping.deliverAll();
  expect(producer.counters).toMatchObject({ alreadyDelivered: 2, retries: 0 });
  expect(counted()).toEqual([1, 0]);
  // Put aside.
  fake.partitions[0]!.batchBytesMax = 200;
  shipping.batch(1, 300);
  expect(await producer.drain(WAIT_MS)).toBe(true);
  expect(producer.counters).toMatchObject({ oversize: 1, retries: 0 });
  expect(counted()).toEqual([1, 0]);
  // In parts, the last of which is put aside.
  shipping.append(1);
  shipping.append(1, 300);
  shipping.journal.seal();
  expect(await producer.drain(WAIT_MS)).toBe(true);
  expect(producer.counters).toMatchObject({ oversize: 2, acknowledged: 2 });
  expect(counted()).toEqual([2, 1]);
});

test('each acknowledgement tells the age of the batch', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start();
  await using shipping = new Shipping(fake, dir.path);
  const ages: number[] = [];
  shipping.producer.onAcknowledged = (ageMs) => void ages.push(ageMs);
  shipping.batches(2);
  using _ = laterClock(5000);
  await shipping.producer.start();
  await shipping.deliverAll();
  expect(ages.length).toBe(2);
  for (const age of ages) expect(age).toBeWithin(5000, 8000);
});

test('the change of delivery is reported once each way, however many tries lie between', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = new Shipping(fake, dir.path);
  await shipping.producer.start();
  shipping.batch();
  await shipping.deliverAll();
  const before = shipping.changes.length;
  fake.script(0, ...Array.from({ length: 8 }, () => ({ kind: 'refused', code: 19 }) as const));
  shipping.batch();
  await shipping.deliverAll();
  expect(shipping.changes.slice(before)).toEqual(['NOT_ENOUGH_REPLICAS', undefined]);
  expect(shipping.producer.counters.retries).toBe(8);
  expect(shipping.producer.counters.refusals).toEqual(new Map([['NOT_ENOUGH_REPLICAS', 8]]));
});
