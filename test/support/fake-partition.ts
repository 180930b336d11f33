// One partition as a Kafka 4 broker keeps it: the log, and per producer what decides over a batch
// (ProducerStateManager, ProducerAppendInfo): epoch, last sequence, the last five batches. Reads
// batches with test/support/record-batches.ts, so every CRC and every record is checked on the way.
//   same first and last sequence as one of the last five   success again, with the old offset
//   first sequence = last one + 1, or an unknown producer  appended
//   anything else                                          OUT_OF_ORDER_SEQUENCE_NUMBER

import { readBatches, type TopicRecord } from './record-batches.ts';

export const CODE = {
  NONE: 0,
  CORRUPT_MESSAGE: 2,
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  LEADER_NOT_AVAILABLE: 5,
  NOT_LEADER_OR_FOLLOWER: 6,
  REQUEST_TIMED_OUT: 7,
  MESSAGE_TOO_LARGE: 10,
  COORDINATOR_LOAD_IN_PROGRESS: 14,
  NOT_ENOUGH_REPLICAS: 19,
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: 20,
  TOPIC_AUTHORIZATION_FAILED: 29,
  INVALID_TIMESTAMP: 32,
  OUT_OF_ORDER_SEQUENCE_NUMBER: 45,
  DUPLICATE_SEQUENCE_NUMBER: 46,
  INVALID_PRODUCER_EPOCH: 47,
  KAFKA_STORAGE_ERROR: 56,
  UNKNOWN_PRODUCER_ID: 59,
} as const;

const WINDOW = 5;
const SEQUENCES = 2 ** 31;

/** What the next Produce request of a partition meets, instead of the plain course of things. */
export type Fault =
  | { readonly kind: 'none' }
  /** Answered with the code, nothing appended. */
  | { readonly kind: 'refused'; readonly code: number }
  /** Appended and answered with the code; if the rules forbid it, with theirs. */
  | { readonly kind: 'appended, refused'; readonly code: number }
  /** The connection ends without an answer. */
  | { readonly kind: 'cut' | 'appended, cut' | 'appended, half an answer' }
  /** No answer, and the connection stays. */
  | { readonly kind: 'silence' | 'appended, silence' }
  | { readonly kind: 'throttled'; readonly throttleMs: number };

export function refused(code: number): Fault {
  return { kind: 'refused', code };
}

export function times(count: number, fault: Fault): Fault[] {
  return Array.from({ length: count }, () => fault);
}

/** A Produce request as it came. */
export interface BatchSeen {
  readonly producerId: bigint;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly recordCount: number;
  readonly bytes: Buffer;
}

interface ProducerEntry {
  readonly epoch: number;
  lastSequence: number;
  /** Newest timestamp of its last batch, ms since 1970. */
  readonly lastTimestamp: number;
  readonly window: { readonly first: number; readonly last: number; readonly offset: number }[];
}

export class FakePartition {
  /** Node id; -1 = none. */
  leader: number;
  /** Do Metadata answers have it? */
  isListed = true;
  /** Consumed one per Produce request, in the order of their arrival. */
  readonly faults: Fault[] = [];
  batchBytesMax = Infinity;
  /** An error code for batches that it will not have. */
  refuses: (batch: BatchSeen) => number | undefined = () => undefined;
  /** The producer is forgotten as soon as its batch is appended. */
  forgetsAtOnce = false;
  readonly records: TopicRecord[] = [];
  /** Appended batches, base offsets set. */
  readonly log: Buffer[] = [];
  /** All Produce requests, whatever became of them. */
  readonly seen: BatchSeen[] = [];
  readonly #producers = new Map<bigint, ProducerEntry>();
  readonly #fenced = new Set<bigint>();

  constructor(leader: number) {
    this.leader = leader;
  }

  get values(): string[] {
    return this.records.map(({ value }) => value.toString());
  }

  get endOffset(): number {
    return this.records.length;
  }

  /** Producers as DescribeProducers tells them. */
  get producers(): { producerId: bigint; epoch: number; lastSequence: number }[] {
    return [...this.#producers].map(([producerId, { epoch, lastSequence }]) => ({
      producerId,
      epoch,
      lastSequence,
    }));
  }

  /** As after producer.id.expiration.ms. */
  forgetProducers(): void {
    this.#producers.clear();
  }

  /** As producer.id.expiration.ms does: those whose last batch is older than `time`. */
  forgetProducersBefore(time: number): void {
    for (const [producerId, { lastTimestamp }] of this.#producers) {
      if (lastTimestamp < time) this.#producers.delete(producerId);
    }
  }

  /** From now on the producer's epoch is too old. */
  fence(producerId: bigint): void {
    this.#fenced.add(producerId);
  }

  /** Pretends that a producer has sent up to `lastSequence` before. */
  remember(producerId: bigint, lastSequence: number): void {
    this.#producers.set(producerId, {
      epoch: 0,
      lastSequence,
      lastTimestamp: Infinity,
      window: [],
    });
  }

  note(bytes: Buffer): BatchSeen {
    const seen = {
      producerId: bytes.readBigInt64BE(43),
      producerEpoch: bytes.readInt16BE(51),
      baseSequence: bytes.readInt32BE(53),
      recordCount: bytes.readInt32BE(57),
      bytes,
    };
    this.seen.push(seen);
    return seen;
  }

  append(batch: BatchSeen): { code: number; offset: number } {
    const refuse = (code: number) => ({ code, offset: -1 });
    if (batch.bytes.length > this.batchBytesMax) return refuse(CODE.MESSAGE_TOO_LARGE);
    const refused = this.refuses(batch);
    if (refused !== undefined) return refuse(refused);
    const offset = this.endOffset;
    const stamped = Buffer.from(batch.bytes);
    stamped.writeBigInt64BE(BigInt(offset), 0);
    const records: TopicRecord[] = [];
    try {
      readBatches(stamped, 0, 0, records);
    } catch {
      return refuse(CODE.CORRUPT_MESSAGE);
    }
    if (records.length !== batch.recordCount) return refuse(CODE.CORRUPT_MESSAGE);
    const verdict = this.#checkSequence(batch, offset);
    if (verdict !== undefined) return verdict;
    this.records.push(...records);
    this.log.push(stamped);
    if (this.forgetsAtOnce) this.forgetProducers();
    return { code: CODE.NONE, offset };
  }

  /** Undefined = new and in order. */
  #checkSequence(batch: BatchSeen, offset: number): { code: number; offset: number } | undefined {
    const { producerId, producerEpoch, baseSequence: first, recordCount } = batch;
    if (producerId < 0n) return undefined;
    if (this.#fenced.has(producerId)) return { code: CODE.INVALID_PRODUCER_EPOCH, offset: -1 };
    const last = (first + recordCount - 1) % SEQUENCES;
    const entry = this.#producers.get(producerId);
    const known = entry?.window.find((one) => one.first === first && one.last === last);
    if (known) return { code: CODE.NONE, offset: known.offset };
    if (entry && first !== (entry.lastSequence + 1) % SEQUENCES) {
      return { code: CODE.OUT_OF_ORDER_SEQUENCE_NUMBER, offset: -1 };
    }
    const window = [...(entry?.window ?? []), { first, last, offset }].slice(-WINDOW);
    const lastTimestamp = Number(batch.bytes.readBigInt64BE(35));
    this.#producers.set(producerId, {
      epoch: producerEpoch,
      lastSequence: last,
      lastTimestamp,
      window,
    });
    return undefined;
  }
}
