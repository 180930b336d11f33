// The producer against brokers that refuse, fall silent or go away: each record arrives exactly once
// and in order, retries back off, other partitions do not wait, /ready says what is wrong and gets
// well again. Back-offs are shortened; their length is asserted. Sequence trouble and batches that
// are too large: producer-sequences.test.ts.

import { expect, test } from 'bun:test';
import { HOLD_MS } from '../../src/kafka/errors.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE, refused, times } from '../support/fake-partition.ts';
import { settled, Shipping } from '../support/shipping.ts';
import { shortSleeps, timePasses } from '../support/short-sleeps.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const WAIT_MS = 5000;

test('NOT_LEADER ten times over delays a batch and no more', async () => {
  using dir = tempDir();
  using sleeps = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, ...times(10, refused(CODE.NOT_LEADER_OR_FOLLOWER)));
  shipping.batch(3);
  await shipping.deliverAll();
  expect(shipping.producer.counters.retries).toBe(10);
  expect(sleeps.asked.length).toBe(10);
});

test('a batch answered with a code nobody knows is asked for before it goes again', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, { kind: 'appended, refused', code: 999 });
  const { produce } = fake.requests;
  shipping.batch(3);
  await shipping.deliverAll();
  expect(fake.requests.produce).toBe(produce + 1);
  expect(shipping.producer.counters).toMatchObject({ alreadyDelivered: 3, possiblyDuplicated: 0 });
});

test('a leader that moves while batches are in flight gets them all, in order', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ nodes: 3 });
  await using shipping = await settled(fake, dir.path);
  fake.hold();
  shipping.batches(8);
  await waitFor(() => fake.held === 5, { timeoutMs: WAIT_MS, what: 'five in flight' });
  fake.partitions[0]!.leader = 2;
  fake.release();
  await shipping.deliverAll();
});

for (const kind of ['cut', 'appended, cut', 'appended, half an answer'] as const) {
  test(`a batch whose connection ended (${kind}) arrives once`, async () => {
    using dir = tempDir();
    using _ = shortSleeps();
    await using fake = await FakeCluster.start();
    await using shipping = await settled(fake, dir.path);
    fake.script(0, { kind });
    shipping.batch(4);
    await shipping.deliverAll();
    const { alreadyDelivered, possiblyDuplicated } = shipping.producer.counters;
    expect(alreadyDelivered).toBe(kind === 'cut' ? 0 : 4);
    expect(possiblyDuplicated).toBe(0);
    expect(fake.requests.describeProducers).toBe(1);
  });
}

test('five answers lost in a row are found in the log, and none is sent again', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, ...times(5, { kind: 'appended, cut' }));
  shipping.batches(5, 2);
  await shipping.deliverAll();
  expect(shipping.producer.counters.alreadyDelivered).toBe(10);
  expect(fake.partitions[0]!.seen.length).toBe(6);
});

test('of five unanswered batches those that arrived are kept, the others sent again', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, ...times(2, { kind: 'appended, cut' }), ...times(3, { kind: 'cut' }));
  shipping.batches(5, 2);
  await shipping.deliverAll();
  expect(shipping.producer.counters.alreadyDelivered).toBe(4);
});

test('an answer that never comes is given up after the request time-out', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, { kind: 'appended, silence' }, { kind: 'silence' });
  shipping.batches(2);
  await waitFor(() => fake.partitions[0]!.seen.length === 3, { timeoutMs: WAIT_MS, what: 'both' });
  using _later = timePasses(31_000);
  await shipping.deliverAll();
  expect(shipping.producer.counters.alreadyDelivered).toBe(1);
});

const TRANSIENT = [
  ['REQUEST_TIMED_OUT', refused(CODE.REQUEST_TIMED_OUT)],
  ['REQUEST_TIMED_OUT', { kind: 'appended, refused', code: CODE.REQUEST_TIMED_OUT }],
  ['NOT_ENOUGH_REPLICAS', refused(CODE.NOT_ENOUGH_REPLICAS)],
  [
    'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
    { kind: 'appended, refused', code: CODE.NOT_ENOUGH_REPLICAS_AFTER_APPEND },
  ],
  ['KAFKA_STORAGE_ERROR', refused(CODE.KAFKA_STORAGE_ERROR)],
  ['COORDINATOR_LOAD_IN_PROGRESS', refused(CODE.COORDINATOR_LOAD_IN_PROGRESS)],
] as const;

for (const [name, fault] of TRANSIENT) {
  test(`${name}, ${fault.kind}, is retried after a pause that grows`, async () => {
    using dir = tempDir();
    using sleeps = shortSleeps();
    await using fake = await FakeCluster.start();
    await using shipping = await settled(fake, dir.path);
    // Where it was appended, the first inquiry ends the matter.
    const rounds = fault.kind === 'refused' ? 6 : 1;
    fake.script(0, ...times(rounds, fault));
    shipping.batch(2);
    await shipping.deliverAll();
    expect(shipping.producer.counters.refusals.get(name)).toBe(rounds);
    expect(sleeps.asked.length).toBe(rounds);
    for (const [attempt, ms] of sleeps.asked.entries()) {
      const ceiling = Math.min(2000, 100 * 2 ** attempt);
      expect(ms).toBeWithin(ceiling / 2, ceiling + 1);
    }
  });
}

test('a throttled connection is left alone for as long as the broker asks', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, { kind: 'throttled', throttleMs: 200 });
  shipping.batch();
  await shipping.deliverAll();
  const throttledAt = performance.now();
  shipping.batch();
  await shipping.deliverAll();
  // Timers may be a little early; 10 ms would be no throttle at all.
  expect(performance.now() - throttledAt).toBeGreaterThan(150);
});

for (const [what, code] of [
  ['TOPIC_AUTHORIZATION_FAILED', CODE.TOPIC_AUTHORIZATION_FAILED],
  ['error code 999', 999],
] as const) {
  test(`${what} is held: tried every ${HOLD_MS} ms, named as trouble, nothing dropped`, async () => {
    using dir = tempDir();
    using sleeps = shortSleeps();
    await using fake = await FakeCluster.start();
    await using shipping = await settled(fake, dir.path);
    fake.script(0, ...times(3, refused(code)));
    shipping.batch(2);
    await shipping.deliverAll();
    expect(sleeps.asked).toEqual([HOLD_MS, HOLD_MS, HOLD_MS]);
    expect(shipping.changes.slice(-2)).toEqual([
      expect.stringMatching(new RegExp(`^${what}`)),
      undefined,
    ]);
  });
}

test('fault 40: a partition in trouble makes no other one wait and gets no new batches', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 3 });
  await using shipping = await settled(fake, dir.path);
  fake.script(1, ...times(1000, refused(CODE.NOT_ENOUGH_REPLICAS)));
  shipping.batches(30);
  const healthy = () => fake.partitions[0]!.log.length + fake.partitions[2]!.log.length;
  const load = shipping.appended - 5;
  await waitFor(() => healthy() >= load - 1, {
    timeoutMs: WAIT_MS,
    what: 'the healthy partitions',
  });
  expect(shipping.producer.trouble).toBe('NOT_ENOUGH_REPLICAS');
  expect(fake.partitions[1]!.log.length).toBe(1);
  fake.partitions[1]!.faults.splice(0);
  await shipping.deliverAll();
  expect(shipping.producer.trouble).toBeUndefined();
});

test('with no broker up at the start everything waits, and arrives once there is one', async () => {
  using dir = tempDir();
  using sleeps = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 2 });
  await fake.stopNode(0);
  await using shipping = new Shipping(fake, dir.path);
  void shipping.producer.start();
  shipping.batches(20, 2);
  await waitFor(() => sleeps.asked.length >= 8, { timeoutMs: WAIT_MS, what: 'some retries' });
  expect(shipping.producer.trouble).toContain(String(fake.brokers[0]!.port));
  await fake.restartNode(0);
  await shipping.deliverAll();
  // One line for the trouble, one for its end, however many tries lay between.
  expect(shipping.changes.map((change) => change === undefined)).toEqual([false, true]);
});

test('brokers that go away and come back in the middle lose nothing', async () => {
  using dir = tempDir();
  using sleeps = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 4, nodes: 2 });
  await using shipping = await settled(fake, dir.path);
  for (let round = 0; round < 3; round++) {
    shipping.batches(6);
    await Promise.all([fake.stopNode(0), fake.stopNode(1)]);
    shipping.batches(6);
    const tries = sleeps.asked.length + 5;
    await waitFor(() => sleeps.asked.length >= tries, { timeoutMs: WAIT_MS, what: 'retries' });
    await Promise.all([fake.restartNode(0), fake.restartNode(1)]);
    await shipping.deliverAll();
  }
});

test('a leader that stays away moves to the other node, and its batches with it', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 2, nodes: 2 });
  await using shipping = await settled(fake, dir.path);
  await fake.stopNode(0);
  shipping.batches(8);
  fake.partitions[0]!.leader = 1;
  await shipping.deliverAll();
  expect(fake.partitions[0]!.log.length).toBeGreaterThan(1);
});

test('a partition that loses its leader keeps its batches until it has one again', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.partitions[0]!.leader = -1;
  shipping.batches(3);
  await waitFor(() => fake.requests.metadata > 5, { timeoutMs: WAIT_MS, what: 'some questions' });
  expect(shipping.producer.trouble).toContain('leader');
  fake.partitions[0]!.leader = 0;
  await shipping.deliverAll();
});

test('a producer that is stopped sends nothing more and asks nothing more', async () => {
  using dir = tempDir();
  using sleeps = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, ...times(1000, refused(CODE.NOT_ENOUGH_REPLICAS)));
  shipping.batch();
  await waitFor(() => sleeps.asked.length >= 3, { timeoutMs: WAIT_MS, what: 'retries' });
  shipping.producer.stop();
  const { produce } = fake.requests;
  shipping.batch();
  await shipping.topic.close();
  // A back-off that was running when it stopped ends in nothing.
  await waitFor(() => fake.connections === 0, { timeoutMs: 1000, what: 'closed connections' });
  expect(fake.requests.produce).toBe(produce);
});
