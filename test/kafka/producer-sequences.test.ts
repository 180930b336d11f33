// The producer against brokers that doubt its sequences or find its batches too large: what arrived
// is not sent again, what did not is; one record that no broker takes is given up and counted, its
// neighbours arrive; where the broker cannot tell any more, the records are counted as possibly
// twice. The rules of the fake broker are Kafka's, above all this one: a producer it does not know
// may begin with any sequence.

import { expect, spyOn, test } from 'bun:test';
import { PartitionQueue } from '../../src/kafka/partition-queue.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE, refused, times } from '../support/fake-partition.ts';
import { settled, Shipping } from '../support/shipping.ts';
import { laterClock, shortSleeps } from '../support/short-sleeps.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const HOURS_MS = 3_600_000;

/** Producer ids in the order of their first batch. */
function producerIds(fake: FakeCluster): bigint[] {
  return [...new Set(fake.partitions.flatMap(({ seen }) => seen.map((batch) => batch.producerId)))];
}

test('fault 25: a batch too large for the broker arrives in parts, in order', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.partitions[0]!.batchBytesMax = 600;
  shipping.batch(16, 100);
  shipping.batch(2, 100);
  await shipping.deliverAll();
  expect(shipping.warnings.filter((line) => line.includes('BATCH_BYTES'))).toHaveLength(1);
  expect(shipping.producer.counters).toMatchObject({ oversize: 0, possiblyDuplicated: 0 });
  expect(shipping.producer.counters).toMatchObject({ acknowledged: 19, acknowledgedBatches: 3 });
});

test('the very first batch, too large, is not lost when a smaller one behind it is taken', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  fake.partitions[0]!.batchBytesMax = 600;
  await using shipping = new Shipping(fake, dir.path);
  shipping.batch(16, 100);
  shipping.batch(2, 100);
  await shipping.producer.start();
  await shipping.deliverAll();
});

test('the very first batch, refused, is not lost when the one behind it is taken', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  fake.script(0, refused(CODE.NOT_ENOUGH_REPLICAS));
  await using shipping = new Shipping(fake, dir.path);
  shipping.batches(2, 3);
  await shipping.producer.start();
  await shipping.deliverAll();
});

test('the first batch behind a new producer id is not lost either', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.partitions[0]!.fence(1000n);
  // Both batches are refused for their epoch; the first one again under the new id.
  fake.script(0, { kind: 'none' }, { kind: 'none' }, refused(CODE.NOT_ENOUGH_REPLICAS));
  shipping.batches(2, 3);
  await shipping.deliverAll();
});

test('fault 26: one record too large is put aside and counted, its neighbours arrive', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.partitions[0]!.batchBytesMax = 600;
  for (const [number, bytes] of [
    [2, 50],
    [3, 900],
    [4, 50],
  ] as const) {
    shipping.journal.append(`${number}`.padEnd(bytes), Date.now());
  }
  shipping.journal.seal();
  shipping.journal.append('5', Date.now());
  shipping.journal.seal();
  expect(await shipping.producer.drain(5000)).toBe(true);
  expect(fake.values.map(Number)).toEqual([1, 2, 4, 5]);
  expect(shipping.producer.counters.oversize).toBe(1);
  expect(shipping.deviations).toEqual([
    { deviation: 'put aside', cause: 'too large for the broker', numbers: [3] },
  ]);
  expect(shipping.journal.backlogBytes).toBe(0);
});

test('batches refused outright are not counted as possibly twice', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.partitions[0]!.batchBytesMax = 600;
  // A new id is needed behind the record that is given up; its neighbour was never appended before.
  shipping.batch(1, 900);
  shipping.batch(1);
  expect(await shipping.producer.drain(5000)).toBe(true);
  expect(fake.values.map(Number)).toEqual([1, 3]);
  expect(shipping.producer.counters.possiblyDuplicated).toBe(0);
});

test('fault 28: OUT_OF_ORDER for a batch that is in order means: ask, and send it again', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, refused(CODE.OUT_OF_ORDER_SEQUENCE_NUMBER));
  shipping.batch(2);
  await shipping.deliverAll();
  expect(producerIds(fake)).toEqual([1000n]);
  expect(fake.requests.describeProducers).toBe(1);
});

test('fault 28: OUT_OF_ORDER at the head of the line, behind a gap, brings a new producer id', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  shipping.batch(5);
  await shipping.deliverAll();
  // As after an unclean leader election: the log ends earlier than it did.
  fake.partitions[0]!.remember(1000n, 2);
  shipping.batches(4, 2);
  await shipping.deliverAll();
  expect(producerIds(fake)).toEqual([1000n, 1001n]);
  expect(fake.partitions[0]!.producers).toContainEqual({
    producerId: 1001n,
    epoch: 0,
    lastSequence: 7,
  });
});

test('fault 29: OUT_OF_ORDER behind a failed head goes back in line with it, under the same id', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, refused(CODE.NOT_ENOUGH_REPLICAS));
  shipping.batches(5, 2);
  await shipping.deliverAll();
  expect(shipping.producer.counters.refusals).toEqual(
    new Map([
      ['NOT_ENOUGH_REPLICAS', 1],
      ['OUT_OF_ORDER_SEQUENCE_NUMBER', 4],
    ]),
  );
  expect(producerIds(fake)).toEqual([1000n]);
  expect(shipping.producer.counters.possiblyDuplicated).toBe(0);
});

test('fault 30: DUPLICATE_SEQUENCE_NUMBER is as good as an acknowledgement', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, { kind: 'appended, refused', code: CODE.DUPLICATE_SEQUENCE_NUMBER });
  shipping.batch(3);
  await shipping.deliverAll();
  expect(shipping.producer.counters).toMatchObject({ acknowledged: 4, retries: 0 });
});

for (const [fault, name, code] of [
  [31, 'UNKNOWN_PRODUCER_ID', CODE.UNKNOWN_PRODUCER_ID],
  [32, 'INVALID_PRODUCER_EPOCH', CODE.INVALID_PRODUCER_EPOCH],
] as const) {
  test(`fault ${fault}: ${name} brings a new producer id for all that waits`, async () => {
    using dir = tempDir();
    using _ = shortSleeps();
    await using fake = await FakeCluster.start();
    await using shipping = await settled(fake, dir.path);
    fake.partitions[0]!.forgetProducers();
    fake.script(0, ...times(3, refused(code)));
    shipping.batches(3, 2);
    await shipping.deliverAll();
    expect(producerIds(fake)).toEqual([1000n, 1001n]);
    expect(shipping.producer.counters.refusals.get(name)).toBe(3);
  });
}

for (const [fault, code] of [
  [31, CODE.UNKNOWN_PRODUCER_ID],
  [32, CODE.INVALID_PRODUCER_EPOCH],
] as const) {
  test(`fault ${fault}: what had no clear answer before is counted, by name, when the id changes`, async () => {
    using dir = tempDir();
    using _ = shortSleeps();
    await using fake = await FakeCluster.start();
    await using shipping = await settled(fake, dir.path);
    const [partition] = fake.partitions;
    let tries = 0;
    partition!.refuses = ({ producerId }) => {
      if (producerId !== 1000n) return undefined;
      tries++;
      // It may still be on its way into the log when it is not found there.
      if (tries === 1) return CODE.REQUEST_TIMED_OUT;
      partition!.forgetProducers();
      return code;
    };
    shipping.batch(2);
    await shipping.deliverAll();
    expect(producerIds(fake)).toEqual([1000n, 1001n]);
    expect(shipping.deviations).toEqual([
      { deviation: 'may be twice', cause: 'sequences refused', numbers: [2, 3] },
    ]);
  });
}

test('fault 33: a producer that was known and is not any more was forgotten, however short ago', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  // As with a short producer.id.expiration.ms, or a clock of ours that is a day behind.
  fake.partitions[0]!.forgetsAtOnce = true;
  fake.script(0, { kind: 'appended, cut' });
  shipping.batch(2);
  expect(await shipping.producer.drain(5000)).toBe(true);
  expect(fake.values.map(Number)).toEqual([1, 2, 3, 2, 3]);
  expect(shipping.deviations).toEqual([
    { deviation: 'may be twice', cause: 'producer forgotten by the broker', numbers: [2, 3] },
  ]);
});

test('a fenced producer gets a new id for one partition; the other ones keep theirs', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 2 });
  await using shipping = await settled(fake, dir.path);
  fake.partitions[0]!.fence(1000n);
  shipping.batches(10);
  await shipping.deliverAll();
  const idsOf = (partition: number) => fake.partitions[partition]!.producers.length;
  expect([idsOf(0), idsOf(1)]).toEqual([2, 1]);
});

test('fault 80: half-way to the wrap a partition gets another producer id, without a pause', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 2 });
  await using shipping = await settled(fake, dir.path);
  const nextStamp = spyOn(PartitionQueue.prototype, 'nextStamp');
  shipping.batch();
  const queue = nextStamp.mock.contexts[0] as PartitionQueue;
  nextStamp.mockRestore();
  await shipping.deliverAll();
  fake.partitions[queue.partition]!.remember(1000n, 2 ** 30 - 3);
  queue.stamp = { ...queue.stamp, baseSequence: 2 ** 30 - 2 };
  fake.apiFaults.initProducerId = [{ code: CODE.COORDINATOR_LOAD_IN_PROGRESS }];
  const partition = fake.partitions[queue.partition]!;
  await waitFor(
    () => {
      shipping.batch(2);
      return partition.seen.some(({ producerId }) => producerId > 1000n);
    },
    { timeoutMs: 5000, what: 'another producer id' },
  );
  await shipping.deliverAll();
  expect(shipping.producer.counters).toMatchObject({ retries: 0, possiblyDuplicated: 0 });
  expect(producerIds(fake)).toHaveLength(2);
});

test('fault 33: a lost answer that the broker forgot about is sent again and counted', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.script(0, { kind: 'appended, cut' });
  // So long ago that producer.id.expiration.ms is over when the producer asks.
  shipping.batch(2);
  fake.partitions[0]!.forgetsAtOnce = true;
  using _later = laterClock(25 * HOURS_MS);
  expect(await shipping.producer.drain(5000)).toBe(true);
  expect(fake.values.map(Number)).toEqual([1, 2, 3, 2, 3]);
  expect(shipping.deviations).toEqual([
    { deviation: 'may be twice', cause: 'producer forgotten by the broker', numbers: [2, 3] },
  ]);
});

test('when DescribeProducers is not allowed, delivery goes on, warned about and counted', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  await using shipping = await settled(fake, dir.path);
  fake.apiFaults.describeProducers = [{ code: CODE.TOPIC_AUTHORIZATION_FAILED }];
  fake.script(0, { kind: 'appended, cut' });
  shipping.batch(2);
  // The broker's own memory of five batches still finds the duplicate.
  await shipping.deliverAll();
  expect(shipping.warnings.join()).toContain('grant READ on topic log');
  expect(shipping.producer.counters.possiblyDuplicated).toBe(2);
  expect(shipping.deviations).toEqual([
    { deviation: 'may be twice', cause: 'DescribeProducers refused', numbers: [2, 3] },
  ]);
});
