// What a broker's answer means, in one table: is the batch in the log or not, and what to do next.
//
//   persistence  what is known of this try: `persisted`, `not persisted`, or `unknown` (sent, and
//                nothing reliable came back: it may be in the log; an earlier try may be, too)
//   action       retry      the same bytes again after a back-off
//                new leader the same, after asking who leads the partition now
//                inquire    ask the broker for the last sequence it has of this producer
//                new id     the broker will not take this producer's sequences any more
//                recut      split the batch, it is too large for the broker
//                reencode   make the CRC anew, once; then the batch goes into quarantine
//                redate     send it with today's time once this server's clock was put right
//                hold       a human must mend something: retry slowly, say why on /ready
// Nothing here drops a record. Codes: Kafka 4.3, org.apache.kafka.common.protocol.Errors.

export type Action =
  | 'done'
  | 'retry'
  | 'new leader'
  | 'inquire'
  | 'new id'
  | 'recut'
  | 'reencode'
  | 'redate'
  | 'hold';
export type Persistence = 'persisted' | 'not persisted' | 'unknown';

export interface Verdict {
  readonly name: string;
  readonly action: Action;
  readonly persistence: Persistence;
  /** For the human who has to mend it, where the name does not say how. */
  readonly inWords?: string;
}

const VERDICTS = new Map<number, Verdict>([
  [0, { name: 'NONE', action: 'done', persistence: 'persisted' }],
  [46, { name: 'DUPLICATE_SEQUENCE_NUMBER', action: 'done', persistence: 'persisted' }],

  [3, { name: 'UNKNOWN_TOPIC_OR_PARTITION', action: 'new leader', persistence: 'not persisted' }],
  [5, { name: 'LEADER_NOT_AVAILABLE', action: 'new leader', persistence: 'not persisted' }],
  [6, { name: 'NOT_LEADER_OR_FOLLOWER', action: 'new leader', persistence: 'not persisted' }],
  [9, { name: 'REPLICA_NOT_AVAILABLE', action: 'new leader', persistence: 'not persisted' }],
  [56, { name: 'KAFKA_STORAGE_ERROR', action: 'new leader', persistence: 'unknown' }],
  [72, { name: 'LISTENER_NOT_FOUND', action: 'new leader', persistence: 'not persisted' }],
  [74, { name: 'FENCED_LEADER_EPOCH', action: 'new leader', persistence: 'not persisted' }],
  [75, { name: 'UNKNOWN_LEADER_EPOCH', action: 'new leader', persistence: 'not persisted' }],

  [7, { name: 'REQUEST_TIMED_OUT', action: 'retry', persistence: 'unknown' }],
  [13, { name: 'NETWORK_EXCEPTION', action: 'new leader', persistence: 'unknown' }],
  [14, { name: 'COORDINATOR_LOAD_IN_PROGRESS', action: 'retry', persistence: 'not persisted' }],
  [15, { name: 'COORDINATOR_NOT_AVAILABLE', action: 'retry', persistence: 'not persisted' }],
  [16, { name: 'NOT_COORDINATOR', action: 'retry', persistence: 'not persisted' }],
  [19, { name: 'NOT_ENOUGH_REPLICAS', action: 'retry', persistence: 'not persisted' }],
  [20, { name: 'NOT_ENOUGH_REPLICAS_AFTER_APPEND', action: 'retry', persistence: 'unknown' }],
  [51, { name: 'CONCURRENT_TRANSACTIONS', action: 'retry', persistence: 'not persisted' }],
  [89, { name: 'THROTTLING_QUOTA_EXCEEDED', action: 'retry', persistence: 'not persisted' }],

  [45, { name: 'OUT_OF_ORDER_SEQUENCE_NUMBER', action: 'inquire', persistence: 'not persisted' }],
  [59, { name: 'UNKNOWN_PRODUCER_ID', action: 'inquire', persistence: 'not persisted' }],
  [47, { name: 'INVALID_PRODUCER_EPOCH', action: 'new id', persistence: 'not persisted' }],
  [49, { name: 'INVALID_PRODUCER_ID_MAPPING', action: 'new id', persistence: 'not persisted' }],
  [90, { name: 'PRODUCER_FENCED', action: 'new id', persistence: 'not persisted' }],

  [10, { name: 'MESSAGE_TOO_LARGE', action: 'recut', persistence: 'not persisted' }],
  [18, { name: 'RECORD_LIST_TOO_LARGE', action: 'recut', persistence: 'not persisted' }],

  [2, { name: 'CORRUPT_MESSAGE', action: 'reencode', persistence: 'not persisted' }],
  [32, { name: 'INVALID_TIMESTAMP', action: 'redate', persistence: 'not persisted' }],

  [17, { name: 'INVALID_TOPIC_EXCEPTION', action: 'hold', persistence: 'not persisted' }],
  [21, { name: 'INVALID_REQUIRED_ACKS', action: 'hold', persistence: 'not persisted' }],
  [
    29,
    {
      name: 'TOPIC_AUTHORIZATION_FAILED',
      action: 'hold',
      persistence: 'not persisted',
      inWords: 'TOPIC_AUTHORIZATION_FAILED: grant WRITE on the topic to whom hoplog logs in as',
    },
  ],
  [
    31,
    {
      name: 'CLUSTER_AUTHORIZATION_FAILED',
      action: 'hold',
      persistence: 'not persisted',
      inWords: 'CLUSTER_AUTHORIZATION_FAILED: grant WRITE on the topic to whom hoplog logs in as',
    },
  ],
  [35, { name: 'UNSUPPORTED_VERSION', action: 'hold', persistence: 'not persisted' }],
  [43, { name: 'UNSUPPORTED_FOR_MESSAGE_FORMAT', action: 'hold', persistence: 'not persisted' }],
  [44, { name: 'POLICY_VIOLATION', action: 'hold', persistence: 'not persisted' }],
  [58, { name: 'SASL_AUTHENTICATION_FAILED', action: 'hold', persistence: 'not persisted' }],
  [76, { name: 'UNSUPPORTED_COMPRESSION_TYPE', action: 'hold', persistence: 'not persisted' }],
  [87, { name: 'INVALID_RECORD', action: 'hold', persistence: 'not persisted' }],
]);

export const SASL_AUTHENTICATION_FAILED = 58;

/** A code this table does not know is held: retried slowly, visible, never dropped. */
export function verdictOf(errorCode: number): Verdict {
  return (
    VERDICTS.get(errorCode) ?? {
      name: `error code ${errorCode}`,
      action: 'hold',
      persistence: 'unknown',
    }
  );
}

/** No answer came: the connection ended, or the request timed out. */
export const NO_ANSWER: Verdict = {
  name: 'no answer',
  action: 'new leader',
  persistence: 'unknown',
};

/** Placed by an earlier process, which did not live to see an answer. */
export const RECOVERED: Verdict = {
  name: 'recovered after a restart',
  action: 'inquire',
  persistence: 'unknown',
};

/** Back-off before the n-th try in a row, ms: doubles from 100 ms, half of it jitter. */
export function backOffMs(attempt: number, maxMs = 2000): number {
  const ceiling = Math.min(maxMs, 100 * 2 ** Math.min(attempt, 16));
  return ceiling / 2 + Math.random() * (ceiling / 2);
}

/** A hold waits for a human: at least 5 s between tries, so that no account gets locked out. */
export const HOLD_MS = 5000;
