// Reading a topic without a consumer group: every record once, from where it begins to where it ends,
// in rounds; over answers that are cut in the middle of a batch; all codecs hoplog writes.

import { expect, test } from 'bun:test';
import { Cluster } from '../../src/kafka/cluster.ts';
import { TopicReader, type TopicRecord } from '../../src/kafka/topic-reader.ts';
import { failureOf } from '../support/failure-of.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE } from '../support/fake-partition.ts';
import { Shipping } from '../support/shipping.ts';
import { tempDir } from '../support/temp-dir.ts';

class Reading implements AsyncDisposable {
  readonly #cluster: Cluster;
  readonly reader: TopicReader;

  constructor(fake: FakeCluster, topic = 'log') {
    this.#cluster = new Cluster(fake.brokers, 'hoplog-test');
    this.reader = new TopicReader(this.#cluster, topic);
  }

  /** The values of one round. */
  async round(): Promise<string[]> {
    return (await this.records()).map(({ value }) => Buffer.from(value).toString());
  }

  async records(): Promise<TopicRecord[]> {
    return (await Array.fromAsync(this.reader.read())).flat();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster.close();
  }
}

/** Ships `batches` × `records` numbered records. */
async function ship(
  fake: FakeCluster,
  batches: number,
  records: number,
  compression: 'none' | 'gzip' | 'zstd' = 'none',
): Promise<string[]> {
  using dir = tempDir();
  await using shipping = new Shipping(fake, dir.path, { compression });
  await shipping.producer.start();
  shipping.batches(batches, records);
  expect(await shipping.producer.drain(5000)).toBe(true);
  return Array.from({ length: batches * records }, (_, index) => `${index + 1}`);
}

function sorted(values: readonly string[]): string[] {
  return values.toSorted((a, b) => Number(a) - Number(b));
}

for (const compression of ['none', 'gzip', 'zstd'] as const) {
  test(`records of batches compressed with ${compression} are read once, in order`, async () => {
    await using fake = await FakeCluster.start();
    const values = await ship(fake, 6, 5, compression);
    await using reading = new Reading(fake);
    expect(await reading.round()).toEqual(values);
  });
}

test('partition, offset and time of each record are told', async () => {
  await using fake = await FakeCluster.start({ partitions: 2, nodes: 2 });
  const before = Date.now();
  await ship(fake, 4, 2);
  await using reading = new Reading(fake);
  const records = await reading.records();
  expect(records.map(({ partition, offset }) => [partition, offset])).toEqual([
    ...[0, 1, 2, 3].map((offset): [number, number] => [0, offset]),
    ...[0, 1, 2, 3].map((offset): [number, number] => [1, offset]),
  ]);
  for (const { timestamp } of records) expect(timestamp).toBeWithin(before, Date.now() + 1);
});

test('a round ends where the topic ends, the next one goes on from there', async () => {
  await using fake = await FakeCluster.start({ partitions: 3 });
  await using reading = new Reading(fake);
  expect(await reading.round()).toEqual([]);
  const first = await ship(fake, 7, 3);
  expect(sorted(await reading.round())).toEqual(first);
  expect(await reading.round()).toEqual([]);
  await ship(fake, 2, 1);
  expect(sorted(await reading.round())).toEqual(['1', '2']);
});

test('answers cut in the middle of a batch are read to the end, nothing twice', async () => {
  await using fake = await FakeCluster.start();
  const values = await ship(fake, 20, 3);
  for (const fetchBytesMax of [1, 100, 333]) {
    fake.fetchBytesMax = fetchBytesMax;
    await using reading = new Reading(fake);
    expect(await reading.round()).toEqual(values);
    expect(await reading.round()).toEqual([]);
  }
});

test('an answer that begins in front of the offset asked for gives nothing twice', async () => {
  await using fake = await FakeCluster.start();
  await ship(fake, 1, 5);
  const { log, records } = fake.partitions[0]!;
  await using reading = new Reading(fake);
  expect(await reading.round()).toHaveLength(5);
  // As after a compaction: the batch asked for begins before the offset asked for.
  const wider = Buffer.from(log[0]!);
  wider.writeInt32BE(9, 23);
  log[0] = wider;
  records.push(...records.slice(0, 5));
  expect(await reading.round()).toEqual([]);
});

test('a partition without a leader is left out of a round', async () => {
  await using fake = await FakeCluster.start({ partitions: 2 });
  const values = await ship(fake, 4, 1);
  fake.partitions[0]!.leader = -1;
  await using reading = new Reading(fake);
  const without = await reading.round();
  expect(without).toHaveLength(2);
  fake.partitions[0]!.leader = 0;
  expect(sorted([...without, ...(await reading.round())])).toEqual(values);
});

test('the first offset of each partition and those without a leader are told', async () => {
  await using fake = await FakeCluster.start({ partitions: 2 });
  await using reading = new Reading(fake);
  const { reader } = reading;
  fake.partitions[1]!.leader = -1;
  await reading.round();
  expect([reader.leaderless, [...reader.begins]]).toEqual([[1], [[0, 0]]]);
  fake.partitions[1]!.leader = 0;
  await reading.round();
  expect([reader.leaderless, reader.begins.size]).toEqual([[], 2]);
});

test('a broker that answers with nothing in front of the end is asked again, not for ever', async () => {
  await using fake = await FakeCluster.start();
  const values = await ship(fake, 20, 3);
  fake.emptyFetches = 5;
  await using reading = new Reading(fake);
  expect(await reading.round()).toEqual(values);
  fake.emptyFetches = Infinity;
  await using another = new Reading(fake);
  expect((await failureOf(another.round())).message).toContain('gives nothing from offset 0 on');
});

test('control batches of transactions are passed over', async () => {
  await using fake = await FakeCluster.start();
  await ship(fake, 3, 1);
  const { log } = fake.partitions[0]!;
  log[1]!.writeInt16BE(1 << 5, 21);
  await using reading = new Reading(fake);
  expect(await reading.round()).toEqual(['1', '3']);
});

test('a codec hoplog does not write is an error that names it', async () => {
  await using fake = await FakeCluster.start();
  await ship(fake, 1, 1);
  fake.partitions[0]!.log[0]!.writeInt16BE(3, 21);
  await using reading = new Reading(fake);
  expect((await failureOf(reading.round())).message).toContain('compressed with codec 3');
});

test('refusals name the topic or the partition, and Kafka’s reason', async () => {
  await using fake = await FakeCluster.start();
  await using other = new Reading(fake, 'other');
  expect((await failureOf(other.round())).message).toContain(
    'topic other: UNKNOWN_TOPIC_OR_PARTITION',
  );
  fake.apiFaults.listOffsets = [{ code: CODE.TOPIC_AUTHORIZATION_FAILED }];
  await using reading = new Reading(fake);
  expect((await failureOf(reading.round())).message).toContain(
    'partition 0: TOPIC_AUTHORIZATION_FAILED',
  );
  fake.apiFaults.fetch = [{ code: CODE.NOT_LEADER_OR_FOLLOWER }];
  expect((await failureOf(reading.round())).message).toContain(
    'partition 0: NOT_LEADER_OR_FOLLOWER',
  );
});
