// The crash campaign: `npm run test:crash -- --rounds 1000 --seed 7`. hoplog lives under load for some
// hundred milliseconds and is SIGKILLed, at a moment or at a point of points.ts, while Kafka has faults
// of its own (kafka-faults.ts); the next life goes on with the same journal. Every 50 rounds the oracle
// judges: all that was answered is in Kafka once, unaltered and in order.
// The tests run 50 rounds of the same (campaign.test.ts).

import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { kafkaUnavailable, startKafka } from '../support/kafka.ts';
import { Random } from '../support/seed.ts';
import { tempDir } from '../support/temp-dir.ts';
import { Epoch, newTally, type Tally } from './epoch.ts';
import { KafkaFaults } from './kafka-faults.ts';
import { KillPlan } from './kill-plan.ts';
import { POINTS_IN_RECOVERY, POINTS_UNDER_LOAD } from './points.ts';

/** One epoch: as many rounds as it takes to pass all points. */
const EPOCH_ROUNDS = 50;
/** An epoch behind the last one, while some point was not passed: a burdened machine may not get to it in time. */
const MORE_ROUNDS = 10;
const MORE_ROUNDS_MAX = 80;
const PARTITIONS = 3;

export interface Outcome extends Tally {
  readonly seconds: number;
  /** SIGKILLs at each point; none is 0 after 50 rounds. */
  readonly kills: ReadonlyMap<string, number>;
  /** How often each fault of Kafka really happened. */
  readonly faults: ReadonlyMap<string, number>;
}

export interface CampaignOptions {
  readonly rounds: number;
  /** Of Kafka. */
  readonly nodes: 1 | 3;
  readonly random: Random;
  readonly onProgress: (line: string) => void;
}

/** @throws what went wrong first, with what was done in that epoch */
export async function campaign(options: CampaignOptions): Promise<Outcome> {
  const { rounds, nodes, random, onProgress } = options;
  const started = performance.now();
  await using kafka = await startKafka({ nodes });
  using dir = tempDir();
  const underLoad = new KillPlan(POINTS_UNDER_LOAD, random);
  const inRecovery = new KillPlan(POINTS_IN_RECOVERY, random);
  const tally = newTally();
  const hits = new Map<string, number>();
  const isLacking = (): boolean =>
    rounds >= EPOCH_ROUNDS &&
    tally.rounds < rounds + MORE_ROUNDS_MAX &&
    (underLoad.isDue || inRecovery.isDue);
  let journalDir = join(dir.path, 'journal');
  while (tally.rounds < rounds || isLacking()) {
    const roundsLeft = rounds - tally.rounds;
    const epochRounds = roundsLeft > 0 ? Math.min(EPOCH_ROUNDS, roundsLeft) : MORE_ROUNDS;
    const topic = `crash-${tally.rounds}`;
    await kafka.createTopic({ name: topic, partitions: PARTITIONS });
    await using faults = await KafkaFaults.start(kafka, random, hits, epochRounds);
    // A journal that has grown to its full size recycles and makes no new segments.
    if (roundsLeft <= 0 || random.next() < 0.5) journalDir = join(dir.path, topic);
    const setup = { kafka, faults, random, topic, journalDir };
    const epoch = new Epoch({ ...setup, underLoad, inRecovery, tally });
    try {
      for (let round = 0; round < epochRounds; round++) await epoch.round();
      await epoch.lastLife();
      await epoch.judge();
    } catch (error) {
      throw new Error(`${String(error)}\nThe lives before:\n${epoch.history.join('\n')}`, {
        cause: error,
      });
    }
    onProgress(
      `${tally.rounds} of ${rounds} rounds after ${secondsSince(started)} s: ` +
        `${tally.answered} answered, ${tally.delivered} delivered`,
    );
  }
  const kills = new Map([...underLoad.hits, ...inRecovery.hits]);
  const outcome = { ...tally, seconds: secondsSince(started), kills, faults: hits };
  if (rounds >= EPOCH_ROUNDS) expectAllHappened(outcome);
  return outcome;
}

/** Else it proves less than it says. */
function expectAllHappened({ kills, outOfJournal, interrupted }: Outcome): void {
  const never = [...kills].filter(([, count]) => count === 0).map(([point]) => point);
  if (never.length > 0) throw new Error(`nobody was killed ${never.join(', ')}`);
  if (outOfJournal === 0) throw new Error('nothing had to come out of the journal');
  if (interrupted === 0) throw new Error('no request was under way when hoplog was killed');
}

function secondsSince(started: number): number {
  return Math.round((performance.now() - started) / 1000);
}

export function summaryOf(outcome: Outcome): string {
  const { rounds, moments, recoveriesKilled, kills, faults, seconds } = outcome;
  const { issued, answered, refused, interrupted, delivered, unanswered, outOfJournal } = outcome;
  const list = (counts: ReadonlyMap<string, number>): string =>
    [...counts].map(([name, count]) => `${name} ${count}`).join(', ');
  return [
    `${rounds} rounds in ${seconds} s, ${rounds + recoveriesKilled} SIGKILLs: ` +
      `${moments} at a moment, ${recoveriesKilled} of those in recovery`,
    `kills by point: ${list(kills)}`,
    `faults of Kafka that happened: ${list(faults)}`,
    `requests: ${issued} issued, ${answered} answered, ${refused} refused with a full journal, ` +
      `${interrupted} cut off; ${delivered} delivered, ${unanswered} of them unanswered, ` +
      `${outOfJournal} out of the journal after a kill; none lost, none twice`,
  ].join('\n');
}

const HELP = `npm run test:crash -- [--rounds N] [--seed S] [--nodes 1|3]

Kills hoplog with SIGKILL N times (${EPOCH_ROUNDS} if not given) under load, with a real Kafka and its
faults, and checks that Kafka holds what was answered, once. About a second a round, and some rounds
more where a point was not passed yet. With three Kafka nodes (1 if not given) leaders move when one
is killed. The seed is printed; it replays the plan of kills and faults, not the scheduling of the
processes. Exit code 1 = failed.
`;

/** @throws where the command line makes no sense */
function readArguments() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: String(EPOCH_ROUNDS) },
      seed: { type: 'string', default: String(crypto.getRandomValues(new Uint32Array(1))[0]) },
      nodes: { type: 'string', default: '1' },
      help: { type: 'boolean', default: false },
    },
  });
  const rounds = Number(values.rounds);
  const seed = Number(values.seed);
  const nodes = Number(values.nodes);
  const isSound = Number.isSafeInteger(rounds) && rounds > 0 && Number.isSafeInteger(seed);
  if (!isSound || (nodes !== 1 && nodes !== 3)) throw new Error('no such campaign');
  return { rounds, seed, nodes, help: values.help } as const;
}

async function main(): Promise<number> {
  let asked: ReturnType<typeof readArguments>;
  try {
    asked = readArguments();
  } catch (error) {
    process.stderr.write(`${String(error)}\n${HELP}`);
    return 2;
  }
  const { rounds, seed, nodes, help } = asked;
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  const obstacle = kafkaUnavailable();
  if (obstacle !== undefined) {
    process.stderr.write(`the campaign needs a real Kafka: ${obstacle}\n`);
    return 1;
  }
  try {
    const say = (line: string): void => void process.stdout.write(`${line}\n`);
    say(`seed ${seed}`);
    const random = new Random(seed);
    say(summaryOf(await campaign({ rounds, nodes, random, onProgress: say })));
    return 0;
  } catch (error) {
    process.stderr.write(
      `${String(error)}\nFAILED: --rounds ${rounds} --seed ${seed} --nodes ${nodes} replays it\n`,
    );
    return 1;
  }
}

if (import.meta.main) {
  // Kafka ends with this process where it runs its 'exit' handlers.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));
  process.exit(await main());
}
