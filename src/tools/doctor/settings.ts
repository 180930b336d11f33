// What settings of topic and brokers mean for this server's: pure, from what DescribeConfigs says. What is
// not among the values is not judged.

import type { Config } from '../../config.ts';
import type { ConfigsAnswer, ReplicatedPartition } from '../../kafka/protocol.ts';
import { PRODUCER_ID_EXPIRATION_MS } from '../../kafka/partition-queue.ts';
import { failed, type Finding, ok, warning } from './finding.ts';

export const TOPIC_SETTINGS = [
  'min.insync.replicas',
  'max.message.bytes',
  'cleanup.policy',
  'message.timestamp.after.max.ms',
];
export const BROKER_SETTINGS = ['producer.id.expiration.ms', 'socket.request.max.bytes'];

type Values = ConfigsAnswer['values'];

const HOUR_MS = 3_600_000;
/** Clocks of servers differ, without being wrong, by less. */
const CLOCKS_DIFFER_MS = 60_000;
/** Of a Produce request, beside its batch: names and numbers. */
const REQUEST_OVERHEAD_BYTES = 1024;

export function judgeTopic(
  values: Values,
  partitions: readonly ReplicatedPartition[],
  config: Config,
): Finding[] {
  return [
    numberOf(values, 'min.insync.replicas', (min) => judgeInSync(min, partitions, config)),
    numberOf(values, 'max.message.bytes', (max) => judgeBatchBytes(max, config)),
    judgeCleanup(values.get('cleanup.policy')),
    numberOf(values, 'message.timestamp.after.max.ms', judgeClockLimit),
  ].filter((finding) => finding !== undefined);
}

export function judgeBroker(values: Values, { BATCH_BYTES }: Config): Finding[] {
  return [
    numberOf(values, 'producer.id.expiration.ms', judgeExpiration),
    numberOf(values, 'socket.request.max.bytes', (max) => {
      const step = 'socket.request.max.bytes';
      if (BATCH_BYTES + REQUEST_OVERHEAD_BYTES <= max) return ok(step, `${max}`);
      return failed(step, {
        what: `${max}, and BATCH_BYTES is ${BATCH_BYTES}`,
        meaning: 'the broker closes the connection at a full batch: nothing behind it arrives',
        advice: `set BATCH_BYTES to ${max - REQUEST_OVERHEAD_BYTES} or less`,
      });
    }),
  ].filter((finding) => finding !== undefined);
}

function numberOf(
  values: Values,
  name: string,
  judge: (value: number) => Finding,
): Finding | undefined {
  const value = values.get(name);
  return value === undefined || value === '' ? undefined : judge(Number(value));
}

function judgeInSync(
  min: number,
  partitions: readonly ReplicatedPartition[],
  { KAFKA_ACKS, KAFKA_TOPIC }: Config,
): Finding {
  const step = 'min.insync.replicas';
  const replicas = Math.min(...partitions.map((one) => one.replicas));
  const inSync = Math.min(...partitions.map((one) => one.inSyncReplicas));
  const figures = `${min} of ${replicas} replicas, ${inSync} in sync`;
  if (KAFKA_ACKS === '1') return ok(step, `${figures}; not asked for with KAFKA_ACKS=1`);
  if (min > replicas) {
    return failed(step, {
      what: figures,
      meaning: 'no broker can ever confirm a record: all of them stay in the journal',
      advice: `give topic ${KAFKA_TOPIC} ${min} replicas, or set its ${step} to ${Math.max(1, replicas - 1)}`,
    });
  }
  if (min > inSync) {
    return failed(step, {
      what: figures,
      meaning: 'too few brokers have all records: new ones stay in the journal until more do',
      advice: 'look at the brokers of the replicas that are missing: they are down or behind',
    });
  }
  if (replicas === 1) {
    return warning(step, {
      what: figures,
      meaning: 'a record is on one broker: its disk lost is the record lost',
      advice: `3 replicas and ${step}=2 keep records through the loss of a broker`,
    });
  }
  if (min === 1) {
    return warning(step, {
      what: figures,
      meaning: 'a record may be confirmed that one broker has: that one lost, it is lost',
      advice: `set ${step}=2`,
    });
  }
  if (min === replicas) {
    return warning(step, {
      what: figures,
      meaning: 'with any one broker down records stay in the journal',
      advice: `set ${step} to ${min - 1}, or add a replica`,
    });
  }
  return ok(step, figures);
}

function judgeBatchBytes(max: number, { BATCH_BYTES, KAFKA_COMPRESSION }: Config): Finding {
  const step = 'max.message.bytes';
  if (BATCH_BYTES <= max) return ok(step, `${max}, BATCH_BYTES=${BATCH_BYTES}`);
  const complaint = {
    what: `${max}, and BATCH_BYTES is ${BATCH_BYTES}`,
    meaning:
      'full batches are refused and sent again in parts; a record larger than that is put aside',
    advice: `set BATCH_BYTES to ${max} or less, or ${step} of the topic to ${BATCH_BYTES} or more`,
  };
  // What counts is the compressed batch.
  return KAFKA_COMPRESSION === 'none' ? failed(step, complaint) : warning(step, complaint);
}

function judgeCleanup(policy: string | undefined): Finding | undefined {
  const step = 'cleanup.policy';
  if (policy === undefined || !policy.split(',').includes('compact')) return undefined;
  return failed(step, {
    what: policy,
    meaning: 'the topic takes no records without a key, and hoplog gives them none',
    advice: `set ${step}=delete, or name another KAFKA_TOPIC`,
  });
}

function judgeClockLimit(max: number): Finding {
  const step = 'message.timestamp.after.max.ms';
  if (max >= CLOCKS_DIFFER_MS) return ok(step, `${max}`);
  return warning(step, {
    what: `${max}`,
    meaning: 'with a clock here that is ahead of the broker by more, records wait in the journal',
    advice: `set it to ${HOUR_MS}, Kafka's default, or keep the clocks that close`,
  });
}

function judgeExpiration(ms: number): Finding {
  const step = 'producer.id.expiration.ms';
  if (ms >= PRODUCER_ID_EXPIRATION_MS) return ok(step, `${ms}`);
  return warning(step, {
    what: `${ms}, less than a day`,
    meaning:
      'a batch that was in flight when Kafka went away for longer may arrive twice, ' +
      'and the first batch of a producer id is counted only after an hour',
    advice: `set it to ${PRODUCER_ID_EXPIRATION_MS}, Kafka's default, on all brokers`,
  });
}
