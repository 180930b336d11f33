// The frame of a fault test: hoplog under steady load on a topic of its own, something done to Kafka
// meanwhile, and in the end the oracle's word that all that was answered arrived once.

import { expect } from 'bun:test';
import type { FaultProxy } from './fault-proxy.ts';
import type { KafkaCluster } from './kafka.ts';
import { Load, type LoadOptions } from './load-client.ts';
import { NO_FAULTS, Oracle } from './oracle.ts';
import { patience } from './patience.ts';
import { anonymousMiB, openFiles } from './proc.ts';
import { type Options, Server } from './server.ts';
import { tempDir } from './temp-dir.ts';
import { waitFor } from './wait-for.ts';

/** A redirect takes well under a millisecond; a busy machine may stall all of us this long. */
const ANSWER_MS_MAX = 1_500;
const REACTION_MAX_MS = 45_000;
const FRESH_CLICK_MAX_MS = 3_000;
/** Two connections a node, one of them on its way out, and two of the journal. */
const FILES_GROWTH_MAX = 8;
const MEMORY_GROWTH_MAX_MIB = 96;

export const UNDER_LOAD: Options = {
  JOURNAL_BYTES: '256MiB',
  // A batch every few requests: whenever Kafka fails, some are on their way.
  BATCH_BYTES: 2_048,
  FLUSH_INTERVAL_MS: 50,
};
export const LOAD: LoadOptions = { perSecond: 4_000 };

export interface Scenario {
  readonly server: Server;
  readonly load: Load;
  readonly oracle: Oracle;
  /** Waits until so many more requests were answered: redirects go on. */
  goesOn(requests?: number): Promise<void>;
  /** Waits until Kafka acknowledged so many more records. */
  delivers(records?: number): Promise<void>;
  /** Waits until `/ready` answers `status`; resolves with the reason it gives. */
  readyBecomes(status: 200 | 503): Promise<string>;
  /** The fault has really happened, as only the test can know. */
  noteHit(): void;
}

export interface ScenarioOptions {
  readonly topic: string;
  readonly options?: Options;
  readonly load?: LoadOptions;
  /** Journal files that the fault makes it add, and so keep open. */
  readonly moreFiles?: number;
  /** Between hoplog and Kafka. */
  readonly proxy?: FaultProxy;
  /** A command in front of hoplog's, which becomes it. */
  readonly wrapper?: readonly string[];
}

/**
 * The topic must be there by the time `during` resolves. Faults of the proxy that are still on by then end
 * then. A run in which no fault happened fails: a hit is one of the proxy or (without a proxy) a batch that
 * failed, /ready being 503 when the test waited for that, and what the test notes.
 */
export async function underLoad(
  kafka: KafkaCluster,
  { topic, options = {}, load: loadOptions, moreFiles = 0, proxy, wrapper }: ScenarioOptions,
  during: (scenario: Scenario) => Promise<void>,
): Promise<void> {
  using dir = tempDir();
  const asIs: Options = {
    ...UNDER_LOAD,
    KAFKA_BROKERS: (proxy ?? kafka).brokers,
    KAFKA_TOPIC: topic,
    JOURNAL_DIR: dir.path,
  };
  await using server = await Server.start({ ...asIs, ...options }, wrapper);
  const footprint = new Footprint(server);
  const oracle = new Oracle();
  await using load = await Load.start(server.url, oracle, { ...LOAD, ...loadOptions });
  let noted = 0;
  const noteHit = (): void => void noted++;
  await during(scenario(server, load, oracle, noteHit));
  await load.pause();
  await proxy?.heal();
  await server.delivered();
  await freshClickArrives(server, load);
  await load.stop();
  expect(load.interrupted).toBe(0);
  expect(load.slowestMs).toBeLessThan(ANSWER_MS_MAX * patience());
  expect(oracle.notRedirected).toEqual([]);
  const { delivered, ...faults } = oracle.judge(await kafka.readTopic(topic));
  expect(faults).toEqual(NO_FAULTS);
  expect(delivered).toHaveLength(oracle.answered());
  expect(await server.metric('hoplog_records_possibly_duplicated_total')).toBe(0);
  expect(await server.ready()).toEqual({ status: 200, reason: undefined });
  const failures = await server.failures();
  const hits = noted + (proxy?.hits ?? failures);
  process.stderr.write(
    `${topic}: ${hits} faults hit, ${failures} batches failed; ${delivered.length} records ` +
      `delivered once, ${footprint.growth()}\n`,
  );
  expect(hits).toBeGreaterThan(0);
  await footprint.isAsBefore(moreFiles);
  expect(await server.stop()).toBe(0);
  expect(server.noise).toEqual([]);
}

/** Whatever happened before, a click is in Kafka soon. */
async function freshClickArrives(server: Server, load: Load): Promise<void> {
  const acknowledged = () => server.metric('hoplog_records_acknowledged_total');
  const before = await acknowledged();
  await load.one();
  await waitFor(async () => (await acknowledged()) > before, {
    timeoutMs: FRESH_CLICK_MAX_MS,
    what: 'a fresh click to reach Kafka',
  });
}

/** Descriptors and memory of the server, against those at its start. */
class Footprint {
  readonly #pid: number;
  readonly #files: number;
  readonly #memoryMiB: number;

  constructor({ pid }: Server) {
    this.#pid = pid;
    this.#files = openFiles(pid) ?? 0;
    this.#memoryMiB = anonymousMiB(pid) ?? 0;
  }

  growth(): string {
    return `files ${this.#files} + ${this.#grownFiles}, MiB ${this.#memoryMiB.toFixed()} + ${this.#grownMiB.toFixed()}`;
  }

  async isAsBefore(moreFiles: number): Promise<void> {
    await waitFor(() => this.#grownFiles <= FILES_GROWTH_MAX + moreFiles, {
      timeoutMs: REACTION_MAX_MS,
      what: `the descriptors to be closed that a fault left open (${this.growth()})`,
    });
    expect(this.#grownMiB).toBeLessThan(MEMORY_GROWTH_MAX_MIB);
  }

  get #grownFiles(): number {
    return (openFiles(this.#pid) ?? this.#files) - this.#files;
  }

  get #grownMiB(): number {
    return (anonymousMiB(this.#pid) ?? this.#memoryMiB) - this.#memoryMiB;
  }
}

function scenario(server: Server, load: Load, oracle: Oracle, noteHit: () => void): Scenario {
  return {
    server,
    load,
    oracle,
    noteHit,
    goesOn: async (requests = 500) => {
      const before = oracle.answered();
      await waitFor(() => oracle.answered() >= before + requests, {
        timeoutMs: REACTION_MAX_MS,
        what: `${requests} more answers`,
      });
    },
    delivers: async (records = 500) => {
      const acknowledged = () => server.metric('hoplog_records_acknowledged_total');
      const before = await acknowledged();
      await waitFor(async () => (await acknowledged()) >= before + records, {
        timeoutMs: REACTION_MAX_MS,
        what: `${records} more acknowledged records`,
      });
    },
    readyBecomes: async (status) => {
      const answer = await waitFor(
        async () => {
          const ready = await server.ready();
          return ready.status === status && ready;
        },
        { timeoutMs: REACTION_MAX_MS, what: `/ready to answer ${status}` },
      );
      if (status === 503) noteHit();
      return answer.reason ?? '';
    },
  };
}
