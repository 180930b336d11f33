// doctor's steps about the topic, against an in-process broker: the probe goes over the producer's own
// requests and arrives once; what a broker refuses is the step that fails, with what to do; what
// cannot be seen is skipped.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test';
import { diagnose, expectFailure, findingOf, stepsThat } from '../../support/doctor.ts';
import { FakeCluster } from '../../support/fake-broker.ts';
import type { Options } from '../../support/server.ts';
import { tempDir } from '../../support/temp-dir.ts';

setDefaultTimeout(30_000);

const dir = tempDir();
afterAll(() => dir[Symbol.dispose]());
const DENIED = 29;
const UNSUPPORTED_COMPRESSION = 76;
const INVALID_TIMESTAMP = 32;
const COORDINATOR_LOAD_IN_PROGRESS = 14;
const NOT_ENOUGH_REPLICAS = 19;

function optionsFor(fake: FakeCluster, options: Options = {}): Options {
  const brokers = fake.brokers.map(({ host, port }) => `${host}:${port}`).join();
  const journal = { JOURNAL_DIR: dir.path, JOURNAL_BYTES: '4MiB', BATCH_BYTES: 16_384 };
  return { KAFKA_BROKERS: brokers, ...journal, ...options };
}

for (const compression of ['none', 'gzip', 'zstd']) {
  test(`all is well: one probe, read back; compression ${compression}`, async () => {
    await using fake = await FakeCluster.start({ partitions: 2 });
    const diagnosis = await diagnose(optionsFor(fake, { KAFKA_COMPRESSION: compression }));
    expect(stepsThat(diagnosis, 'failed')).toEqual([]);
    expect(findingOf(diagnosis, 'topic').what).toBe('log: 2 partitions, 1 replicas, all in sync');
    expect(findingOf(diagnosis, 'probe record').what).toContain('offset 0 in ');
    expect(findingOf(diagnosis, 'probe record').what).toEndWith(', and read back');
    expect(fake.partitions.map(({ log }) => log.length)).toEqual([1, 0]);
    expect(fake.requests.initProducerId).toBe(1);
  });
}

test('--no-probe writes nothing', async () => {
  await using fake = await FakeCluster.start();
  const diagnosis = await diagnose(optionsFor(fake), '--no-probe');
  expect(findingOf(diagnosis, 'probe record')).toMatchObject({ state: 'skipped' });
  expect(fake.requests.produce).toBe(0);
});

test('a missing topic', async () => {
  await using fake = await FakeCluster.start();
  const diagnosis = await diagnose(optionsFor(fake, { KAFKA_TOPIC: 'other' }));
  expectFailure(diagnosis, 'topic', 'UNKNOWN_TOPIC_OR_PARTITION', 'create topic other');
  expect(findingOf(diagnosis, 'READ')).toMatchObject({ state: 'skipped', what: 'topic failed' });
});

test('READ refused: the record is written, and not read back', async () => {
  await using fake = await FakeCluster.start();
  fake.apiFaults.describeProducers = [{ code: DENIED }];
  const diagnosis = await diagnose(optionsFor(fake));
  expectFailure(diagnosis, 'READ', 'TOPIC_AUTHORIZATION_FAILED', 'grant READ on topic log');
  expect(findingOf(diagnosis, 'probe record').what).toEndWith('not read back: READ failed');
});

test('with acks=1 READ is not asked for, and reading back is the doctor’s alone', async () => {
  await using fake = await FakeCluster.start();
  fake.apiFaults.fetch = [{ code: DENIED }];
  const diagnosis = await diagnose(optionsFor(fake, { KAFKA_ACKS: 1 }));
  expect(diagnosis.exitCode).toBe(0);
  expect(stepsThat(diagnosis, 'warning')).toContain('probe record');
  expect(findingOf(diagnosis, 'READ').state).toBe('skipped');
});

test('WRITE refused, at the producer id or at the record', async () => {
  for (const refuse of [
    (fake: FakeCluster) => void (fake.apiFaults.initProducerId = [{ code: 31 }]),
    (fake: FakeCluster) => fake.script(0, { kind: 'refused', code: DENIED }),
  ]) {
    await using fake = await FakeCluster.start();
    refuse(fake);
    const diagnosis = await diagnose(optionsFor(fake));
    expectFailure(diagnosis, 'probe record', 'AUTHORIZATION_FAILED', 'grant WRITE on the topic');
  }
});

test('other refusals of the record say what they are', async () => {
  for (const [code, name, advice] of [
    [UNSUPPORTED_COMPRESSION, 'UNSUPPORTED_COMPRESSION_TYPE', 'settings of topic log'],
    [INVALID_TIMESTAMP, 'INVALID_TIMESTAMP', 'clock'],
  ] as const) {
    await using fake = await FakeCluster.start();
    fake.script(0, { kind: 'refused', code });
    expectFailure(await diagnose(optionsFor(fake)), 'probe record', name, advice);
  }
});

test('a broker that asks for patience gets it, and the record is there once', async () => {
  await using fake = await FakeCluster.start();
  fake.script(0, { kind: 'refused', code: NOT_ENOUGH_REPLICAS });
  fake.apiFaults.initProducerId = [{ code: COORDINATOR_LOAD_IN_PROGRESS }];
  const diagnosis = await diagnose(optionsFor(fake));
  expect(stepsThat(diagnosis, 'failed')).toEqual([]);
  expect(fake.values).toHaveLength(1);
});

test('settings are judged, or skipped where they may not be seen', async () => {
  await using fake = await FakeCluster.start();
  fake.settings.topic = { 'max.message.bytes': '1000', 'min.insync.replicas': '2' };
  const judged = await diagnose(optionsFor(fake));
  expect(stepsThat(judged, 'failed')).toEqual(['min.insync.replicas', 'max.message.bytes']);
  expect(findingOf(judged, 'probe record').what).toBe('min.insync.replicas failed');
  fake.apiFaults.describeConfigs = [{ code: DENIED }, { code: 31 }];
  const unseen = await diagnose(optionsFor(fake));
  expect(unseen.exitCode).toBe(0);
  expect(stepsThat(unseen, 'skipped')).toEqual(['topic settings', 'broker settings']);
  expect(findingOf(unseen, 'topic settings').what).toContain('DESCRIBE_CONFIGS on topic log');
});

test('partitions without a leader', async () => {
  await using fake = await FakeCluster.start({ partitions: 2 });
  fake.partitions[0]!.leader = -1;
  const some = await diagnose(optionsFor(fake));
  expect(findingOf(some, 'topic')).toMatchObject({ state: 'warning' });
  expect(findingOf(some, 'probe record').what).toContain('partition 1 ');
  fake.partitions[1]!.leader = -1;
  expectFailure(await diagnose(optionsFor(fake)), 'topic', 'without a leader: 0, 1', 'start the');
});
