// The fault proxy itself, between hoplog's own producer and a fake cluster: without a fault it changes
// nothing but the addresses; each fault does what its name says, is counted when it happens and only
// then, and is over when it is healed. What the faults do to hoplog on a real Kafka: test/faults.

import { expect, test } from 'bun:test';
import { connect } from 'node:net';
import { Cluster } from '../../src/kafka/cluster.ts';
import { PartitionQueue } from '../../src/kafka/partition-queue.ts';
import { failureOf } from './failure-of.ts';
import { FakeCluster, type FakeClusterOptions } from './fake-broker.ts';
import { CODE } from './fake-partition.ts';
import { FaultProxy } from './fault-proxy.ts';
import type { Mischief } from './proxy-passage.ts';
import { Random } from './seed.ts';
import { settled } from './shipping.ts';
import { shortSleeps } from './short-sleeps.ts';
import { tempDir } from './temp-dir.ts';
import { waitFor } from './wait-for.ts';

const WAIT_MS = 5_000;

/** A producer that reaches a fake cluster through a proxy only, and has delivered a record a partition. */
async function proxied(options: FakeClusterOptions = {}) {
  const resources = new AsyncDisposableStack();
  const dir = resources.use(tempDir());
  const sleeps = resources.use(shortSleeps());
  const fake = resources.use(await FakeCluster.start(options));
  const nodes = fake.brokers.map((address, id) => ({ id, ...address }));
  const proxy = resources.use(await FaultProxy.start(nodes, { random: new Random(1) }));
  const through = Object.create(fake, { brokers: { get: () => proxy.addresses } }) as FakeCluster;
  const shipping = resources.use(await settled(through, dir.path));
  return { fake, proxy, shipping, sleeps, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

test('without a fault all arrives, by way of the proxy alone', async () => {
  await using way = await proxied({ nodes: 3, partitions: 3 });
  way.shipping.batches(20, 3);
  await way.shipping.deliverAll();
  expect(way.proxy.requests('produce').length).toBe(way.fake.requests.produce);
  expect(new Set(way.proxy.requests('produce').map(({ node }) => node))).toEqual(
    new Set([0, 1, 2]),
  );
  expect(way.fake.connections).toBe(way.proxy.connections);
  expect(way.proxy.hits).toBe(0);
});

/** What the partition has got of a batch after the fault, before anything was sent again. */
const SPOILED: readonly { mischief: Mischief; appended: boolean; found: number }[] = [
  { mischief: { kind: 'cut' }, appended: false, found: 0 },
  { mischief: { kind: 'half a request' }, appended: false, found: 0 },
  { mischief: { kind: 'half an answer' }, appended: true, found: 4 },
  { mischief: { kind: 'answer lost' }, appended: true, found: 4 },
  { mischief: { kind: 'refused', code: CODE.NOT_ENOUGH_REPLICAS }, appended: false, found: 0 },
  { mischief: { kind: 'answered', code: CODE.REQUEST_TIMED_OUT }, appended: true, found: 4 },
  { mischief: { kind: 'garbled', garble: () => Buffer.alloc(64, 0xff) }, appended: true, found: 4 },
];

for (const { mischief, appended, found } of SPOILED) {
  const outcome = appended ? 'the broker has the batch' : 'the broker never sees the batch';
  test(`${mischief.kind}: ${outcome}, once`, async () => {
    await using way = await proxied();
    const fault = way.proxy.inflict(mischief, { api: 'produce', times: 1 });
    way.shipping.batch(4);
    await way.shipping.deliverAll();
    expect(fault.hits).toBe(1);
    expect(way.fake.partitions[0]!.seen.length).toBe(2);
    expect(way.shipping.producer.counters.alreadyDelivered).toBe(found);
    expect(way.shipping.producer.counters.retries).toBe(appended ? 0 : 1);
  });
}

test('a batch with a bit flipped on the way is corrupt to the broker, and sound the next time', async () => {
  await using way = await proxied();
  const fault = way.proxy.inflict({ kind: 'bit flipped' }, { api: 'produce', times: 1 });
  way.shipping.batch(4);
  await way.shipping.deliverAll();
  expect(fault.hits).toBe(1);
  expect(way.shipping.producer.counters.refusals).toEqual(new Map([['CORRUPT_MESSAGE', 1]]));
  const [, flipped, sound] = way.fake.partitions[0]!.seen;
  expect(flipped!.bytes.equals(sound!.bytes)).toBe(false);
});

test('answers are lost together once there are as many as was said', async () => {
  await using way = await proxied();
  const fault = way.proxy.inflict({ kind: 'answer lost', count: 3 }, { api: 'produce', times: 3 });
  way.shipping.batches(2);
  await waitFor(() => way.fake.partitions[0]!.seen.length === 3, { timeoutMs: WAIT_MS, what: '2' });
  expect([fault.hits, way.shipping.producer.inFlight]).toEqual([0, 2]);
  way.shipping.batch();
  await way.shipping.deliverAll();
  expect(fault.hits).toBe(3);
  expect(way.shipping.producer.counters.alreadyDelivered).toBe(3);
});

test('a silent broker has the batch, and its connection stays', async () => {
  await using way = await proxied();
  const fault = way.proxy.inflict({ kind: 'silence' }, { api: 'produce', times: 1 });
  const before = way.proxy.connections;
  way.shipping.batches(2);
  await waitFor(() => way.fake.values.length === 3, { timeoutMs: WAIT_MS, what: 'both batches' });
  await fault.strikes();
  await waitFor(() => way.shipping.producer.inFlight === 1, { timeoutMs: WAIT_MS, what: 'one' });
  expect(way.proxy.connections).toBe(before);
});

test('a fault hits the partition and the API it is for, as often as was said', async () => {
  await using way = await proxied({ partitions: 2 });
  const refused = { kind: 'refused', code: CODE.NOT_LEADER_OR_FOLLOWER } as const;
  const fault = way.proxy.inflict(refused, { api: 'produce', partition: 1, times: 3 });
  const other = way.proxy.inflict(refused, { api: 'produce', topic: 'another' });
  way.shipping.batches(10);
  await way.shipping.deliverAll();
  expect([fault.hits, other.hits, way.proxy.hits]).toEqual([3, 0, 3]);
  const { refusals } = way.shipping.producer.counters;
  expect(refusals.get('NOT_LEADER_OR_FOLLOWER')).toBe(3);
});

test('error codes of the other APIs are rewritten', async () => {
  await using way = await proxied();
  for (const api of ['initProducerId', 'describeProducers', 'metadata'] as const) {
    const code = CODE.COORDINATOR_LOAD_IN_PROGRESS;
    const fault = way.proxy.inflict({ kind: 'answered', code }, { api, times: 1 });
    const { topic } = way.shipping;
    const queue = new PartitionQueue(0, { producerId: 1n, producerEpoch: 0 });
    queue.leader = 0;
    const asked = {
      initProducerId: () => topic.newProducerId(),
      describeProducers: () => topic.describeProducers(queue),
      metadata: () => topic.metadata(),
    };
    expect(String(await failureOf(asked[api]()))).toContain('COORDINATOR_LOAD_IN_PROGRESS');
    expect(fault.hits).toBe(1);
    await asked[api]();
  }
});

test('Metadata is changed as the test says, and only until it is healed', async () => {
  await using way = await proxied({ nodes: 2, partitions: 2 });
  const fault = way.proxy.inflict(
    {
      kind: 'metadata',
      change: ({ topics }) => topics[0]!.partitions.forEach((partition) => (partition.leader = -1)),
    },
    { api: 'metadata' },
  );
  const leaders = async (): Promise<number[]> =>
    (await way.shipping.cluster.metadata('log')).partitions.map(({ leader }) => leader);
  expect(await leaders()).toEqual([-1, -1]);
  await fault.heal();
  expect(await leaders()).toEqual([0, 1]);
  expect(fault.hits).toBe(1);
});

test('answers that come late keep their order, and what waits behind them', async () => {
  await using way = await proxied();
  way.proxy.inflict({ kind: 'late', ms: 100 }, { api: 'produce', times: 1 });
  const startedAt = performance.now();
  way.shipping.batches(3);
  await way.shipping.deliverAll();
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(99);
  expect(way.shipping.producer.counters.retries).toBe(0);
});

test('a throttled producer keeps its next request back for as long as it was told', async () => {
  await using way = await proxied();
  const fault = way.proxy.inflict(
    { kind: 'throttled', throttleMs: 200 },
    { api: 'produce', times: 1 },
  );
  way.shipping.batch();
  await way.shipping.deliverAll();
  way.shipping.batch();
  await way.shipping.deliverAll();
  const [throttled, next] = way.proxy.requests('produce').slice(-2);
  expect(next!.at - throttled!.at).toBeGreaterThanOrEqual(199);
  expect(fault.hits).toBe(1);
});

test('a slow link takes the time that bytes and distance need, each way', async () => {
  await using way = await proxied();
  const fault = way.proxy.slow({ delayMs: 50, bytesPerSecond: 100_000 });
  const startedAt = performance.now();
  way.shipping.batches(3, 1, 3_300);
  await way.shipping.deliverAll();
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(50 + 99 + 50 - 2);
  expect(fault.hits).toBe(6);
  await fault.heal();
  way.shipping.batch();
  await way.shipping.deliverAll();
  expect(fault.hits).toBe(6);
});

test('connections are refused until that is healed', async () => {
  await using way = await proxied();
  const fault = await way.proxy.refuse(0);
  expect(fault.hits).toBe(1);
  const [address] = way.proxy.addresses;
  const { promise, resolve } = Promise.withResolvers<string>();
  connect(address!).on('error', (error: Error & { code: string }) => resolve(error.code));
  expect(await promise).toBe('ECONNREFUSED');
  way.shipping.batch();
  await fault.heal();
  await way.shipping.deliverAll();
  expect(way.proxy.addresses).toEqual([address!]);
});

test('in a black hole nothing fails and nothing comes, until it is healed', async () => {
  await using way = await proxied();
  const hole = way.proxy.blackHole();
  way.shipping.batch();
  await using late = asker(way.proxy);
  await waitFor(() => hole.hits === 2 && way.shipping.producer.inFlight === 1, {
    timeoutMs: WAIT_MS,
    what: 'both connections, and a batch that is on its way',
  });
  expect(way.fake.values).toHaveLength(1);
  await hole.heal();
  await way.shipping.deliverAll();
  expect(await late.answered).toBe(true);
});

/** A second client that asks for metadata. */
function asker(proxy: FaultProxy) {
  const cluster = new Cluster(proxy.addresses, 'another');
  const answered = cluster.metadata('log').then(({ nodes }) => nodes.length > 0);
  return { answered, [Symbol.asyncDispose]: () => cluster.close() };
}

test('nodes that moved or changed hosts are found where Metadata says they are', async () => {
  await using way = await proxied({ nodes: 3, partitions: 3 });
  const before = way.proxy.addresses;
  expect(way.proxy.swapHosts().hits).toBe(3);
  expect(way.proxy.addresses).toEqual([before[1]!, before[2]!, before[0]!]);
  way.shipping.batches(9);
  await way.shipping.deliverAll();
  const swapped = way.proxy.addresses;
  await way.proxy.move('127.0.0.2');
  expect(way.proxy.addresses).toEqual(swapped.map(({ port }) => ({ host: '127.0.0.2', port })));
  await using late = asker(way.proxy);
  expect(await late.answered).toBe(true);
});
