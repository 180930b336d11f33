// The topic as the producer meets it: leaders, replicas, settings, who may READ, and a record written and
// read back over the producer's own requests.

import { randomUUID } from 'node:crypto';
import type { Config } from '../../config.ts';
import type { Cluster } from '../../kafka/cluster.ts';
import { payloadOf } from '../../kafka/compression.ts';
import { backOffMs, verdictOf } from '../../kafka/errors.ts';
import {
  describeConfigsRequest,
  fetchRequest,
  type ProduceAnswer,
  type ReplicatedPartition,
} from '../../kafka/protocol.ts';
import { Topic, TopicUnusable } from '../../kafka/topic.ts';
import { decodeBatches } from '../../kafka/topic-reader.ts';
import {
  BATCH_HEADER_BYTES,
  RECORD_OVERHEAD_BYTES_MAX,
  writeClosedHeader,
  writeOpenHeader,
  writeRecord,
  writeStamp,
} from '../../record-batch.ts';
import { probeValue } from '../../record/probe.ts';
import { type Complaint, failed, type Finding, ok, skipped, warning } from './finding.ts';
import { BROKER_SETTINGS, judgeBroker, judgeTopic, TOPIC_SETTINGS } from './settings.ts';

const TRIES_MAX = 5;
const PROBE_BYTES = 200;

export const TOPIC_STEPS = ['topic', 'topic settings', 'broker settings', 'READ', 'probe record'];

export interface TopicExamination {
  readonly cluster: Cluster;
  readonly config: Config;
  /** Write a record. */
  readonly probe: boolean;
}

export async function* examineTopic(examination: TopicExamination): AsyncGenerator<Finding> {
  const { cluster, config } = examination;
  const { topicErrorCode, partitions } = await cluster.metadata(config.KAFKA_TOPIC);
  const found = judgePartitions(config.KAFKA_TOPIC, topicErrorCode, partitions);
  yield found;
  const led = partitions.find(({ leader }) => leader >= 0);
  if (found.state === 'failed' || !led) {
    for (const step of TOPIC_STEPS.slice(1)) yield skipped(step, 'topic failed');
    return;
  }
  const settings: Finding[] = [];
  for (const about of ['topic', 'broker'] as const) {
    const judged = await examineSettings(examination, about, partitions, led);
    settings.push(...judged);
    yield* judged;
  }
  const refusing = settings.find(
    ({ step, state }) =>
      state === 'failed' && ['min.insync.replicas', 'cleanup.policy'].includes(step),
  );
  let refusal = '';
  const onWarning = (message: string): void => void (refusal = message);
  const { KAFKA_TOPIC: name, KAFKA_ACKS: acks } = config;
  const topic = new Topic(cluster, { name, acks, onWarning });
  yield await examineRead(topic, led, () => refusal);
  const step = 'probe record';
  if (!examination.probe) yield skipped(step, '--no-probe');
  else if (refusing) yield skipped(step, `${refusing.step} failed`);
  else yield await probe(examination, topic, led, refusal !== '');
}

function judgePartitions(
  name: string,
  errorCode: number,
  partitions: readonly ReplicatedPartition[],
): Finding {
  const step = 'topic';
  const { name: code, action } = verdictOf(errorCode);
  if (errorCode !== 0) {
    return failed(step, {
      what: `${name}: ${code}`,
      meaning: 'no record can be delivered: all stay in the journal',
      advice:
        action === 'hold'
          ? `grant WRITE and READ on topic ${name} to whom hoplog logs in as`
          : `create topic ${name}, or name another KAFKA_TOPIC`,
    });
  }
  const counts = `${name}: ${partitions.length} partitions, ${spread(partitions)} replicas`;
  const leaderless = partitions.filter(({ leader }) => leader < 0);
  if (leaderless.length > 0) {
    const complaint = {
      what: `${counts}; without a leader: ${leaderless.map(({ partition }) => partition).join(', ')}`,
      meaning: 'what is in flight to these waits; new records go to the others',
      advice: 'start the brokers that have these partitions',
    };
    return leaderless.length === partitions.length
      ? failed(step, complaint)
      : warning(step, complaint);
  }
  const behind = partitions.filter(({ replicas, inSyncReplicas }) => inSyncReplicas < replicas);
  if (behind.length === 0) return ok(step, `${counts}, all in sync`);
  return warning(step, {
    what: `${counts}; not all in sync: ${behind.map(({ partition }) => partition).join(', ')}`,
    meaning: 'a broker is down or behind: one more, and records may have to wait',
    advice: 'look at the brokers of these partitions',
  });
}

function spread(partitions: readonly ReplicatedPartition[]): string {
  return [...new Set(partitions.map(({ replicas }) => replicas))].join(' or ');
}

async function examineSettings(
  { cluster, config }: TopicExamination,
  about: 'topic' | 'broker',
  partitions: readonly ReplicatedPartition[],
  { leader }: ReplicatedPartition,
): Promise<readonly Finding[]> {
  const step = `${about} settings`;
  const [resource, keys] =
    about === 'topic' ? [config.KAFKA_TOPIC, TOPIC_SETTINGS] : [String(leader), BROKER_SETTINGS];
  try {
    const request = describeConfigsRequest(about, resource, keys);
    const { errorCode, values } = await cluster.send(leader, request);
    if (errorCode === 0) {
      return about === 'topic'
        ? judgeTopic(values, partitions, config)
        : judgeBroker(values, config);
    }
    const right = about === 'topic' ? `topic ${resource}` : 'the cluster';
    const why = `${verdictOf(errorCode).name}: it takes DESCRIBE_CONFIGS on ${right}, which the server does not need`;
    return [skipped(step, why)];
  } catch (error) {
    return [skipped(step, (error as Error).message)];
  }
}

/** What the producer asks after a crash. */
async function examineRead(
  topic: Topic,
  led: ReplicatedPartition,
  refusal: () => string,
): Promise<Finding> {
  const step = 'READ';
  try {
    const producers = await topic.describeProducers(led);
    if (producers) return ok(step, 'DescribeProducers is answered');
    if (refusal() === '') return skipped(step, 'not asked for with KAFKA_ACKS=1');
    const [what = '', advice = ''] = refusal().split(/: (.*)/);
    const meaning = 'after a crash nobody can be asked what had arrived';
    return failed(step, { what, meaning, advice });
  } catch (error) {
    return failed(step, {
      what: (error as Error).message,
      meaning:
        'after a crash nobody can be asked what had arrived: records wait until it is answered',
      advice: 'hoplog needs brokers of Kafka 2.8 or later; look at the leader of the partition',
    });
  }
}

async function probe(
  { cluster, config }: TopicExamination,
  topic: Topic,
  led: ReplicatedPartition,
  mayNotRead: boolean,
): Promise<Finding> {
  const step = 'probe record';
  const value = probeValue(`${new Date().toISOString()} ${randomUUID()}`, config.FORMAT);
  const since = performance.now();
  try {
    const batch = await payloadOf(
      batchOf(value, await newProducerId(topic)),
      config.KAFKA_COMPRESSION,
      () => {},
    );
    const { errorCode, baseOffset } = await write(topic, led, batch);
    if (verdictOf(errorCode).action !== 'done') return failed(step, refusalOf(errorCode, config));
    const writtenMs = (performance.now() - since).toFixed(1);
    const written = `written to partition ${led.partition} at offset ${baseOffset} in ${writtenMs} ms`;
    if (mayNotRead) return ok(step, `${written}; not read back: READ failed`);
    return await readBack(cluster, config, { ...led, offset: baseOffset, value, written });
  } catch (error) {
    const what = (error as Error).message;
    return failed(step, {
      what,
      meaning: 'no record can be delivered: all stay in the journal',
      advice: /grant .*/.exec(what)?.[0] ?? 'look at the leader of the partition, and at its log',
    });
  }
}

function batchOf(
  value: ReturnType<typeof probeValue>,
  producer: { readonly producerId: bigint; readonly producerEpoch: number },
): Buffer {
  const target = Buffer.alloc(BATCH_HEADER_BYTES + RECORD_OVERHEAD_BYTES_MAX + PROBE_BYTES);
  const now = Date.now();
  writeOpenHeader(target, 0, now);
  const end = writeRecord(target, BATCH_HEADER_BYTES, target.length, 0, 0, value);
  writeClosedHeader(target, 0, end, 1, now);
  const baseSequence = producer.producerId < 0n ? -1 : 0;
  writeStamp(target, 0, end, { ...producer, baseSequence });
  return target.subarray(0, end);
}

/** A cluster that has just started asks for patience. */
async function newProducerId(topic: Topic): ReturnType<Topic['newProducerId']> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await topic.newProducerId();
    } catch (error) {
      if (error instanceof TopicUnusable || attempt === TRIES_MAX) throw error;
      await Bun.sleep(backOffMs(attempt));
    }
  }
}

/** Sent again, under the same sequence, where the broker asks for patience. */
async function write(
  topic: Topic,
  led: ReplicatedPartition,
  batch: Buffer,
): Promise<ProduceAnswer> {
  for (let attempt = 0; ; attempt++) {
    const answer = await topic.produce(led, batch);
    if (verdictOf(answer.errorCode).action !== 'retry' || attempt === TRIES_MAX) return answer;
    await Bun.sleep(backOffMs(attempt));
  }
}

function refusalOf(errorCode: number, { KAFKA_TOPIC }: Config): Complaint {
  const { name, action, inWords = name } = verdictOf(errorCode);
  const meaning = 'no record can be delivered: all stay in the journal';
  const [, words] = inWords.split(/: (.*)/);
  const otherwise =
    action === 'redate'
      ? 'put the clock of this machine right, or the broker’s'
      : `look at the settings of topic ${KAFKA_TOPIC} and at the broker's log`;
  return { what: `refused (${name})`, meaning, advice: words ?? otherwise };
}

interface Written {
  readonly partition: number;
  readonly leader: number;
  readonly offset: bigint;
  readonly value: ReturnType<typeof probeValue>;
  readonly written: string;
}

async function readBack(
  cluster: Cluster,
  { KAFKA_TOPIC }: Config,
  { partition, leader, offset, value, written }: Written,
): Promise<Finding> {
  const step = 'probe record';
  const expected = Buffer.from(value as Uint8Array | string);
  // Behind the leader's word, with acks=1, its replicas may need a moment.
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
    const { errorCode, records } = await cluster.send(
      leader,
      fetchRequest(KAFKA_TOPIC, partition, offset),
    );
    const verdict = verdictOf(errorCode);
    if (verdict.action === 'hold') {
      const meaning = 'tail, verify and doctor cannot read what the server writes';
      const advice = `grant READ on topic ${KAFKA_TOPIC} to whom hoplog logs in as`;
      return warning(step, {
        what: `${written}; not read back (${verdict.name})`,
        meaning,
        advice,
      });
    }
    const [found] = decodeBatches(records, partition, Number(offset));
    if (found && expected.equals(found.value)) return ok(step, `${written}, and read back`);
    await Bun.sleep(backOffMs(attempt));
  }
  return failed(step, {
    what: `${written}, and not there`,
    meaning: 'the broker confirms what it does not keep',
    advice: 'look at the log of the broker',
  });
}
