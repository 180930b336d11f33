// What the producer makes of metadata that change under it: a leader that moves, a partition more, an
// answer that fails to come. Its regular question is asked by hand here, not after five minutes.

import { expect, spyOn, test } from 'bun:test';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE, refused } from '../support/fake-partition.ts';
import { settled, Shipping } from '../support/shipping.ts';
import { shortSleeps } from '../support/short-sleeps.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const WAIT_MS = 5000;
/** As src/kafka/producer.ts has it. */
const METADATA_MAX_AGE_MS = 300_000;

test('a partition that the topic gains gets its share once metadata is fresh', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = new Shipping(fake, dir.path);
  await shipping.producer.start();
  shipping.batches(3);
  await shipping.deliverAll();
  fake.addPartition();
  // A refusal makes the producer ask again, long before METADATA_MAX_AGE_MS.
  fake.script(0, { kind: 'refused', code: CODE.NOT_LEADER_OR_FOLLOWER });
  shipping.batch();
  await shipping.deliverAll();
  shipping.batches(10);
  await shipping.deliverAll();
  expect(fake.partitions[1]!.log.length).toBe(5);
  // It counts from nought there, as the broker wants of a producer it does not know.
  expect(fake.partitions[1]!.seen[0]).toMatchObject({ producerId: 1000n, baseSequence: 0 });
});

test('a Metadata answer with a gap in its partitions stops nothing', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 4 });
  fake.partitions[2]!.isListed = false;
  await using shipping = new Shipping(fake, dir.path);
  await shipping.producer.start();
  shipping.batches(6);
  await shipping.deliverAll();
  expect(fake.partitions.map(({ log }) => log.length)).toEqual([2, 2, 0, 2]);
});

test('a new leader gets nothing while batches are out at the old one', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ nodes: 2 });
  using timers = spyOn(globalThis, 'setTimeout');
  await using shipping = await settled(fake, dir.path);
  const [refresh] = timers.mock.calls.find(([, ms]) => ms === METADATA_MAX_AGE_MS) ?? [];
  fake.hold();
  shipping.batches(2);
  await waitFor(() => fake.held === 2, { timeoutMs: WAIT_MS, what: 'two in flight' });
  fake.partitions[0]!.leader = 1;
  const asked = fake.requests.metadata;
  (refresh as () => void)();
  await waitFor(() => fake.requests.metadata > asked, { timeoutMs: WAIT_MS, what: 'a question' });
  await shipping.cluster.metadata(fake.topic);
  shipping.batches(3);
  fake.release();
  await shipping.deliverAll();
  // Overtaking ones would have been refused for their sequence.
  expect([...shipping.producer.counters.refusals]).toEqual([['NOT_LEADER_OR_FOLLOWER', 2]]);
});

test('a failed question for metadata is forgotten once records are acknowledged again', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  // The inquiry behind OUT_OF_ORDER fails once, so does the question for metadata behind that.
  fake.script(0, refused(CODE.OUT_OF_ORDER_SEQUENCE_NUMBER));
  fake.apiFaults.describeProducers = ['cut'];
  fake.apiFaults.metadata = ['cut'];
  shipping.batch();
  await shipping.deliverAll();
  expect(fake.apiFaults.metadata).toEqual([]);
  expect(shipping.producer.trouble).toBeUndefined();
});

test('an idle producer whose regular question for metadata fails asks again soon', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  using timers = spyOn(globalThis, 'setTimeout');
  await using shipping = await settled(fake, dir.path);
  const [refresh] = timers.mock.calls.find(([, ms]) => ms === METADATA_MAX_AGE_MS) ?? [];
  fake.apiFaults.metadata = ['cut', 'cut'];
  (refresh as () => void)();
  await waitFor(() => shipping.producer.trouble, { timeoutMs: WAIT_MS, what: 'trouble' });
  // Nothing is sent meanwhile that could end it, and the next regular question is minutes away.
  await waitFor(() => shipping.producer.trouble === undefined, {
    timeoutMs: 2000,
    what: 'the end of the trouble',
  });
});

test('however often it is told to ask at once, it goes on with one timer, and none when it is stopped', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  using started = spyOn(globalThis, 'setTimeout');
  using cleared = spyOn(globalThis, 'clearTimeout');
  const pending = (): number => {
    const timers = started.mock.results
      .filter((_result, index) => started.mock.calls[index]?.[1] === METADATA_MAX_AGE_MS)
      .map(({ value }) => value as Timer);
    return timers.filter((timer) => !cleared.mock.calls.some(([gone]) => gone === timer)).length;
  };
  await using shipping = await settled(fake, dir.path);
  const { producer } = shipping;
  expect(pending()).toBe(1);
  fake.apiFaults.metadata = ['cut', 'cut', 'cut'];
  producer.refresh();
  await waitFor(() => producer.trouble, { timeoutMs: WAIT_MS, what: 'trouble' });
  for (let signal = 0; signal < 5; signal++) producer.refresh();
  await waitFor(() => producer.trouble === undefined, { timeoutMs: WAIT_MS, what: 'its end' });
  for (let trip = 0; trip < 5; trip++) await shipping.cluster.metadata(fake.topic);
  expect(pending()).toBe(1);
  producer.stop();
  expect(pending()).toBe(0);
});
