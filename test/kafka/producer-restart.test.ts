// A second life on the journal of the first: what was on its way when the first one ended is asked for
// by its producer id and sequences, and sent only as far as it did not arrive. A life here ends by
// closing the journal with the answers outstanding, which leaves it as SIGKILL does (the processes
// themselves are killed in test/crash).

import { expect, test } from 'bun:test';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE, refused } from '../support/fake-partition.ts';
import { numbersTo, settled, Shipping } from '../support/shipping.ts';
import { laterClock, shortSleeps } from '../support/short-sleeps.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const HOURS_MS = 3_600_000;
const WAIT_MS = 4000;

/** A first life that ends with `batches` of two records in flight; the broker holds them back. */
async function endInFlight(
  fake: FakeCluster,
  path: string,
  batches: number,
  acks: 'all' | '1' = 'all',
): Promise<number> {
  await using first = await settled(fake, path, { acks });
  fake.hold();
  first.batches(batches, 2);
  const what = 'batches in flight';
  await waitFor(() => fake.held === Math.min(batches, 5), { timeoutMs: WAIT_MS, what });
  return first.appended;
}

async function secondLife(
  fake: FakeCluster,
  path: string,
  appended: number,
  acks: 'all' | '1' = 'all',
): Promise<Shipping> {
  const second = new Shipping(fake, path, { from: appended + 1, acks });
  await second.producer.start();
  return second;
}

for (const arrived of [0, 1, 3, 5]) {
  test(`of five batches in flight at the end, ${arrived} arrived: the others are sent`, async () => {
    using dir = tempDir();
    using _ = shortSleeps();
    await using fake = await FakeCluster.start();
    const appended = await endInFlight(fake, dir.path, 5);
    fake.process(arrived);
    fake.drop();
    await using second = await secondLife(fake, dir.path, appended);
    await second.deliverAll();
    expect(second.producer.counters).toMatchObject({
      alreadyDelivered: arrived * 2,
      possiblyDuplicated: 0,
    });
  });
}

test('batches keep the id and sequences they were placed with; new ones get a new id', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  const appended = await endInFlight(fake, dir.path, 2);
  fake.drop();
  const before = fake.partitions[0]!.seen.length;
  await using second = await secondLife(fake, dir.path, appended);
  second.batches(2);
  await second.deliverAll();
  const seen = fake.partitions[0]!.seen.slice(before);
  expect(seen.map(({ producerId, baseSequence }) => [producerId, baseSequence])).toEqual([
    [1000n, 1],
    [1000n, 3],
    [1001n, 0],
    [1001n, 1],
  ]);
});

test('what waited behind the batches in flight follows them, in order', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  const appended = await endInFlight(fake, dir.path, 12);
  fake.process(2);
  fake.drop();
  await using second = await secondLife(fake, dir.path, appended);
  second.batches(3);
  await second.deliverAll();
});

test('with several partitions each is asked for its own batches', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 4, nodes: 2 });
  const appended = await endInFlight(fake, dir.path, 5);
  fake.process(2);
  fake.drop();
  await using second = await secondLife(fake, dir.path, appended);
  second.batches(8);
  await second.deliverAll();
  expect(second.producer.counters.alreadyDelivered).toBe(4);
});

test('a third life, begun before the second one could send, still sends once', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  const appended = await endInFlight(fake, dir.path, 4);
  fake.process(1);
  {
    await using second = await secondLife(fake, dir.path, appended);
    const what = 'the second life to send';
    await waitFor(() => fake.held >= 4, { timeoutMs: WAIT_MS, what });
    expect(second.producer.counters.alreadyDelivered).toBe(2);
    fake.process(3);
    fake.process(1);
    fake.drop();
  }
  await using third = await secondLife(fake, dir.path, appended);
  await third.deliverAll();
});

test('of a batch that was arriving in parts only the missing part is sent', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  let appended = 0;
  {
    await using first = await settled(fake, dir.path);
    fake.partitions[0]!.batchBytesMax = 1200;
    fake.holdAfter = 2; // the whole batch, refused, and its first half
    first.batch(16, 100);
    appended = first.appended;
    await waitFor(() => fake.held === 1, { timeoutMs: WAIT_MS, what: 'the second half' });
  }
  fake.drop();
  expect(fake.values.length).toBe(9);
  await using second = await secondLife(fake, dir.path, appended);
  await second.deliverAll();
  expect(second.producer.counters).toMatchObject({ alreadyDelivered: 8, possiblyDuplicated: 0 });
});

test('records that arrived behind one given up as too large come once, or are counted', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  const oversize = '2'.padEnd(900);
  {
    await using first = await settled(fake, dir.path);
    fake.partitions[0]!.batchBytesMax = 600;
    for (const value of [oversize, '3'.padEnd(300), '4'.padEnd(300), '5'.padEnd(300)]) {
      first.journal.append(value, Date.now());
    }
    // 2 is given up alone, then 3 and 4 arrive under a new producer id, and 5 is on its way.
    fake.holdAtRecords = fake.values.length + 2;
    first.journal.seal();
    await waitFor(() => fake.held > 0, { timeoutMs: WAIT_MS, what: 'record 5' });
    expect(first.producer.counters.oversize).toBe(1);
    fake.drop();
  }
  await using second = await secondLife(fake, dir.path, 5);
  expect(await second.producer.drain(WAIT_MS)).toBe(true);
  const numbers = fake.values.map(Number);
  expect([...new Set(numbers)].toSorted((a, b) => a - b)).toEqual([1, 3, 4, 5]);
  const twice = numbers.length - new Set(numbers).size;
  expect(second.producer.counters.possiblyDuplicated).toBeGreaterThanOrEqual(twice);
});

test('a producer unknown to the broker means that nothing of it arrived', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  let appended = 0;
  {
    await using first = new Shipping(fake, dir.path);
    fake.hold();
    first.batches(3, 2);
    await first.producer.start();
    await waitFor(() => fake.held > 0, { timeoutMs: WAIT_MS, what: 'a batch in flight' });
    appended = first.appended;
  }
  fake.drop();
  await using second = await secondLife(fake, dir.path, appended);
  await second.deliverAll();
  expect(second.producer.counters.possiblyDuplicated).toBe(0);
});

test('fault 33: a producer that the broker forgot after a day: everything arrives, what may be twice is counted', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  const appended = await endInFlight(fake, dir.path, 3);
  fake.process(2);
  fake.drop();
  fake.partitions[0]!.forgetProducers();
  using _later = laterClock(25 * HOURS_MS);
  await using second = await secondLife(fake, dir.path, appended);
  expect(await second.producer.drain(WAIT_MS)).toBe(true);
  const numbers = fake.values.map(Number);
  expect([...new Set(numbers)].toSorted((a, b) => a - b)).toEqual(numbersTo(appended));
  const twice = numbers.length - appended;
  expect(twice).toBe(4);
  expect(second.producer.counters.possiblyDuplicated).toBeGreaterThanOrEqual(twice);
});

test('a restarted producer waits for a partition in trouble, and the others deliver', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 2 });
  const appended = await endInFlight(fake, dir.path, 4);
  fake.drop();
  fake.partitions[1]!.leader = -1;
  await using second = await secondLife(fake, dir.path, appended);
  second.batches(6);
  const { log } = fake.partitions[0]!;
  await waitFor(() => log.length >= 1 + 2 + 6, { timeoutMs: WAIT_MS, what: 'the healthy one' });
  expect(second.producer.trouble).toBeDefined();
  fake.partitions[1]!.leader = 0;
  await second.deliverAll();
});

test('batches of a partition that is no more go to another one and are counted', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using old = await FakeCluster.start({ partitions: 3 });
  const appended = await endInFlight(old, dir.path, 3);
  old.drop();
  // The topic was made anew, with a single partition.
  await using fake = await FakeCluster.start({ firstProducerId: 5000 });
  await using second = await secondLife(fake, dir.path, appended);
  expect(await second.producer.drain(WAIT_MS)).toBe(true);
  expect(fake.values.map(Number).toSorted((a, b) => a - b)).toEqual([4, 5, 6, 7, 8, 9]);
  expect(second.producer.counters.possiblyDuplicated).toBe(4);
});

test('a new cluster that hands out the old producer id again loses nothing', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using old = await FakeCluster.start({ partitions: 3 });
  const appended = await endInFlight(old, dir.path, 3);
  old.drop();
  await using fake = await FakeCluster.start();
  await using second = await secondLife(fake, dir.path, appended);
  expect(await second.producer.drain(WAIT_MS)).toBe(true);
  expect(fake.values.map(Number).toSorted((a, b) => a - b)).toEqual([4, 5, 6, 7, 8, 9]);
});

for (const acks of ['1', 'all'] as const) {
  test(`batches sent without sequences come again with acks=${acks}, and are counted`, async () => {
    using dir = tempDir();
    using _ = shortSleeps();
    await using fake = await FakeCluster.start();
    const appended = await endInFlight(fake, dir.path, 3, '1');
    fake.process(3);
    await using second = await secondLife(fake, dir.path, appended, acks);
    fake.release();
    expect(await second.producer.drain(WAIT_MS)).toBe(true);
    expect(new Set(fake.values.map(Number))).toEqual(new Set(numbersTo(appended)));
    const twice = fake.values.length - appended;
    expect(twice).toBe(6);
    expect(second.producer.counters.possiblyDuplicated).toBe(twice);
  });
}

test('fault 80: sequences wrap from 2^31 - 1 to 0 in the middle of a batch', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  const producer = { producerId: 77n, producerEpoch: 0, partition: 0 };
  fake.partitions[0]!.remember(77n, 2 ** 31 - 4);
  {
    await using first = new Shipping(fake, dir.path);
    first.batches(3, 3);
    for (const baseSequence of [2 ** 31 - 3, 0, 3]) {
      first.journal.place(first.journal.take()!, { ...producer, baseSequence });
    }
  }
  fake.script(0, { kind: 'appended, cut' }, refused(CODE.NOT_ENOUGH_REPLICAS));
  await using second = await secondLife(fake, dir.path, 9);
  await second.deliverAll();
  expect(fake.partitions[0]!.producers).toEqual([{ producerId: 77n, epoch: 0, lastSequence: 5 }]);
  expect(second.producer.counters.possiblyDuplicated).toBe(0);
});
