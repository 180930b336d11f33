// The promise itself: hoplog is SIGKILLed again and again under load, at random moments, while Kafka
// is there, frozen or away, and goes on with the same journal each time. In the end Kafka holds what
// was answered, once, unaltered and in order. Batch size, timer and compression change from life to
// life. HOPLOG_CRASH_ROUNDS sets the number of kills, HOPLOG_SEED replays a run's faults.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { describeKafka } from '../support/describe-kafka.ts';
import { type KafkaCluster, startKafka } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { type Delivered, NO_FAULTS, Oracle } from '../support/oracle.ts';
import { type Random, seeded } from '../support/seed.ts';
import { type Options, Server, spawnHoplog } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const ROUNDS = Number(process.env['HOPLOG_CRASH_ROUNDS'] ?? 20);
const START_MAX_MS = 60_000;
const TEST_MAX_MS = 60_000 + ROUNDS * 6_000;
const TOPIC = 'crash';
const KILL_MS = { from: 100, to: 900 };
/** With the time to the kill below the broker session's 3 s: the node wakes up as if nothing had been. */
const FREEZE_MS_MAX = 800;

const RECOVERIES_KILLED = 5;
/** A start takes some 70 ms here, and the delivery of a few thousand records as long again. */
const RECOVERY_MS_MAX = 200;

type Kafka = 'there' | 'frozen at the kill' | 'killed' | 'away' | 'back';

/** Ten rounds, over and over: Kafka there, frozen as the server dies, and away while backlog grows. */
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
        await run.killedWhileRecovering();
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
  /** Each kill: how many requests were issued by then, and where the partitions ended. */
  readonly #kills: { issued: number; ends: readonly number[] | undefined }[] = [];
  #ends: readonly number[] = [0, 0, 0];
  #thawed: Promise<void> = Promise.resolve();
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
      perSecond: random.pick([5_000, 20_000]),
    });
    await load.lasts(faultAtMs);
    const inflicted = this.#inflict(state);
    await load.lasts(killAtMs);
    await server.kill();
    if (state === 'frozen at the kill') this.#thawed = this.#thawLater();
    await waitFor(() => load.connections === 0, { timeoutMs: 5_000, what: 'the sockets to end' });
    if (load.interrupted > 0) this.#interruptedRounds++;
    this.#interruptedRequests += load.interrupted;
    await inflicted;
    await this.#noteKill(state);
  }

  /** Lives that end before they have served anybody: while they read the journal, or deliver from it. */
  async killedWhileRecovering(): Promise<void> {
    await this.#thawed;
    if (!this.#node.running) await this.#node.start();
    for (let life = 0; life < RECOVERIES_KILLED; life++) {
      const child = spawnHoplog([], { ...this.#options(), PORT: 0, ADMIN_PORT: 0 });
      const bornAt = performance.now();
      const lifeMs = this.#random.integer(0, RECOVERY_MS_MAX);
      await waitFor(() => performance.now() - bornAt >= lifeMs, {
        timeoutMs: 5_000,
        what: 'the end of a short life',
        intervalMs: 1,
      });
      child.kill('SIGKILL');
      await child.exited;
    }
  }

  /** A life without load, in which everything must arrive; then it ends by itself. */
  async lastLife(): Promise<void> {
    await this.#thawed;
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
    const recovered = delivered.filter((one) => this.#isRecovered(one));
    const unanswered = delivered.filter(({ number }) => !this.#oracle.isRedirected(number));
    const { issued } = this.#oracle;
    process.stderr.write(
      `${ROUNDS} kills, ${this.#interruptedRounds} under load with ${this.#interruptedRequests} ` +
        `requests unanswered; issued ${issued}, answered ${this.#oracle.answered()}, ` +
        `delivered ${delivered.length}, ${unanswered.length} of them unanswered, ` +
        `${recovered.length} out of the journal after a kill\n`,
    );
    // Else nothing was proven: all kills came while nothing was on its way.
    expect(this.#interruptedRounds).toBeGreaterThanOrEqual(ROUNDS / 2);
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

  /** What happens to Kafka in this round; resolves once it is done. */
  async #inflict(state: Kafka): Promise<void> {
    await this.#thawed;
    switch (state) {
      case 'there':
      case 'away':
        return;
      case 'frozen at the kill':
        return this.#node.freeze();
      case 'killed':
        return this.#node.kill();
      case 'back':
        return this.#node.start();
    }
  }

  /**
   * Into the next life. What the dead server has sent is read and appended only now, often after the
   * next one has asked what arrived: the broker's own duplicate check has to catch that.
   */
  async #thawLater(): Promise<void> {
    const frozenAt = performance.now();
    const frozenMs = this.#random.integer(50, FREEZE_MS_MAX);
    await waitFor(() => performance.now() - frozenAt >= frozenMs, {
      timeoutMs: 2 * FREEZE_MS_MAX,
      what: 'the end of the freeze',
    });
    this.#node.thaw();
  }

  async #noteKill(state: Kafka): Promise<void> {
    if (this.#node.answers) this.#ends = (await this.#kafka.topicEnd(TOPIC)).partitions;
    // Of a frozen node nobody can tell what it has.
    const ends = state === 'frozen at the kill' ? undefined : this.#ends;
    this.#kills.push({ issued: this.#oracle.issued, ends });
  }

  /** Certainly not in Kafka when its server was killed: brought there by a later life. */
  #isRecovered({ number, record }: Delivered): boolean {
    const kill = this.#kills.find(({ issued }) => number <= issued);
    const end = kill?.ends?.[record.partition];
    return end !== undefined && record.offset >= end;
  }
}
