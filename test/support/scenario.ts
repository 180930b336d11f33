// The frame of a fault test: hoplog under steady load on a topic of its own, something done to Kafka
// meanwhile, and in the end the oracle's word that all that was answered arrived once.

import { expect } from 'bun:test';
import type { FaultProxy } from './fault-proxy.ts';
import type { KafkaCluster } from './kafka.ts';
import { Load, type LoadOptions } from './load-client.ts';
import { NO_FAULTS, Oracle } from './oracle.ts';
import { type Options, Server } from './server.ts';
import { tempDir } from './temp-dir.ts';
import { waitFor } from './wait-for.ts';

/** A redirect takes well under a millisecond; a busy machine may stall all of us this long. */
const ANSWER_MS_MAX = 1_500;
const REACTION_MAX_MS = 45_000;

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
}

export interface ScenarioOptions {
  readonly topic: string;
  readonly options?: Options;
  readonly load?: LoadOptions;
  /** Between hoplog and Kafka. */
  readonly proxy?: FaultProxy;
}

/** The topic must be there by the time `during` resolves. */
export async function underLoad(
  kafka: KafkaCluster,
  { topic, options = {}, load: loadOptions, proxy }: ScenarioOptions,
  during: (scenario: Scenario) => Promise<void>,
): Promise<void> {
  using dir = tempDir();
  await using server = await Server.start({
    KAFKA_BROKERS: (proxy ?? kafka).brokers,
    KAFKA_TOPIC: topic,
    JOURNAL_DIR: dir.path,
    JOURNAL_BYTES: '256MiB',
    // A batch every few requests: whenever Kafka fails, some are on their way.
    BATCH_BYTES: 2_048,
    FLUSH_INTERVAL_MS: 50,
    ...options,
  });
  const oracle = new Oracle();
  await using load = await Load.start(server.url, oracle, { perSecond: 4_000, ...loadOptions });
  await during(scenario(server, load, oracle));
  await load.stop();
  expect(load.interrupted).toBe(0);
  expect(load.slowestMs).toBeLessThan(ANSWER_MS_MAX);
  expect(oracle.answered()).toBe(oracle.issued);
  await server.delivered();
  const { delivered, ...faults } = oracle.judge(await kafka.readTopic(topic));
  expect(faults).toEqual(NO_FAULTS);
  expect(delivered).toHaveLength(oracle.answered());
  expect(await server.metric('hoplog_possibly_duplicated_total')).toBe(0);
  expect(await server.ready()).toEqual({ status: 200, reason: undefined });
  expect(await server.stop()).toBe(0);
  expect(server.noise).toEqual([]);
}

function scenario(server: Server, load: Load, oracle: Oracle): Scenario {
  return {
    server,
    load,
    oracle,
    goesOn: async (requests = 500) => {
      const before = oracle.answered();
      await waitFor(() => oracle.answered() >= before + requests, {
        timeoutMs: REACTION_MAX_MS,
        what: `${requests} more answers`,
      });
    },
    delivers: async (records = 500) => {
      const acknowledged = () => server.metric('hoplog_acknowledged_total');
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
      return answer.reason ?? '';
    },
  };
}
