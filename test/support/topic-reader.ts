// Reads a topic to its end, straight from the partitions' leaders: no consumer group to join, no
// commits. The end is the one Kafka names when a pass begins, so a pass always terminates. What goes
// wrong on the way (a leader that moves, dies or freezes) is tried again until the time is up, from
// where the last pass stopped; nothing is ever read twice.

import { askAnyNode, type KafkaNode } from './kafka-node.ts';
import { KafkaConnection } from './kafka-wire.ts';
import { readBatches, type TopicRecord } from './record-batches.ts';
import { waitFor } from './wait-for.ts';

const REQUEST_MAX_MS = 5_000;
const READ_MAX_MS = 30_000;

export interface ReadOptions {
  /** Limit of the whole call: 30 s if not given. */
  readonly timeoutMs?: number;
  /** Reads on until there are at least so many records. */
  readonly expected?: number;
  /** Reads on until this is true of all records so far. */
  readonly until?: (records: readonly TopicRecord[]) => boolean;
}

export interface TopicEnd {
  /** Sum of the end offsets: the number of records of a topic that was never trimmed. */
  readonly total: number;
  /** End offset of each partition. */
  readonly partitions: readonly number[];
}

interface PartitionLog {
  next: number | undefined;
  readonly records: TopicRecord[];
}

/** All records of a topic, by partition and offset. */
export async function readTopic(
  nodes: readonly KafkaNode[],
  topic: string,
  { timeoutMs = READ_MAX_MS, expected = 0, until }: ReadOptions = {},
): Promise<TopicRecord[]> {
  const logs: PartitionLog[] = [];
  let count = 0;
  const deadline = performance.now() + timeoutMs;
  const readOn = async () => {
    await eachLeader(nodes, topic, async (leader, partition) => {
      logs[partition] ??= { next: undefined, records: [] };
      await readPartition(leader, topic, partition, logs[partition], deadline);
    });
    const records = logs.flatMap((log) => log.records);
    count = records.length;
    return count >= expected && (until?.(records) ?? true) ? records : undefined;
  };
  try {
    return await waitFor(readOn, { timeoutMs, what: `the records of topic ${topic}` });
  } catch (error) {
    const wanted = expected > 0 ? `, ${expected} expected` : '';
    throw new Error(`${String(error)} (${count} records read${wanted})`, { cause: error });
  }
}

/** Where the partitions of a topic end. */
export async function topicEnd(
  nodes: readonly KafkaNode[],
  topic: string,
  timeoutMs = READ_MAX_MS,
): Promise<TopicEnd> {
  const ask = () =>
    eachLeader(nodes, topic, (leader, partition) => leader.endOffset(topic, partition));
  const partitions = await waitFor(ask, { timeoutMs, what: `the end of topic ${topic}` });
  return { total: partitions.reduce((sum, end) => sum + end, 0), partitions };
}

/** Reads one partition up to the end it has now. */
async function readPartition(
  leader: KafkaConnection,
  topic: string,
  partition: number,
  log: PartitionLog,
  deadline: number,
): Promise<void> {
  const end = await leader.endOffset(topic, partition);
  log.next ??= await leader.earliestOffset(topic, partition);
  while (log.next < end && performance.now() < deadline) {
    const batches = await leader.fetch(topic, partition, log.next);
    log.next = readBatches(batches, partition, log.next, log.records);
  }
}

/** Runs `task` for all partitions at once, each with a connection to its leader. */
async function eachLeader<Result>(
  nodes: readonly KafkaNode[],
  topic: string,
  task: (leader: KafkaConnection, partition: number) => Promise<Result>,
): Promise<Result[]> {
  const { partitions } = await askAnyNode(nodes, topic);
  using connections = new DisposableStack();
  const tasks = partitions.map(async ({ partition, leader }) => {
    const node = nodes.find(({ id }) => id === leader);
    if (!node) throw new Error(`partition ${topic}-${partition} has no leader`);
    return await task(
      connections.use(new KafkaConnection(node.directPort, REQUEST_MAX_MS)),
      partition,
    );
  });
  // All to their end, also after a failure: two passes must not read into one log at a time.
  await Promise.allSettled(tasks);
  return await Promise.all(tasks);
}
