// A journal whose batches were on their way to one Kafka cluster, and a producer that finds another one:
// at a start, or while it runs. Producer ids are given out anew there, so another producer has the id of
// the old batches, and sequences that look as if they had arrived. Nothing may be taken for delivered by
// that; what may be in the first cluster too is counted and named.

import { expect, test } from 'bun:test';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { FakeCluster } from '../support/fake-broker.ts';
import { numbersTo, settled, Shipping } from '../support/shipping.ts';
import { shortSleeps } from '../support/short-sleeps.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const WAIT_MS = 5000;
const ELSEWHERE = 'placed in another topic or cluster';

function numbersIn(fake: FakeCluster): number[] {
  return fake.values.map(Number).toSorted((a, b) => a - b);
}

/** A life on `fake` that ends with batches of two records in flight, none of which arrive. */
async function endInFlight(fake: FakeCluster, path: string, batches = 2): Promise<number> {
  await using life = await settled(fake, path);
  fake.hold();
  life.batches(batches, 2);
  await waitFor(() => fake.held === batches, { timeoutMs: WAIT_MS, what: 'batches in flight' });
  fake.drop();
  return life.appended;
}

/** Another cluster, in which a producer with the first one's ids has written far more. */
async function otherCluster(): Promise<FakeCluster> {
  const other = await FakeCluster.start({ clusterId: 'other-cluster', firstProducerId: 2000 });
  other.partitions[0]!.remember(1000n, 999);
  return other;
}

test('at a start on another cluster an id that is known there says nothing of old batches', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using other = await otherCluster();
  const appended = await endInFlight(fake, dir.path);
  await using second = new Shipping(other, dir.path, { from: appended + 1 });
  await second.producer.start();
  second.batch(2);
  await second.producer.whenIdle();
  expect(numbersIn(other)).toEqual([2, 3, 4, 5, 6, 7]);
  expect(second.deviations).toEqual([
    { deviation: 'may be twice', cause: ELSEWHERE, numbers: [2, 3] },
    { deviation: 'may be twice', cause: ELSEWHERE, numbers: [4, 5] },
  ]);
  expect(second.warnings).toHaveLength(1);
  expect(second.warnings[0]).toContain('Kafka cluster other-cluster');
  expect(second.warnings[0]).toContain('fake-cluster');
});

test('once all is delivered to the other cluster, its producer ids are trusted again', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using other = await otherCluster();
  let appended = await endInFlight(fake, dir.path);
  {
    await using second = new Shipping(other, dir.path, { from: appended + 1 });
    await second.producer.start();
    await second.producer.whenIdle();
    appended = second.appended;
  }
  {
    await using third = new Shipping(other, dir.path, { from: appended + 1 });
    await third.producer.start();
    other.hold();
    third.batch(2);
    await waitFor(() => other.held === 1, { timeoutMs: WAIT_MS, what: 'a batch in flight' });
    other.process(1);
    other.drop();
    appended = third.appended;
  }
  await using fourth = new Shipping(other, dir.path, { from: appended + 1 });
  await fourth.producer.start();
  await fourth.producer.whenIdle();
  expect(numbersIn(other)).toEqual([2, 3, 4, 5, 6, 7]);
  expect([fourth.deviations, fourth.warnings]).toEqual([[], []]);
  expect(fourth.producer.counters.alreadyDelivered).toBe(2);
});

for (const returns of [false, true]) {
  const where = returns ? 'back on the first cluster' : 'on the other one again';
  test(`ended before that, a life ${where} trusts no id of either`, async () => {
    using dir = tempDir();
    using _ = shortSleeps();
    await using fake = await FakeCluster.start();
    await using other = await otherCluster();
    let appended = await endInFlight(fake, dir.path, 5);
    {
      await using second = new Shipping(other, dir.path, { from: appended + 1 });
      other.hold();
      await second.producer.start();
      await waitFor(() => other.held === 1, { timeoutMs: WAIT_MS, what: 'a batch in flight' });
      appended = second.appended;
    }
    other.drop();
    const last = returns ? fake : other;
    // Somebody has the ids of both lives there.
    for (const id of [1000n, 2000n]) last.partitions[0]!.remember(id, 999);
    await using third = new Shipping(last, dir.path, { from: appended + 1 });
    await third.producer.start();
    await third.producer.whenIdle();
    expect(numbersIn(last)).toEqual(numbersTo(appended).slice(returns ? 0 : 1));
    expect(third.producer.counters).toMatchObject({ alreadyDelivered: 0, possiblyDuplicated: 10 });
  });
}

test('a journal of a hoplog that noted no cluster is trusted, and has a note from then on', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using other = await otherCluster();
  let appended = await endInFlight(fake, dir.path);
  rmSync(join(dir.path, 'cluster'));
  {
    await using second = new Shipping(fake, dir.path, { from: appended + 1 });
    fake.hold();
    await second.producer.start();
    await waitFor(() => fake.held > 0, { timeoutMs: WAIT_MS, what: 'a batch in flight' });
    expect([second.deviations, second.warnings]).toEqual([[], []]);
    appended = second.appended;
  }
  await using third = new Shipping(other, dir.path, { from: appended + 1 });
  await third.producer.start();
  await third.producer.whenIdle();
  expect(numbersIn(other)).toEqual([2, 3, 4, 5]);
  expect(third.producer.counters.possiblyDuplicated).toBe(4);
});

test('another cluster behind the same addresses gets what the first one did not confirm', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 2 });
  await using shipping = await settled(fake, dir.path);
  fake.hold();
  shipping.batches(7, 2);
  await waitFor(() => fake.held === 7, { timeoutMs: WAIT_MS, what: 'batches in flight' });
  fake.process(3);
  const confirmed = numbersIn(fake);
  const { counters } = shipping.producer;
  const isKnown = () => counters.acknowledged === confirmed.length;
  await waitFor(isKnown, { timeoutMs: WAIT_MS, what: 'three acknowledgements' });
  fake.drop();
  fake.rebuild('other-cluster', 2000);
  for (const partition of fake.partitions) partition.remember(1000n, 999);
  await fake.stopNode(0);
  shipping.batches(3, 2);
  await fake.restartNode(0);
  await shipping.producer.whenIdle();
  const arrived = new Set(numbersIn(fake));
  const missing = numbersTo(shipping.appended).filter((number) => !arrived.has(number));
  expect(missing).toEqual(confirmed);
  expect(counters.alreadyDelivered).toBe(0);
  expect(new Set(shipping.deviations.map(({ cause }) => cause))).toEqual(new Set([ELSEWHERE]));
  const named = new Set(shipping.deviations.flatMap(({ numbers }) => numbers));
  const inFlight = numbersTo(16).slice(2);
  expect([...named]).toEqual(
    expect.arrayContaining(inFlight.filter((number) => !confirmed.includes(number))),
  );
  expect(shipping.warnings).toHaveLength(1);
  expect(shipping.producer.trouble).toBeUndefined();
  shipping.batches(4);
  await shipping.producer.whenIdle();
  expect(numbersIn(fake)).toContain(shipping.appended);
});

test('another cluster that is first noticed by its refusal is not asked for what it never got', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  // No connection ends: from one request to the next it is another one.
  fake.rebuild('other-cluster', 2000);
  fake.partitions[0]!.remember(1000n, 999);
  shipping.batches(2, 2);
  await shipping.producer.whenIdle();
  expect(numbersIn(fake)).toEqual([2, 3, 4, 5]);
  expect([...shipping.producer.counters.refusals.keys()]).toEqual(['OUT_OF_ORDER_SEQUENCE_NUMBER']);
  // Each was refused: it is in no other place.
  expect(shipping.deviations).toEqual([]);
});
