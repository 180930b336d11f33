// The only entry of the benchmark: options, one mode, the report, the exit code. What is measured and
// how is in README.md; each mode is a file of its own (bursts, memory, idle).
//
// It starts a Kafka and every variant itself, on loopback and free ports, ends what it started, by
// pid, and nothing else, and stops by itself whatever happens: a deadline stands over every mode.
// Exit 0: all measured, all records there. 1: a variant could not run or lost or doubled records.
// 2: wrong options or wrk missing.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { measureBursts } from './bursts.ts';
import { moveToLoadCore } from './cores.ts';
import { measureIdle } from './idle.ts';
import { measureLatency } from './latency.ts';
import { startKafka, type BenchKafka } from './kafka.ts';
import { machine, type Machine } from './machine.ts';
import { measureMemory } from './memory.ts';
import {
  burstReport,
  idleReport,
  latencyReport,
  memoryReport,
  shippingReport,
  summarize,
} from './report.ts';
import { measureShipping } from './shipping.ts';
import { pick, topicOf, variants, type Variant } from './variants.ts';
import { type LoadShape, shapes, wrkMissing } from './wrk.ts';

const usage = `bun run bench/run.ts [OPTIONS]
  --rounds N       bursts per variant (default 9)
  --seconds N      length of a burst (default 1), of --memory (default 60) or --idle (default 20)
  --variants A,B   who takes part (default ${variants.map((variant) => variant.name).join(',')};
                   with the modes below: ours)
  --json FILE      write every single figure there as well
  --load SHAPE     how clients come (default keepAlive): ${Object.keys(shapes).join(', ')}
  --latency        answers at 25, 50 and 80 % of each one's capacity, 3 s each
  --memory         full load for a minute: is memory flat?
  --idle           no load: what does it cost?
  --shipping       a backlog to Kafka, without HTTP: CPU a record
  --help           this text`;

interface Options {
  mode: 'bursts' | 'latency' | 'memory' | 'idle' | 'shipping';
  rounds: number;
  seconds: number;
  variants: Variant[];
  shape: LoadShape;
  json: string | undefined;
}

interface Result {
  text: string;
  /** For --json. */
  data: object;
  ok: boolean;
}

interface Context {
  kafka: BenchKafka;
  dir: string;
  machine: Machine;
  /** Takes what has to be ended when a mode is cut short. */
  stack: AsyncDisposableStack;
}

const modes: Record<Options['mode'], (options: Options, context: Context) => Promise<Result>> = {
  async bursts(options, { kafka, dir, machine, stack }) {
    const rows = await measureBursts(options.variants, kafka, options, dir, stack);
    return {
      text: burstReport(rows, machine, options),
      data: { rows, summary: rows.map((row) => summarize(row, rows)) },
      ok: rows.every((row) => row.failure === null && delivered(row.delivery)),
    };
  },
  async latency(options, { kafka, dir, machine, stack }) {
    const rows = await measureLatency(options.variants, kafka, options, dir, stack);
    return {
      text: latencyReport(rows, machine, options),
      data: { rows },
      ok: rows.every((row) => row.failure === null && delivered(row.delivery)),
    };
  },
  async memory(options, { kafka, dir, machine, stack }) {
    const rows = [];
    for (const variant of options.variants) {
      rows.push(await measureMemory(variant, kafka, options.seconds, dir, stack));
    }
    return {
      text: memoryReport(rows, machine),
      data: { rows },
      ok: rows.every((row) => row.failure === null && delivered(row.delivery)),
    };
  },
  async idle(options, { kafka, dir, machine, stack }) {
    const rows = [];
    for (const variant of options.variants) {
      rows.push(await measureIdle(variant, kafka, options.seconds, dir, stack));
    }
    return {
      text: idleReport(rows, machine, options.seconds),
      data: { rows },
      ok: rows.every((row) => row.failure === null),
    };
  },
  async shipping(options, { kafka, dir, machine }) {
    const rows = [];
    for (const variant of options.variants) {
      rows.push(await measureShipping(variant, kafka, options.rounds, dir));
    }
    return {
      text: shippingReport(rows, machine, options.rounds),
      data: { rows },
      ok: rows.every((row) => row.delivered),
    };
  },
};

function delivered(delivery: string | null): boolean {
  return delivery === 'all' || delivery === 'no log';
}

function parse(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: 'string', default: '9' },
      seconds: { type: 'string' },
      variants: { type: 'string' },
      json: { type: 'string' },
      load: { type: 'string', default: 'keepAlive' },
      latency: { type: 'boolean', default: false },
      memory: { type: 'boolean', default: false },
      idle: { type: 'boolean', default: false },
      shipping: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  const [mode = 'bursts', ...others] = (['latency', 'memory', 'idle', 'shipping'] as const).filter(
    (name) => values[name],
  );
  if (others.length > 0) throw new Error(`--${mode} and --${others[0]} exclude each other`);
  const defaults = {
    bursts: { seconds: '1', names: variants.map((variant) => variant.name) },
    latency: { seconds: '3', names: variants.map((variant) => variant.name) },
    memory: { seconds: '60', names: ['ours'] },
    idle: { seconds: '20', names: ['ours'] },
    shipping: { seconds: '1', names: ['ours'] },
  }[mode];
  return {
    mode,
    rounds: integer('--rounds', values.rounds, 1_000),
    seconds: integer('--seconds', values.seconds ?? defaults.seconds, 3_600),
    variants: pick([...new Set(values.variants?.split(',') ?? defaults.names)]),
    shape: shapeOf(values.load),
    json: values.json,
  };
}

function shapeOf(name: string): LoadShape {
  const shape = (shapes as Record<string, LoadShape>)[name];
  if (shape) return shape;
  throw new Error(`--load is one of ${Object.keys(shapes).join(', ')}, not "${name}"`);
}

function integer(option: string, text: string, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new Error(`${option} is a whole number from 1 to ${max}, not "${text}"`);
}

/** What the slowest part may take, twice over: reached only when something hangs. */
function deadlineMs({ mode, rounds, seconds, variants }: Options): number {
  const perVariantSeconds = {
    memory: seconds,
    idle: seconds,
    shipping: rounds * (seconds + 4),
    bursts: rounds * (seconds + 4),
    latency: 3 * rounds * (seconds + 4),
  }[mode];
  return 1_000 * (60 + 2 * variants.length * (perVariantSeconds + 60));
}

/** Rejects at the deadline or when we are told to stop, so that what was started is ended here. */
function interruption(options: Options): Promise<never> {
  return new Promise((_, reject) => {
    const ms = deadlineMs(options);
    setTimeout(() => reject(new Error(`not done after ${ms / 1_000} s: given up`)), ms).unref();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => reject(new Error(`stopped by ${signal}`)));
    }
  });
}

async function bench(options: Options): Promise<Result> {
  const interrupted = interruption(options);
  await using stack = new AsyncDisposableStack();
  const dir = mkdtempSync(`${tmpdir()}/hoplog-bench-`);
  stack.defer(() => rmSync(dir, { recursive: true, force: true }));
  // Before anything is pinned: a compiler may use both cores.
  for (const variant of options.variants) await variant.prepare();
  console.error('starting Kafka');
  const kafka = stack.use(await startKafka(options.variants.map(topicOf)));
  // After Kafka's start, so that this could use both cores: from here core 0 is the server's alone.
  await moveToLoadCore(process.pid);
  const context = { kafka, dir, machine: machine(kafka.version), stack };
  const result = await Promise.race([modes[options.mode](options, context), interrupted]);
  if (options.json !== undefined) {
    const { machine } = context;
    const { mode, rounds, seconds } = options;
    const data = { machine, mode, rounds, seconds, ...result.data };
    await Bun.write(options.json, `${JSON.stringify(data, null, 2)}\n`);
  }
  return result;
}

async function main(args: string[]): Promise<number> {
  let options: Options;
  try {
    options = parse(args);
    const missing = wrkMissing();
    if (missing !== null) throw new Error(missing);
  } catch (error) {
    console.error(`bench: ${(error as Error).message}`);
    return 2;
  }
  try {
    const result = await bench(options);
    console.log(result.text);
    return result.ok ? 0 : 1;
  } catch (error) {
    console.error(`bench: ${(error as Error).message}`);
    return 1;
  }
}

process.exit(await main(process.argv.slice(2)));
