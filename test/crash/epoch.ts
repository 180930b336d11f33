// Some rounds of the crash campaign on a topic and with an oracle of their own, over the journal that
// the rounds before left: lives of hoplog under load, each ended by SIGKILL, some followed by lives
// that are killed while they recover. In the end a life that is left alone brings Kafka all there is,
// and the oracle judges. So a campaign of any length needs the memory of one epoch.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { KafkaCluster } from '../support/kafka.ts';
import { Load } from '../support/load-client.ts';
import { type Delivered, NO_FAULTS, Oracle } from '../support/oracle.ts';
import type { Random } from '../support/seed.ts';
import { type Options, Server, spawnHoplog } from '../support/server.ts';
import { waitFor } from '../support/wait-for.ts';
import type { KafkaFaults } from './kafka-faults.ts';
import type { Kill, KillPlan } from './kill-plan.ts';
import {
  POINTS_IN_RECOVERY,
  POINTS_OF_GROWTH,
  POINTS_OF_REQUESTS,
  POINTS_OF_SENDING,
} from './points.ts';

const PRELOAD = join(import.meta.dir, 'kill-point-preload.ts');
const SIGKILLED = 128 + 9;
/** A life that is killed at a moment. A start takes some 100 ms here. */
const LIFE_MS = { from: 20, to: 400 };
/** A life that passes its point no sooner than this is killed all the same. */
const POINT_MAX_MS = 900;
const RECOVERY_MAX_MS = 700;
/** Without a point: while it reads the journal, or delivers from it. */
const RECOVERY_MS_MAX = 200;
const RECOVERIES_IN_A_ROW = 3;
/** A machine that runs other tests as well may take this long for a click of its own. */
const FRESH_MAX_MS = 10_000;

export interface Tally {
  rounds: number;
  /** SIGKILLs at no point, but at a moment. */
  moments: number;
  recoveriesKilled: number;
  issued: number;
  answered: number;
  /** Answered 503, because the journal was full. */
  refused: number;
  /** Requests whose connection ended before an answer came. */
  interrupted: number;
  delivered: number;
  /** Delivered, and the client never knew. */
  unanswered: number;
  /** Delivered by a later life than the one that took them in. */
  outOfJournal: number;
}

export function newTally(): Tally {
  return {
    rounds: 0,
    moments: 0,
    recoveriesKilled: 0,
    issued: 0,
    answered: 0,
    refused: 0,
    interrupted: 0,
    delivered: 0,
    unanswered: 0,
    outOfJournal: 0,
  };
}

export interface EpochSetup {
  readonly kafka: KafkaCluster;
  readonly faults: KafkaFaults;
  readonly random: Random;
  readonly topic: string;
  readonly journalDir: string;
  readonly underLoad: KillPlan;
  readonly inRecovery: KillPlan;
  readonly tally: Tally;
}

/** Nothing in a campaign may cost a record or double one. */
const NEVER_COUNTED = [
  'hoplog_records_dropped_total{cause="journal full"}',
  'hoplog_records_dropped_total{cause="complete() failed"}',
  'hoplog_records_oversize_total',
  'hoplog_records_possibly_duplicated_total',
  'hoplog_journal_unreadable_bytes_total',
];

export class Epoch {
  /** What was done, a line a life: printed when it went wrong. */
  readonly history: string[] = [];
  readonly #setup: EpochSetup;
  readonly #oracle = new Oracle();
  /** Each kill: how many requests were issued by then, and where the partitions ended. */
  readonly #kills: { issued: number; ends: readonly number[] | undefined }[] = [];

  constructor(setup: EpochSetup) {
    this.#setup = setup;
  }

  /** A life under load that ends with SIGKILL; now and then, lives behind it that end in recovery. */
  async round(): Promise<void> {
    const { random, faults, tally, inRecovery } = this.#setup;
    tally.rounds++;
    await faults.beginRound();
    await this.#lifeUnderLoad();
    if (faults.isKafkaAway || random.next() > (inRecovery.isDue ? 0.4 : 0.1)) return;
    await faults.endRound();
    for (let life = 0; life < RECOVERIES_IN_A_ROW; life++) await this.#lifeInRecovery();
  }

  /** A life in which everything must arrive, and something fresh soon; then it ends by itself. */
  async lastLife(): Promise<void> {
    await this.#setup.faults.end();
    await using server = await Server.start(this.#options());
    await server.delivered();
    await using load = await Load.start(server.url, this.#oracle, { perSecond: 1_000 });
    await load.lasts(50);
    await load.stop();
    await server.delivered(FRESH_MAX_MS);
    for (const name of NEVER_COUNTED) await expectZero(server, name);
    const exitCode = await server.stop();
    if (exitCode !== 0) throw new Error(`hoplog ended with ${exitCode} on SIGTERM`);
    checkOutput(server.lines);
  }

  /** @throws what the oracle found wrong */
  async judge(): Promise<void> {
    const { kafka, topic, tally } = this.#setup;
    const { delivered, ...wrong } = this.#oracle.judge(await kafka.readTopic(topic));
    if (!Bun.deepEquals(wrong, NO_FAULTS)) {
      throw new Error(`what is in Kafka is not what was answered: ${Bun.inspect(wrong)}`);
    }
    tally.issued += this.#oracle.issued;
    tally.answered += this.#oracle.answered();
    tally.refused += this.#oracle.answered(503);
    tally.delivered += delivered.length;
    tally.unanswered += delivered.filter(({ number }) => !this.#oracle.isRedirected(number)).length;
    tally.outOfJournal += delivered.filter((one) => this.#isOutOfJournal(one)).length;
  }

  async #lifeUnderLoad(): Promise<void> {
    const { random, faults, journalDir, underLoad, tally } = this.#setup;
    const points = faults.isKafkaAway
      ? [POINTS_OF_GROWTH, POINTS_OF_REQUESTS]
      : [{ ...POINTS_OF_REQUESTS, ...POINTS_OF_SENDING }];
    if (!existsSync(journalDir)) points.unshift(POINTS_OF_GROWTH);
    const kill = random.next() < momentsOf(underLoad) ? undefined : underLoad.next(...points);
    const lifeMs = kill ? POINT_MAX_MS : random.integer(LIFE_MS.from, LIFE_MS.to);
    const faultAtMs = random.pick([0, random.integer(0, LIFE_MS.to)]);
    const line = this.#begin(kill);
    await using server = await Server.start(this.#options(kill));
    await using load = await Load.start(server.url, this.#oracle, {
      connections: random.integer(1, 16),
      depth: random.pick([1, 1, 4]),
      perSecond: random.pick([2_000, 10_000]),
    });
    await lived(server, load, Math.min(faultAtMs, lifeMs));
    const fault = server.ended ? 'none' : await faults.strike();
    await lived(server, load, lifeMs);
    const killedItself = server.ended;
    const exitCode = await server.stop('SIGKILL');
    await waitFor(() => load.connections === 0, { timeoutMs: 5_000, what: 'the sockets to end' });
    if (exitCode !== SIGKILLED) throw new Error(`hoplog ended by itself with ${exitCode}`);
    // Throws when an answer was none.
    await load.pause();
    checkOutput(server.lines);
    tally.interrupted += load.interrupted;
    if (!kill) tally.moments++;
    else if (killedItself) underLoad.noteHit(kill);
    else underLoad.noteMissed(kill);
    this.#end(
      line,
      `${killedItself ? '' : 'not '}by itself after ${load.lastedMs | 0} ms, ${fault}`,
    );
    await this.#noteKill();
  }

  async #lifeInRecovery(): Promise<void> {
    const { random, inRecovery, tally } = this.#setup;
    const kill =
      random.next() < momentsOf(inRecovery) ? undefined : inRecovery.next(POINTS_IN_RECOVERY);
    const lifeMs = kill ? RECOVERY_MAX_MS : random.integer(0, RECOVERY_MS_MAX);
    const line = this.#begin(kill);
    const child = spawnHoplog([], {
      HOST: '127.0.0.1',
      PORT: 0,
      ADMIN_PORT: 0,
      ...this.#options(kill),
    });
    const stderr = child.stderr.text();
    const bornAt = performance.now();
    const ended = () => child.exitCode !== null || child.signalCode !== null;
    await waitFor(() => ended() || performance.now() - bornAt >= lifeMs, {
      timeoutMs: 10_000,
      what: 'the end of a short life',
      intervalMs: 1,
    });
    const killedItself = ended();
    child.kill('SIGKILL');
    const exitCode = await child.exited;
    if (exitCode !== SIGKILLED) {
      throw new Error(`hoplog ended by itself with ${exitCode}: ${await stderr}`);
    }
    checkOutput((await stderr).split('\n').slice(0, -1));
    tally.recoveriesKilled++;
    if (kill && killedItself) inRecovery.noteHit(kill);
    else if (kill) inRecovery.noteMissed(kill);
    this.#end(line, `${killedItself ? '' : 'not '}by itself`);
  }

  #begin(kill: Kill | undefined): string {
    const line = kill ? `${kill.point} (${kill.hit})` : 'a moment';
    this.history.push(`${line}: begun`);
    return line;
  }

  #end(line: string, how: string): void {
    this.history[this.history.length - 1] = `${line}: ${how}`;
  }

  #options(kill?: Kill): Options {
    const { faults, random, topic, journalDir } = this.#setup;
    const options: Options = {
      KAFKA_BROKERS: faults.brokers,
      KAFKA_TOPIC: topic,
      KAFKA_COMPRESSION: random.pick(['none', 'none', 'gzip', 'zstd']),
      JOURNAL_DIR: journalDir,
      // Segments of 192 KiB, some 500 records: one after the other is filled and recycled.
      JOURNAL_BYTES: '12MiB',
      JOURNAL_FULL: 'refuse',
      JOURNAL_SYNC_MS: random.pick([10, 50, 1000]),
      BATCH_BYTES: random.pick([2_048, 2_048, 8_192, 40_000]),
      FLUSH_INTERVAL_MS: random.pick([5, 50, 500]),
    };
    if (!kill) return options;
    const { point, hit } = kill;
    return { ...options, BUN_OPTIONS: `--preload=${PRELOAD}`, KILL_POINT: point, KILL_HIT: hit };
  }

  async #noteKill(): Promise<void> {
    const { kafka, faults, topic } = this.#setup;
    // Of a node that is down or frozen nobody can tell what it has.
    const ends = faults.isKafkaAway ? undefined : (await kafka.topicEnd(topic)).partitions;
    this.#kills.push({ issued: this.#oracle.issued, ends });
  }

  /** Certainly not in Kafka when its server was killed: brought there by a later life. */
  #isOutOfJournal({ number, record }: Delivered): boolean {
    const kill = this.#kills.find(({ issued }) => number <= issued);
    const end = kill?.ends?.[record.partition];
    return end !== undefined && record.offset >= end;
  }
}

/** So many of the lives end at a moment, not at a point. */
function momentsOf(plan: KillPlan): number {
  return plan.isDue ? 0.05 : 0.3;
}

/** Until load has been on for `ms`, or the server has ended. */
async function lived(server: Server, load: Load, ms: number): Promise<void> {
  await waitFor(() => server.ended || load.lastedMs >= ms, {
    timeoutMs: ms + 10_000,
    what: `${ms} ms of load`,
    intervalMs: 1,
  });
}

async function expectZero(server: Server, metric: string): Promise<void> {
  const value = await server.metric(metric);
  if (value !== 0) throw new Error(`${metric} is ${value}`);
}

/** A killed server says nothing but log lines, and none of an error. */
function checkOutput(lines: readonly string[]): void {
  const bad = lines.filter((line) => !line.startsWith('{') || line.includes('"level":"error"'));
  if (bad.length > 0) throw new Error(`hoplog complained:\n${bad.join('\n')}`);
}
