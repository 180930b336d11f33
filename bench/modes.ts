// What can be measured, by name: who takes part if nobody says, how long it is, what has to be true of
// its rows. Each mode has a Kafka of its own, so that none finds the records of another.

import { measureBursts } from './bursts.ts';
import type { Outcome } from './entry.ts';
import { measureBacklog, measureConnections } from './growth.ts';
import { measureIdle } from './idle.ts';
import type { BenchKafka } from './kafka.ts';
import { measureLatency } from './latency.ts';
import { measureMemory } from './memory.ts';
import { measureOutage } from './outage.ts';
import type { ModeName, Sections } from './results.ts';
import { measureShipping } from './shipping.ts';
import { steps } from './steps.ts';
import { type Variant, variants } from './variants.ts';
import type { LoadShape } from './wrk.ts';

export interface ModeOptions {
  rounds: number;
  seconds: number;
  variants: readonly Variant[];
  load: LoadShape;
  rate: number;
  backlogMiB: number;
}

export interface Context {
  kafka: BenchKafka;
  dir: string;
  /** Takes what has to be ended when a mode is cut short. */
  stack: AsyncDisposableStack;
}

interface Mode<Section> {
  /** For `--help`. */
  what: string;
  rounds: number;
  seconds: number;
  variants: readonly string[];
  measure(options: ModeOptions, context: Context): Promise<Section>;
  /** All measured, all records there. */
  isGood(section: Section): boolean;
  /** What one variant takes, about. */
  secondsPerVariant(options: ModeOptions): number;
}

const everybody = variants.map(({ name }) => name);

function isGood(row: Pick<Outcome, 'failure' | 'delivery'>): boolean {
  return row.failure === null && (row.delivery === 'all' || row.delivery === 'no log');
}

/** Where others may lose records, and are shown as having lost them. */
function isGoodOrForeign(row: Outcome): boolean {
  const variant = variants.find(({ name }) => name === row.variant);
  return isGood(row) || variant?.hoplog !== true;
}

async function bursts(options: ModeOptions, { kafka, dir, stack }: Context) {
  const { rounds, seconds, load } = options;
  const all = { rounds, seconds, shape: load };
  const rows = await measureBursts(options.variants, kafka, all, dir, stack);
  return { rounds, seconds, load: load.name, rows };
}

function inBursts(what: string, names: readonly string[]): Mode<Sections['bursts']> {
  return {
    what,
    rounds: 9,
    seconds: 1,
    variants: names,
    measure: bursts,
    isGood: ({ rows }) => rows.every(isGood),
    secondsPerVariant: ({ rounds, seconds }) => rounds * (seconds + 5),
  };
}

/** One variant after the other. */
async function each<Row>(
  options: ModeOptions,
  measure: (variant: Variant) => Promise<Row>,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const variant of options.variants) rows.push(await measure(variant));
  return rows;
}

/** Those of the variants that have a journal. */
function journalled(options: ModeOptions): ModeOptions {
  return { ...options, variants: options.variants.filter(({ hoplog }) => hoplog === true) };
}

export const modes: { readonly [Name in ModeName]: Mode<Sections[Name]> } = {
  bursts: inBursts(
    'CPU a request, in bursts of full load (what runs if no mode is named)',
    everybody,
  ),
  workers: inBursts(
    'two processes against one on the same core, and how load is spread over them',
    ['bare', 'bare-2-workers', 'ours', 'ours-2-workers'],
  ),
  steps: inBursts(
    'where each microsecond goes: servers that do one thing more each',
    steps.map(({ variant }) => variant),
  ),
  latency: {
    what: 'answers at 25, 50 and 80 % of each one’s capacity',
    rounds: 9,
    seconds: 3,
    variants: everybody,
    async measure(options, { kafka, dir, stack }) {
      const { rounds, seconds } = options;
      const rows = await measureLatency(options.variants, kafka, options, dir, stack);
      return { rounds, seconds, rows };
    },
    isGood: ({ rows }) => rows.every(isGood),
    secondsPerVariant: ({ rounds, seconds }) => 3 * rounds * (seconds + 5),
  },
  outage: {
    what: 'Kafka killed under steady load and started again; --seconds is a phase of it',
    rounds: 1,
    seconds: 10,
    variants: ['bare', 'ours', 'bun-kafkajs', 'node-http-librdkafka', 'go-fasthttp', 'rust-hyper'],
    async measure(options, { kafka, dir, stack }) {
      const { rate, seconds } = options;
      return {
        rate,
        seconds,
        rows: await measureOutage(options.variants, kafka, options, dir, stack),
      };
    },
    isGood: ({ rows }) => rows.every(isGoodOrForeign),
    secondsPerVariant: ({ seconds }) => 4 * seconds + 120,
  },
  connections: {
    what: '1 to 10,000 connections',
    rounds: 3,
    seconds: 3,
    variants: ['bare', 'ours', 'go-fasthttp'],
    async measure(options, { kafka, dir, stack }) {
      const { rounds, seconds } = options;
      const rows = await measureConnections(options.variants, kafka, options, dir, stack);
      return { rounds, seconds, rows };
    },
    isGood: ({ rows }) => rows.every(isGood),
    secondsPerVariant: ({ rounds, seconds }) => 4 * rounds * (seconds + 5),
  },
  backlog: {
    what: 'Kafka away, and a journal that fills: is a request dearer, a start slower?',
    rounds: 3,
    seconds: 1,
    variants: ['ours'],
    async measure(options, { kafka, dir, stack }) {
      const { rounds, seconds } = options;
      const rows = await each(journalled(options), (variant) =>
        measureBacklog(variant, kafka, options, dir, stack),
      );
      return { rounds, seconds, rows };
    },
    isGood: ({ rows }) => rows.every(isGood),
    secondsPerVariant: ({ rounds, seconds, backlogMiB }) =>
      4 * rounds * (seconds + 5) + backlogMiB / 2 + 240,
  },
  memory: {
    what: 'full load for a minute: is memory flat?',
    rounds: 1,
    seconds: 60,
    variants: ['ours'],
    async measure(options, { kafka, dir, stack }) {
      const { seconds } = options;
      const rows = await each(options, (variant) =>
        measureMemory(variant, kafka, seconds, dir, stack),
      );
      return { seconds, rows };
    },
    isGood: ({ rows }) => rows.every(isGood),
    secondsPerVariant: ({ seconds }) => seconds,
  },
  idle: {
    what: 'no load: what does it cost?',
    rounds: 1,
    seconds: 20,
    variants: ['ours'],
    async measure(options, { kafka, dir, stack }) {
      const { seconds } = options;
      const rows = await each(options, (variant) =>
        measureIdle(variant, kafka, seconds, dir, stack),
      );
      return { seconds, rows };
    },
    isGood: ({ rows }) => rows.every(({ failure }) => failure === null),
    secondsPerVariant: ({ seconds }) => seconds,
  },
  shipping: {
    what: 'a backlog to Kafka, without HTTP: CPU a record',
    rounds: 9,
    seconds: 1,
    variants: ['ours'],
    async measure(options, { kafka, dir }) {
      const rows = await each(journalled(options), (variant) =>
        measureShipping(variant, kafka, options.rounds, dir),
      );
      return { rounds: options.rounds, rows };
    },
    isGood: ({ rows }) => rows.every(({ delivered }) => delivered),
    secondsPerVariant: ({ rounds }) => rounds * 10,
  },
};

export const modeNames = Object.keys(modes) as ModeName[];
