// Who is right about what Kafka must hold: the oracle issues numbered requests, notes which were
// answered, and compares the topic with that. Vector's rule, word for word:
//   issued ⊇ delivered ⊇ answered, nothing twice, each payload a function of its number.
// And hoplog's own: in a partition the records of one boot are in the order of their sequences, and
// over all partitions the sequences of one boot have no hole.

import type { TopicRecord } from './record-batches.ts';

/** So many examples of a fault are worth printing. */
const EXAMPLES_MAX = 5;

interface Click {
  readonly id: string;
  readonly remote_address: string;
  readonly query: string;
}

/** One request as the oracle remembers it. */
interface Issued {
  readonly clientPort: number;
  /** Of its answer; undefined = none was seen. */
  status?: number;
}

/** What is wrong with a delivery, in examples; all lists are empty when nothing is. */
export interface Faults {
  /** Answered 301, and not in the topic. */
  readonly missing: readonly string[];
  readonly twice: readonly string[];
  /** In the topic without having been issued. */
  readonly invented: readonly string[];
  /** Other content than the number says. */
  readonly altered: readonly string[];
  readonly disordered: readonly string[];
  /** Sequences of a boot that are missing below its highest one. */
  readonly gaps: readonly string[];
}

export const NO_FAULTS: Faults = {
  missing: [],
  twice: [],
  invented: [],
  altered: [],
  disordered: [],
  gaps: [],
};

export interface Delivered {
  readonly number: number;
  readonly bootId: string;
  readonly sequence: number;
  readonly record: TopicRecord;
}

export class Oracle {
  readonly #issued: Issued[] = [];

  /** Requests handed out: their numbers are 1 to this. */
  get issued(): number {
    return this.#issued.length;
  }

  /** How many were answered with `status`. */
  answered(status = 301): number {
    return this.#issued.filter((request) => request.status === status).length;
  }

  /** Examples of requests that were not redirected, each with the status of its answer. */
  get notRedirected(): string[] {
    const others = this.#issued.flatMap(({ status }, index) =>
      status === 301 ? [] : `${index + 1}: ${status ?? 'no answer'}`,
    );
    return someOf(others, EXAMPLES_MAX);
  }

  /** Port the answered requests came from, one entry a request. */
  get answeredPorts(): number[] {
    return this.#issued.filter(({ status }) => status === 301).map(({ clientPort }) => clientPort);
  }

  /** Was request `number` answered 301? Then it must be in the topic. */
  isRedirected(number: number): boolean {
    return this.#issued[number - 1]?.status === 301;
  }

  /** The next request, as bytes to be sent from `clientPort` once and never again. */
  issue(clientPort: number): { number: number; head: string } {
    const number = this.#issued.push({ clientPort });
    return { number, head: requestHead(number) };
  }

  noteAnswer(number: number, status: number): void {
    const request = this.#issued[number - 1];
    if (!request) throw new Error(`answer to request ${number}, which was never issued`);
    request.status = status;
  }

  /**
   * Compares click records (JSON) with what was issued and answered.
   * `examplesMax`: of each fault; Infinity = all, to be compared with what is said to be lost.
   */
  judge(
    records: readonly TopicRecord[],
    examplesMax = EXAMPLES_MAX,
  ): Faults & { readonly delivered: readonly Delivered[] } {
    const examples = (found: readonly unknown[]): string[] => someOf(found, examplesMax);
    const delivered = records.map(readDelivered);
    const times = new Map<number, number>();
    for (const { number } of delivered) times.set(number, (times.get(number) ?? 0) + 1);
    const numbers = this.#issued.map((_, index) => index + 1);
    return {
      delivered,
      missing: examples(numbers.filter((n) => this.isRedirected(n) && !times.has(n))),
      twice: examples(
        [...times].filter(([, count]) => count > 1).map(([n, count]) => `${n}: ${count} times`),
      ),
      invented: examples(delivered.filter(({ number }) => !this.#issued[number - 1]).map(textOf)),
      altered: examples(delivered.filter((one) => this.#isAltered(one)).map(textOf)),
      disordered: examples(disordered(delivered)),
      gaps: examples(gaps(delivered)),
    };
  }

  #isAltered({ number, record }: Delivered): boolean {
    const request = this.#issued[number - 1];
    if (!request) return false;
    // Everything of the record but what the server alone knows: its id and the time.
    const { id, time, ...rest } = JSON.parse(record.value.toString()) as Record<string, unknown>;
    const known = typeof id === 'string' && time === new Date(record.timestamp).toISOString();
    return !known || !Bun.deepEquals(rest, expectedFields(number, request.clientPort), true);
  }
}

function requestHead(number: number): string {
  const { host, path, query, user_agent, referer } = expectedFields(number, 0);
  return (
    `GET ${path}?${query} HTTP/1.1\r\nHost: ${host}\r\n` +
    `User-Agent: ${user_agent}\r\nReferer: ${referer}\r\n\r\n`
  );
}

/** The click that request `number` must become; long and short ones, so that batches differ. */
function expectedFields(number: number, clientPort: number) {
  return {
    method: 'GET',
    host: `h${number % 11}.test`,
    path: `/p${number % 7}`,
    query: `n=${number}`,
    status: 301,
    location: 'http://google.com',
    remote_address: `127.0.0.1:${clientPort}`,
    user_agent: `load/${number}`,
    referer: `http://r.test/${'r'.repeat((number * 37) % 211)}`,
    outcome: 'default',
  };
}

function readDelivered(record: TopicRecord): Delivered {
  const { id, query } = JSON.parse(record.value.toString()) as Click;
  const [bootId = '', sequence = ''] = id.split('-');
  return { number: Number(query.slice(2)), bootId, sequence: Number(sequence), record };
}

/** `delivered` is by partition and offset, as readTopic returns it. */
function disordered(delivered: readonly Delivered[]): string[] {
  const last = new Map<string, number>();
  const found: string[] = [];
  for (const { bootId, sequence, record } of delivered) {
    const key = `${bootId} in partition ${record.partition}`;
    const before = last.get(key) ?? 0;
    if (sequence <= before) found.push(`${key}: ${sequence} behind ${before}`);
    last.set(key, sequence);
  }
  return found;
}

function gaps(delivered: readonly Delivered[]): string[] {
  return [...Map.groupBy(delivered, ({ bootId }) => bootId)].flatMap(([bootId, ofBoot]) => {
    const sequences = new Set(ofBoot.map(({ sequence }) => sequence));
    const missing: string[] = [];
    for (let sequence = 1, seen = 0; seen < sequences.size; sequence++) {
      if (sequences.has(sequence)) seen++;
      else missing.push(`${bootId}-${sequence}`);
    }
    return missing;
  });
}

function textOf({ record }: Delivered): string {
  return `partition ${record.partition} offset ${record.offset}: ${record.value.toString()}`;
}

function someOf(found: readonly unknown[], count: number): string[] {
  const shown = found.slice(0, count).map((example) => String(example));
  const more = found.length - shown.length;
  return more > 0 ? [...shown, `… and ${more} more`] : shown;
}
