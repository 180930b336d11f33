// The steps of a history: what may happen to a hoplog, its disk and its brokers, each as a command of
// fast-check that can be left out when a failure is shrunk. After each one everything that can happen
// by itself has happened, and what shipping-model.ts promises must be true.

import * as fc from 'fast-check';
import { CODE } from './fake-partition.ts';
import type { Question } from './fake-topic.ts';
import { Random } from './seed.ts';
import type { Aftermath, Model, Real } from './shipping-model.ts';

export const PARTITIONS = 2;
/** Fits a record of RECORD_BYTES_MAX alone, and no batch of several. */
const SMALL_BATCH_BYTES = 400;
/** Fits the smaller half of the records only. */
const TINY_BATCH_BYTES = 220;
const RECORD_BYTES_MAX = 300;

/** Answers a broker may give although nothing is wrong with the batch, appended or not. */
const REFUSALS = [
  CODE.NOT_LEADER_OR_FOLLOWER,
  CODE.REQUEST_TIMED_OUT,
  CODE.NOT_ENOUGH_REPLICAS,
  CODE.TOPIC_AUTHORIZATION_FAILED,
  CODE.KAFKA_STORAGE_ERROR,
  CODE.OUT_OF_ORDER_SEQUENCE_NUMBER,
  CODE.INVALID_PRODUCER_EPOCH,
  CODE.UNKNOWN_PRODUCER_ID,
] as const;

const AMBIGUOUS = [
  CODE.REQUEST_TIMED_OUT,
  CODE.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
  CODE.KAFKA_STORAGE_ERROR,
  CODE.DUPLICATE_SEQUENCE_NUMBER,
] as const;

type Step = fc.AsyncCommand<Model, Real>;

function step(name: string, run: (real: Real, model: Model) => Promise<void> | void): Step {
  return {
    check: () => true,
    run: async (model, real) => {
      await run(real, model);
      await real.settle();
      const broken = real.check();
      if (broken.length > 0) throw new Error(`after ${name}: ${broken.join('; ')}`);
    },
    toString: () => name,
  };
}

const partition = fc.nat({ max: PARTITIONS - 1 });
const aftermath: fc.Arbitrary<Aftermath> = fc.record({
  arrived: fc.nat({ max: 3 }),
  othersLate: fc.boolean(),
});

function spell({ arrived, othersLate }: Aftermath): string {
  return `${arrived} arrive, the others ${othersLate ? 'late' : 'never'}`;
}

const append = fc
  .record({
    count: fc.integer({ min: 1, max: 12 }),
    bytes: fc.integer({ min: 1, max: RECORD_BYTES_MAX }),
    sealed: fc.boolean(),
  })
  .map(({ count, bytes, sealed }) =>
    step(`append(${count}, ${bytes}${sealed ? ', sealed' : ''})`, (real) => {
      for (let left = count; left > 0; left--) real.append(bytes);
      if (sealed) real.journal.seal();
    }),
  );

/** Enough to go on in the next segment. */
const rotate = fc.constant(
  step('rotate', (real) => {
    for (let left = 270; left > 0; left--) real.append(RECORD_BYTES_MAX);
  }),
);

const fill = fc.constant(
  step('fill', async (real) => {
    do {
      while (real.append(RECORD_BYTES_MAX));
      await real.settle();
    } while (!real.journal.full);
  }),
);

const sync = fc
  .integer({ min: 1, max: 4 })
  .map((count) => step(`sync(${count})`, (real) => real.endSyncs(count)));

const seconds = fc
  .constantFrom(0.001, 0.1, 1, 1, 5, 60, 3600, 25 * 3600)
  .map((time) => step(`${time} s pass`, (real) => real.pass(time * 1000)));

const acknowledge = fc
  .record({ at: partition, count: fc.integer({ min: 1, max: 5 }) })
  .map(({ at, count }) => step(`ack(${at}, ${count})`, (real) => real.topic.deliver(at, count)));

/** All is well for a while. */
const flow = fc.integer({ min: 1, max: 6 }).map((rounds) =>
  step(`flow(${rounds})`, async (real) => {
    for (let left = rounds; left > 0; left--) {
      real.endSyncs(Infinity);
      for (let at = 0; at < PARTITIONS; at++) real.topic.deliver(at, Infinity);
      await real.pass(600);
      await real.settle();
    }
  }),
);

const refuse = fc
  .record({ at: partition, code: fc.constantFrom(...REFUSALS) })
  .map(({ at, code }) =>
    step(`refuse(${at}, ${code})`, (real) => real.topic.refuse(at, code, false)),
  );

const appendedButRefused = fc
  .record({ at: partition, code: fc.constantFrom(...AMBIGUOUS) })
  .map(({ at, code }) =>
    step(`append and refuse(${at}, ${code})`, (real) => real.topic.refuse(at, code, true)),
  );

const cut = fc
  .record({ at: partition, after: aftermath })
  .map(({ at, after }) =>
    step(`cut(${at}, ${spell(after)})`, (real) =>
      real.topic.cut(at, after.arrived, after.othersLate),
    ),
  );

const refuseConnection = partition.map((at) =>
  step(`refuse the connection(${at})`, (real) => real.topic.refuseConnection(at)),
);

const late = partition.map((at) => step(`late(${at})`, (real) => real.brokers.takeLate(at)));

const leave = fc
  .record({
    question: fc.constantFrom<Question>('metadata', 'newProducerId', 'describeProducers'),
    times: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ question, times }) =>
    step(`leave ${question} unanswered(${times})`, (real) => {
      real.brokers.unanswered[question] += times;
    }),
  );

const elect = fc
  .record({ at: partition, leader: fc.integer({ min: -1, max: 1 }) })
  .map(({ at, leader }) =>
    step(`elect(${at}, ${leader})`, (real) => {
      const target = real.brokers.partitions[at];
      if (target) target.leader = leader;
    }),
  );

const limit = fc
  .record({ at: partition, bytes: fc.constantFrom(TINY_BATCH_BYTES, SMALL_BATCH_BYTES, Infinity) })
  .map(({ at, bytes }) =>
    step(`limit batches(${at}, ${bytes})`, (real) => {
      const target = real.brokers.partitions[at];
      if (target) target.batchBytesMax = bytes;
    }),
  );

const kill = aftermath.map((after) => step(`kill(${spell(after)})`, (real) => real.kill(after)));

const reload = aftermath.map((after) =>
  step(`reload(${spell(after)})`, (real) => real.restart(after)),
);

const recover = fc.constant(step('recover', (real) => real.checkRecovery()));

/** Each block as it was at the last sync, as it is, or either. */
const cutPower = fc
  .record({
    after: aftermath,
    blocks: fc.constantFrom('old', 'new', 'mixed'),
    seed: fc.nat({ max: 1000 }),
  })
  .map(({ after, blocks, seed }) =>
    step(`cut the power(${blocks} ${seed}, ${spell(after)})`, (real) => {
      const random = new Random(seed);
      return real.cutPower(after, (versions) => {
        if (blocks === 'mixed') return random.integer(0, versions - 1);
        return blocks === 'old' ? 0 : versions - 1;
      });
    }),
  );

/** Any history of up to so many steps. */
export function histories(steps: number) {
  const commands = [
    append,
    append,
    append,
    append,
    flow,
    flow,
    acknowledge,
    acknowledge,
    sync,
    sync,
    seconds,
    seconds,
    rotate,
    fill,
    refuse,
    appendedButRefused,
    cut,
    refuseConnection,
    late,
    leave,
    elect,
    limit,
    kill,
    reload,
    recover,
    cutPower,
    cutPower,
  ];
  return fc.commands(commands, { maxCommands: steps, size: 'max' });
}

const HEALING_ROUNDS_MAX = 3000;

/** Everything is well again: all is delivered, what comes late changes nothing, and there is room. */
export async function heal(real: Real, model: Model): Promise<void> {
  for (const one of real.brokers.partitions)
    Object.assign(one, { leader: 0, batchBytesMax: Infinity });
  Object.assign(real.brokers.unanswered, { partitions: 0, newProducerId: 0, describeProducers: 0 });
  real.journal.seal();
  let rounds = 0;
  while (real.journal.backlogBytes > 0 && rounds++ < HEALING_ROUNDS_MAX) {
    real.endSyncs(Infinity);
    for (let at = 0; at < PARTITIONS; at++) real.topic.deliver(at, Infinity);
    await real.pass(100);
    await real.settle();
  }
  for (let at = 0; at < PARTITIONS; at++) real.brokers.takeLate(at);
  real.endSyncs(Infinity);
  await real.settle();
  const broken = real.check();
  if (real.journal.backlogBytes > 0) broken.push(`stuck: ${real.producer.trouble}`);
  const missing = [...model.appended.keys()].filter(
    (number) =>
      !model.delivered.has(number) && !model.lost.has(number) && !model.givenUp.has(number),
  );
  if (missing.length > 0) broken.push(`missing: ${missing.slice(0, 20).join(' ')}`);
  if (real.journal.full) broken.push('the journal stays full');
  if (broken.length > 0) throw new Error(`in the end: ${broken.join('; ')}`);
}
