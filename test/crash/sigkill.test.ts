// The promise itself: hoplog is SIGKILLed again and again under load, at random moments, while Kafka
// is there, frozen or away, and goes on with the same journal each time. In the end Kafka holds what
// was answered, once, unaltered and in order. Batch size, timer and compression change from life to
// life. HOPLOG_CRASH_ROUNDS sets the number of kills, HOPLOG_SEED replays a run's faults.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { describeKafka } from '../support/describe-kafka.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { NO_FAULTS, Oracle } from '../support/oracle.ts';
import { type Random, seeded } from '../support/seed.ts';
import { type Options, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const ROUNDS = Number(process.env['HOPLOG_CRASH_ROUNDS'] ?? 20);
const START_MAX_MS = 60_000;
const TEST_MAX_MS = 60_000 + ROUNDS * 6_000;
const TOPIC = 'crash';
const KILL_MS = { from: 100, to: 900 };
/** Below the broker session's 3 s, so that the frozen node wakes up as if nothing had been. */
const FREEZE_MS_MAX = 800;

type Kafka = 'there' | 'frozen at the kill' | 'killed' | 'away' | 'back';

/** A cycle of ten rounds: four with Kafka there, three frozen, then three over which backlog grows. */
const CYCLE: readonly Kafka[] = [
  'there',
  'frozen at the kill',
  'there',
  'there',
  'frozen at the kill',
  'killed',
  'away',
  'away',
  'back',
  'frozen at the kill',
];

describeKafka('hoplog killed under load', () => {
  let kafka: KafkaCluster;

  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1, topics: [{ name: TOPIC, partitions: 3 }] });
  }, START_MAX_MS);

  afterAll(async () => {
    await kafka?.[Symbol.asyncDispose]();
  });

  test(
    `over ${ROUNDS} SIGKILLs, what was answered is in Kafka once and in order`,
    async () => {
      await seeded(async (random) => {
        using dir = tempDir();
        const run = new CrashRun(kafka, random, dir.path);
        for (let round = 0; round < ROUNDS; round++) await run.round(CYCLE[round % CYCLE.length]!);
        await run.lastLife();
        await run.judge();
      });
    },
    TEST_MAX_MS,
  );
});

class CrashRun {
  readonly #kafka: KafkaCluster;
  readonly #random: Random;
  readonly #journalDir: string;
  readonly #oracle = new Oracle();
  /** End offsets of the partitions at each kill, by the boot that was killed: what came later was recovered. */
  readonly #endsAtKill: { issued: number; partitions: readonly number[] }[] = [];
  #knownEnds: readonly number[] = [0, 0, 0];
  #interruptedRounds = 0;
  #interruptedRequests = 0;

  constructor(kafka: KafkaCluster, random: Random, journalDir: string) {
    this.#kafka = kafka;
    this.#random = random;
    this.#journalDir = journalDir;
  }

  get #node() {
    return this.#kafka.nodes[0]!;
  }

  /** A life under load that ends with SIGKILL. */
  async round(state: Kafka): Promise<void> {
    const random = this.#random;
    const killAtMs = random.integer(KILL_MS.from, KILL_MS.to);
    const faultAtMs = random.integer(0, killAtMs);
    const server = await Server.start(this.#options());
    await using load = await Load.start(server.url, this.#oracle, {
      connections: random.integer(1, 16),
      depth: random.pick([1, 1, 4]),
    });
    await load.lasts(faultAtMs);
    const fault = this.#inflict(state);
    await load.lasts(killAtMs);
    await server.kill();
    await waitFor(() => load.connections === 0, { timeoutMs: 5_000, what: 'the sockets to end' });
    if (load.interrupted > 0) this.#interruptedRounds++;
    this.#interruptedRequests += load.interrupted;
    await fault;
    await this.#noteEnds();
  }

  /** A life without load, in which everything must arrive; then it ends by itself. */
  async lastLife(): Promise<void> {
    if (!this.#node.running) await this.#node.start();
    await using server = await Server.start(this.#options());
    await server.delivered();
    expect(await server.metric('hoplog_dropped_total')).toBe(0);
    expect(await server.metric('hoplog_possibly_duplicated_total')).toBe(0);
    expect(await server.metric('hoplog_journal_unreadable_bytes_total')).toBe(0);
    expect(await server.stop()).toBe(0);
  }

  async judge(): Promise<void> {
    const records = await this.#kafka.readTopic(TOPIC);
    const { delivered, ...faults } = this.#oracle.judge(records);
    expect(faults).toEqual(NO_FAULTS);
    const recovered = delivered.filter(({ number, record }) => {
      const { partitions = [] } = this.#endsAtKill.find(({ issued }) => number <= issued) ?? {};
      return record.offset >= (partitions[record.partition] ?? 0);
    });
    const unanswered = delivered.filter(({ number }) => !this.#oracle.isRedirected(number));
    const { issued } = this.#oracle;
    process.stderr.write(
      `${ROUNDS} kills, ${this.#interruptedRounds} under load with ${this.#interruptedRequests} ` +
        `requests unanswered; issued ${issued}, answered ${this.#oracle.answered()}, ` +
        `delivered ${delivered.length}, ${unanswered.length} of them unanswered, ` +
        `${recovered.length} out of the journal after a kill\n`,
    );
    // Else nothing was proven: all kills came while nothing was on its way.
    expect(this.#interruptedRounds).toBeGreaterThanOrEqual(ROUNDS * 0.8);
    expect(recovered.length).toBeGreaterThan(0);
  }

  #options(): Options {
    const random = this.#random;
    return {
      KAFKA_BROKERS: this.#kafka.brokers,
      KAFKA_TOPIC: TOPIC,
      KAFKA_COMPRESSION: random.pick(['none', 'gzip', 'zstd']),
      JOURNAL_DIR: this.#journalDir,
      JOURNAL_BYTES: '256MiB',
      JOURNAL_SYNC_MS: random.pick([20, 1000]),
      BATCH_BYTES: random.pick([2048, 16_384, 200_000]),
      FLUSH_INTERVAL_MS: random.pick([5, 50, 500]),
    };
  }

  /** What happens to Kafka in this round; resolves once it is over. */
  async #inflict(state: Kafka): Promise<void> {
    switch (state) {
      case 'there':
      case 'away':
        return;
      case 'killed':
        return this.#node.kill();
      case 'back':
        return this.#node.start();
      case 'frozen at the kill': {
        // Requests the dead server sent are read, and appended, once the node wakes up: often only
        // when the next life has asked what arrived.
        this.#node.freeze();
        setTimeout(() => this.#node.thaw(), this.#random.integer(50, FREEZE_MS_MAX));
      }
    }
  }

  async #noteEnds(): Promise<void> {
    if (this.#node.answers) {
      const { partitions } = await this.#kafka.topicEnd(TOPIC);
      this.#knownEnds = partitions;
    }
    this.#endsAtKill.push({ issued: this.#oracle.issued, partitions: this.#knownEnds });
  }
}
