// Proves that a journal nobody uses any more is delivered by a server that runs, beside its own: once, in
// order, settled by what the broker knows of its producer, by one server only, and never while somebody
// else has it. A killed process is a copy of its journal.

import { expect, test } from 'bun:test';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Journal } from '../../src/journal/journal.ts';
import { Cluster } from '../../src/kafka/cluster.ts';
import { Delivery } from '../../src/kafka/delivery.ts';
import { Deviations } from '../../src/kafka/deviations.ts';
import { Quarantine } from '../../src/kafka/quarantine.ts';
import { Topic } from '../../src/kafka/topic.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { copyAsKilled, openJournal, segmentFiles } from '../support/journals.ts';
import { numbersTo, Shipping } from '../support/shipping.ts';
import { shortSleeps } from '../support/short-sleeps.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

/** It looks for orphans every 3 s. */
const WAIT_MS = 10_000;

class Delivering implements AsyncDisposable {
  readonly delivery: Delivery;
  readonly journal: Journal;
  readonly takenOver: string[] = [];
  readonly emptied: Record<string, number> = {};
  readonly errors: string[] = [];

  constructor(fake: FakeCluster, root: string, own = root) {
    const onError = (action: string, error: Error) => {
      this.errors.push(`${action}: ${error.message}`);
    };
    const sizes = { journalBytes: 8 * 2 ** 20, batchBytes: 4096, syncMs: 1000 };
    this.journal = new Journal({ directory: own, ...sizes, recycleOldest: false, onError });
    const onWarning = (message: string): void => void this.errors.push(message);
    const cluster = new Cluster(fake.brokers, 'hoplog-test');
    const topic = new Topic(cluster, { name: fake.topic, acks: 'all', onWarning });
    this.delivery = new Delivery(this.journal, topic, {
      root,
      syncMs: 1000,
      compression: 'none',
      quarantine: new Quarantine(join(root, 'quarantine'), 2 ** 20),
      deviations: new Deviations(({ cause }) => void this.errors.push(cause)),
      onWarning,
      onError,
      onHole: ({ bytes }) => void this.errors.push(`${bytes} bytes lost`),
      onMachineStopped: () => {},
      onChange: () => {},
      onTakenOver: (directory) => void this.takenOver.push(directory),
      onEmptied: (directory, records) => {
        this.emptied[directory] = records;
      },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.delivery.stop();
    await this.journal.close();
  }
}

/** Leaves in `directory` what a server leaves that is killed with `batches` batches of two in flight. */
async function killedInFlight(
  fake: FakeCluster,
  directory: string,
  batches: number,
  from = 1,
): Promise<number> {
  using live = tempDir();
  await using shipping = new Shipping(fake, live.path, { from });
  await shipping.producer.start();
  // From now on each partition takes five at a time.
  shipping.batches(fake.partitions.length);
  await shipping.producer.whenIdle();
  fake.hold();
  shipping.batches(batches, 2);
  const held = Math.min(batches, 5 * fake.partitions.length);
  await waitFor(() => fake.held === held, { timeoutMs: WAIT_MS, what: 'batches in flight' });
  copyAsKilled(live.path, directory);
  return shipping.appended;
}

function expectOnce(fake: FakeCluster, last: number): void {
  for (const { values } of fake.partitions) {
    expect(values.map(Number)).toEqual(values.map(Number).toSorted((a, b) => a - b));
  }
  expect(fake.values.map(Number).toSorted((a, b) => a - b)).toEqual(numbersTo(last));
}

test('at a start all orphans are delivered once and in order, and their files removed', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start({ partitions: 2 });
  const directories = [dir.path, join(dir.path, 'worker-3'), join(dir.path, 'worker-12')];
  let last = 0;
  for (const [index, directory] of directories.entries()) {
    last = await killedInFlight(fake, directory, 4 + index, last + 1);
    fake.process(index);
    fake.drop();
  }
  await using server = new Delivering(fake, dir.path, join(dir.path, 'worker-1'));
  await server.delivery.start();
  expect(server.takenOver).toEqual(directories);
  expect(server.delivery.orphans.map(({ directory }) => directory)).toEqual(directories);
  expect(await server.delivery.drain(WAIT_MS)).toBe(true);
  const emptied = () => Object.keys(server.emptied).length === directories.length;
  await waitFor(emptied, { timeoutMs: WAIT_MS, what: 'the orphans to be empty' });
  expect(fake.values.map(Number).toSorted((a, b) => a - b)).toEqual(numbersTo(last));
  expect(server.delivery.counters).toMatchObject({
    alreadyDelivered: 2 * 3,
    possiblyDuplicated: 0,
  });
  for (const directory of directories) expect(segmentFiles(directory)).toEqual([]);
  expect([server.delivery.orphans, server.errors]).toEqual([[], []]);
});

test('an orphan knows by itself in which cluster it was placed', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using former = await FakeCluster.start({ clusterId: 'former-cluster' });
  await using fake = await FakeCluster.start({ firstProducerId: 2000 });
  const directories = [join(dir.path, 'worker-2'), join(dir.path, 'worker-3')];
  let last = await killedInFlight(former, directories[0]!, 2);
  former.drop();
  last = await killedInFlight(fake, directories[1]!, 2, last + 1);
  fake.drop();
  // Somebody has the former cluster's id here.
  fake.partitions[0]!.remember(1000n, 999);
  await using server = new Delivering(fake, dir.path);
  await server.delivery.start();
  const emptied = () => directories.every((directory) => server.emptied[directory]);
  await waitFor(emptied, { timeoutMs: WAIT_MS, what: 'the orphans to be empty' });
  // Record 1 was settled in the former cluster.
  const numbers = fake.values.map(Number).toSorted((a, b) => a - b);
  expect(numbers).toEqual(numbersTo(last).slice(1));
  const [warning, ...causes] = server.errors;
  expect(warning).toContain(`the journal ${directories[0]}`);
  const cause = 'placed in another topic or cluster';
  expect(causes).toEqual([cause, cause]);
});

test('a journal that becomes an orphan while the server runs is found', async () => {
  using dir = tempDir();
  await using fake = await FakeCluster.start();
  await using server = new Delivering(fake, dir.path);
  await server.delivery.start();
  const sibling = join(dir.path, 'worker-1');
  const open = openJournal(sibling);
  for (const value of ['1', '2', '3']) open.journal.append(value, Date.now());
  open.journal.seal();
  expect(server.takenOver).toEqual([]);
  await open.journal.close();
  await waitFor(() => server.emptied[sibling] === 3, { timeoutMs: WAIT_MS, what: 'the take-over' });
  expectOnce(fake, 3);
});

test('of two servers one takes it', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  const orphan = join(dir.path, 'worker-7');
  const last = await killedInFlight(fake, orphan, 3);
  fake.drop();
  await using one = new Delivering(fake, dir.path, join(dir.path, 'worker-1'));
  await using two = new Delivering(fake, dir.path, join(dir.path, 'worker-2'));
  await Promise.all([one.delivery.start(), two.delivery.start()]);
  const emptied = () => one.emptied[orphan] ?? two.emptied[orphan];
  await waitFor(emptied, { timeoutMs: WAIT_MS, what: 'the take-over' });
  expect([...one.takenOver, ...two.takenOver]).toEqual([orphan]);
  expectOnce(fake, last);
});

test('stopped before it is empty, an orphan is left to the next one', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  const orphan = join(dir.path, 'worker-2');
  const last = await killedInFlight(fake, orphan, 7);
  fake.process(2);
  fake.drop();
  {
    await using server = new Delivering(fake, dir.path);
    fake.hold();
    await server.delivery.start();
    await waitFor(() => fake.held > 0, { timeoutMs: WAIT_MS, what: 'a batch of it in flight' });
    expect(await server.delivery.drain(20)).toBe(false);
    fake.process(1);
  }
  fake.drop();
  expect(segmentFiles(orphan)).not.toEqual([]);
  await using server = new Delivering(fake, dir.path);
  await server.delivery.start();
  await waitFor(() => server.emptied[orphan], { timeoutMs: WAIT_MS, what: 'the second take-over' });
  expectOnce(fake, last);
  expect(server.delivery.counters.possiblyDuplicated).toBe(0);
});

test('what keeps the batches of an orphan alone from Kafka is said, and stops nothing else', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  const [refused, other] = [join(dir.path, 'worker-2'), join(dir.path, 'worker-3')];
  const last = await killedInFlight(fake, refused, 2);
  fake.drop();
  const partition = fake.partitions[0]!;
  const INVALID_RECORD = 87;
  partition.refuses = ({ producerId }) => (producerId === 1000n ? INVALID_RECORD : undefined);
  await using server = new Delivering(fake, dir.path);
  await server.delivery.start();
  const { delivery } = server;
  await waitFor(() => delivery.trouble, { timeoutMs: WAIT_MS, what: 'the trouble' });
  expect(delivery.trouble).toBe(`${refused}: INVALID_RECORD`);
  {
    await using successor = openJournal(other);
    successor.journal.append('9', Date.now());
    successor.journal.seal();
  }
  await waitFor(() => server.emptied[other], { timeoutMs: WAIT_MS, what: 'the other orphan' });
  server.journal.append('8', Date.now());
  server.journal.seal();
  await waitFor(() => fake.values.includes('8'), { timeoutMs: WAIT_MS, what: 'our own record' });
  expect(delivery.trouble).toContain(refused);
  partition.refuses = () => undefined;
  await waitFor(() => server.emptied[refused], { timeoutMs: WAIT_MS, what: 'the first orphan' });
  expect(delivery.trouble).toBeUndefined();
  expect(fake.values.length).toBe(last + 2);
});

test('while Kafka takes nothing, orphans are left alone', async () => {
  using dir = tempDir();
  using sleeps = shortSleeps();
  await using fake = await FakeCluster.start();
  const orphan = join(dir.path, 'worker-2');
  const last = await killedInFlight(fake, orphan, 2);
  fake.drop();
  fake.partitions[0]!.leader = -1;
  await using server = new Delivering(fake, dir.path);
  const started = server.delivery.start();
  await waitFor(() => sleeps.asked.length > 5, { timeoutMs: WAIT_MS, what: 'tries' });
  expect(server.takenOver).toEqual([]);
  await using _successor = openJournal(orphan);
  fake.partitions[0]!.leader = 0;
  await started;
  expect(server.takenOver).toEqual([]);
  expect(fake.values.length).toBeLessThan(last);
});

test('one that cannot be read is reported once, and the others are delivered', async () => {
  using dir = tempDir();
  using _ = shortSleeps();
  await using fake = await FakeCluster.start();
  const good = join(dir.path, 'worker-2');
  const last = await killedInFlight(fake, good, 2);
  fake.drop();
  const bad = join(dir.path, 'worker-1');
  mkdirSync(join(bad, 'lock'), { recursive: true });
  writeFileSync(join(bad, '00000001.segment'), '');
  await using server = new Delivering(fake, dir.path);
  await server.delivery.start();
  await waitFor(() => server.emptied[good], { timeoutMs: WAIT_MS, what: 'the good one' });
  expectOnce(fake, last);
  expect(server.errors).toHaveLength(1);
  expect(server.errors[0]).toContain(`take over ${bad}`);
});
