// A second life on the journal of the first: what was on its way when the first one ended is asked for
// by its producer id and sequences, and sent only as far as it did not arrive. A life here ends by
// closing the journal with the answers outstanding, which leaves it as SIGKILL does (the processes
// themselves are killed in test/crash).

import { expect, test } from 'bun:test';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE } from '../support/fake-partition.ts';
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

test('a batch in a partition that a broker lags behind with waits until it is listed', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 2 });
  const appended = await endInFlight(fake, dir.path, 2);
  fake.process(2);
  fake.drop();
  const lagging = fake.partitions[1]!;
  lagging.isListed = false;
  await using second = await secondLife(fake, dir.path, appended);
  const asked = fake.requests.metadata;
  await waitFor(() => fake.requests.metadata > asked, { timeoutMs: WAIT_MS, what: 'a question' });
  lagging.isListed = true;
  await second.deliverAll();
  expect(second.producer.counters).toMatchObject({ alreadyDelivered: 4, possiblyDuplicated: 0 });
});

test('a batch in a partition that stays away goes elsewhere after six answers, and is counted', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 2 });
  const appended = await endInFlight(fake, dir.path, 2);
  fake.drop();
  fake.partitions[1]!.isListed = false;
  await using second = await secondLife(fake, dir.path, appended);
  await second.producer.whenIdle();
  expect(second.deviations).toEqual([
    { deviation: 'may be twice', cause: 'placed in another topic or cluster', numbers: [3, 4] },
  ]);
  const numbers = fake.partitions[0]!.values.map(Number);
  expect(numbers.toSorted((a, b) => a - b)).toEqual([2, 3, 4, 5, 6]);
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

/** Of a batch 2 … 6, 3 is too large, and the process ends once `arrived` records behind it did. */
async function endBehindOversize(fake: FakeCluster, path: string, arrived: number): Promise<void> {
  const partition = fake.partitions[0]!;
  {
    await using first = await settled(fake, path);
    let isOver = false;
    partition.batchBytesMax = 600;
    partition.refuses = ({ producerId }) => {
      const isNext = producerId !== 1000n && partition.records.length === 2 + arrived;
      isOver ||= isNext;
      return isNext ? CODE.NOT_ENOUGH_REPLICAS : undefined;
    };
    for (const number of [2, 3, 4, 5, 6]) {
      first.journal.append(`${number}`.padEnd(number === 3 ? 900 : 300), Date.now());
    }
    first.journal.seal();
    await waitFor(() => isOver, { timeoutMs: WAIT_MS, what: 'the next part' });
    expect(first.producer.counters.oversize).toBe(1);
  }
  partition.refuses = () => undefined;
}

for (const arrived of [0, 1, 2]) {
  test(`of the records behind one given up as too large ${arrived} arrived: the others are sent`, async () => {
    using dir = tempDir();
    using _ = shortSleeps();
    await using fake = await FakeCluster.start();
    await endBehindOversize(fake, dir.path, arrived);
    await using second = await secondLife(fake, dir.path, 6);
    second.batches(2);
    expect(await second.producer.drain(WAIT_MS)).toBe(true);
    expect(fake.values.map(Number)).toEqual([1, 2, 4, 5, 6, 7, 8]);
    expect(second.producer.counters).toMatchObject({
      alreadyDelivered: arrived,
      possiblyDuplicated: 0,
      oversize: 0,
    });
    expect(second.journal.backlogBytes).toBe(0);
  });
}

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
  // Those of the partition that is left, too: it knows nothing of a producer that had sent to it.
  expect(second.producer.counters.possiblyDuplicated).toBe(6);
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

test('fault 33: of a producer that was forgotten, batches taken up behind those sent again are counted too', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  const producer = { producerId: 77n, producerEpoch: 0, partition: 0 };
  {
    await using first = new Shipping(fake, dir.path);
    // More than are taken up at once: what says that they arrived was lost in a power cut.
    first.batches(9, 2);
    for (let baseSequence = 0; baseSequence < 18; baseSequence += 2) {
      first.journal.place(first.journal.take()!, { ...producer, baseSequence });
    }
  }
  using _later = laterClock(25 * HOURS_MS);
  await using second = await secondLife(fake, dir.path, 18);
  expect(await second.producer.drain(WAIT_MS)).toBe(true);
  expect(fake.values.map(Number)).toEqual(numbersTo(18));
  expect(second.producer.counters.possiblyDuplicated).toBe(18);
});
