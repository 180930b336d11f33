// What is asked about the topic: which trouble is somebody's to mend (TopicUnusable), which passes by
// itself, when a producer id is asked for, and what happens where DescribeProducers is not allowed.

import { describe, expect, test } from 'bun:test';
import { Cluster } from '../../src/kafka/cluster.ts';
import { PartitionQueue } from '../../src/kafka/partition-queue.ts';
import { NOT_IDEMPOTENT, Topic, type TopicOptions, TopicUnusable } from '../../src/kafka/topic.ts';
import { failureOf } from '../support/failure-of.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE } from '../support/fake-partition.ts';

class Asking implements AsyncDisposable {
  readonly warnings: string[] = [];
  readonly topic: Topic;

  constructor(fake: FakeCluster, options: Partial<TopicOptions> = {}) {
    const { name = 'log', acks = 'all' } = options;
    const cluster = new Cluster(fake.brokers, 'hoplog-test');
    const onWarning = (message: string): void => void this.warnings.push(message);
    this.topic = new Topic(cluster, { name, acks, onWarning });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.topic.close();
  }
}

function queueOf(partition: number, leader = 0): PartitionQueue {
  const queue = new PartitionQueue(partition, NOT_IDEMPOTENT);
  queue.leader = leader;
  return queue;
}

describe('partitions', () => {
  test('are told with their leaders, those without one included', async () => {
    await using fake = await FakeCluster.start({ partitions: 2, nodes: 2 });
    fake.partitions[0]!.leader = -1;
    await using asking = new Asking(fake);
    const { partitions } = await asking.topic.metadata();
    expect(partitions.map(({ partition, leader }) => [partition, leader])).toEqual([
      [0, -1],
      [1, 1],
    ]);
  });

  test('a topic that is not there is worth another try soon', async () => {
    await using fake = await FakeCluster.start();
    await using asking = new Asking(fake, { name: 'other' });
    const failure = asking.topic.metadata().catch((error: unknown) => error);
    expect(await failure).not.toBeInstanceOf(TopicUnusable);
    expect(String(await failure)).toContain('topic other: UNKNOWN_TOPIC_OR_PARTITION');
  });

  test('a topic one may not use is somebody’s to mend', async () => {
    await using fake = await FakeCluster.start();
    fake.apiFaults.metadata = [{ code: CODE.TOPIC_AUTHORIZATION_FAILED }];
    await using asking = new Asking(fake);
    expect(await failureOf(asking.topic.metadata())).toBeInstanceOf(TopicUnusable);
  });

  test('a topic without any leader is an error that says so', async () => {
    await using fake = await FakeCluster.start();
    fake.partitions[0]!.leader = -1;
    await using asking = new Asking(fake);
    expect((await failureOf(asking.topic.metadata())).message).toContain(
      'no partition of topic log has a leader',
    );
  });
});

describe('producer id', () => {
  test('is a new one each time with acks=all', async () => {
    await using fake = await FakeCluster.start();
    await using asking = new Asking(fake);
    expect(await asking.topic.newProducerId()).toMatchObject({ producerId: 1000n });
    expect(await asking.topic.newProducerId()).toMatchObject({ producerId: 1001n });
  });

  test('is none with acks=1, and nobody is asked', async () => {
    await using fake = await FakeCluster.start();
    await using asking = new Asking(fake, { acks: '1' });
    expect(await asking.topic.newProducerId()).toEqual(NOT_IDEMPOTENT);
    expect(fake.requests.initProducerId).toBe(0);
  });

  test('a refusal is an error with Kafka’s name for it, not an id of -1', async () => {
    await using fake = await FakeCluster.start();
    fake.apiFaults.initProducerId = [{ code: CODE.COORDINATOR_LOAD_IN_PROGRESS }];
    await using asking = new Asking(fake);
    const asked = asking.topic.newProducerId();
    expect((await failureOf(asked)).message).toContain(
      'no producer id: COORDINATOR_LOAD_IN_PROGRESS',
    );
  });
});

describe('describeProducers', () => {
  test('tells the last sequence of each producer', async () => {
    await using fake = await FakeCluster.start();
    fake.partitions[0]!.remember(7n, 41);
    await using asking = new Asking(fake);
    await asking.topic.metadata();
    expect(await asking.topic.describeProducers(queueOf(0))).toEqual([
      { producerId: 7n, producerEpoch: 0, lastSequence: 41 },
    ]);
  });

  test('is not asked with acks=1: there are no sequences to compare', async () => {
    await using fake = await FakeCluster.start();
    await using asking = new Asking(fake, { acks: '1' });
    await asking.topic.metadata();
    expect(await asking.topic.describeProducers(queueOf(0))).toBeUndefined();
    expect(fake.requests.describeProducers).toBe(0);
  });

  test('a leader that moved is an error, to be asked again', async () => {
    await using fake = await FakeCluster.start({ nodes: 2 });
    await using asking = new Asking(fake);
    await asking.topic.metadata();
    const asked = asking.topic.describeProducers(queueOf(0, 1));
    expect((await failureOf(asked)).message).toContain('DescribeProducers: NOT_LEADER_OR_FOLLOWER');
  });

  test('one who may not ask is told nothing, and warned with what to grant', async () => {
    await using fake = await FakeCluster.start();
    fake.apiFaults.describeProducers = [{ code: CODE.TOPIC_AUTHORIZATION_FAILED }];
    await using asking = new Asking(fake);
    await asking.topic.metadata();
    expect(await asking.topic.describeProducers(queueOf(0))).toBeUndefined();
    expect(asking.warnings).toHaveLength(1);
    expect(asking.warnings[0]).toContain('grant READ on topic log');
  });
});
