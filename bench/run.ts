// The only entry of the benchmark: modes one after the other, what becomes of the result, the exit code.
// What is measured and how is in README.md; each mode is a file of its own.
//
// It starts a Kafka and every variant itself, on loopback and free ports, ends what it started, by
// pid, and nothing else, and stops by itself whatever happens: a deadline stands over every mode.
// Exit 0: all measured, all records there, budgets kept. 1: something of that is not so. 2: wrong
// options or wrk missing.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { budgets, judge, shortBudgets } from './budgets.ts';
import { moveToCores, moveToLoadCore } from './cores.ts';
import { KAFKA_VERSION, startKafka } from './kafka.ts';
import { describe, machine } from './machine.ts';
import { type ModeOptions, modes } from './modes.ts';
import { type Options, parse, usage } from './options.ts';
import { budgetTable, page } from './page.ts';
import { type ModeName, readResults, type Results, type Sections } from './results.ts';
import { measuredOf, scaleTable } from './scale.ts';
import { asText, tablesOf } from './tables.ts';
import { topicOf } from './variants.ts';
import { wrkMissing } from './wrk.ts';

/** What the slowest part may take, twice over: reached only when something hangs. */
function deadlineMs(name: ModeName, options: ModeOptions): number {
  const perVariant = modes[name].secondsPerVariant(options) + 60;
  return 1_000 * (60 + 2 * options.variants.length * perVariant);
}

/** Rejects at the deadline or when we are told to stop, so that what was started is ended here. */
function interruption(ms: number, signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const tooLate = () => reject(new Error(`not done after ${ms / 1_000} s: given up`));
    const timer = setTimeout(tooLate, ms);
    timer.unref();
    const stop = (signal: NodeJS.Signals) => reject(new Error(`stopped by ${signal}`));
    process.once('SIGINT', stop).once('SIGTERM', stop);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      process.off('SIGINT', stop).off('SIGTERM', stop);
    });
  });
}

async function measure<Name extends ModeName>(
  name: Name,
  options: ModeOptions,
): Promise<{ section: Sections[Name]; isGood: boolean }> {
  const over = new AbortController();
  const interrupted = interruption(deadlineMs(name, options), over.signal);
  await using stack = new AsyncDisposableStack();
  stack.defer(() => over.abort());
  const dir = mkdtempSync(`${tmpdir()}/hoplog-bench-`);
  stack.defer(() => rmSync(dir, { recursive: true, force: true }));
  // Before anything is pinned: a compiler may use both cores.
  await moveToCores(process.pid);
  for (const variant of options.variants) await variant.prepare();
  console.error(`${name}: starting Kafka`);
  const kafka = stack.use(await startKafka(options.variants.map(topicOf)));
  // After Kafka's start, so that this could use both cores: from here core 0 is the server's alone.
  await moveToLoadCore(process.pid);
  const mode = modes[name];
  const section = await Promise.race([mode.measure(options, { kafka, dir, stack }), interrupted]);
  return { section, isGood: mode.isGood(section) };
}

async function results(options: Options): Promise<{ results: Results; isGood: boolean }> {
  if (options.from.length > 0) return { results: await readResults(options.from), isGood: true };
  const found: Results = { machine: machine(KAFKA_VERSION), sections: {} };
  console.log(describe(found.machine));
  let allGood = true;
  for (const name of options.modes) {
    const { section, isGood } = await measure(name, options.optionsOf(name));
    Object.assign(found.sections, { [name]: section });
    allGood &&= isGood;
    for (const table of tablesOf(name, section)) console.log(`\n${asText(table)}`);
    // Written after each mode: whoever stops a long run keeps what there is.
    if (options.json !== undefined) {
      await Bun.write(options.json, `${JSON.stringify(found, null, 2)}\n`);
    }
  }
  return { results: found, isGood: allGood };
}

/** False where a budget is broken. */
function judged(found: Results, which: 'full' | 'short'): boolean {
  const verdicts = judge(found, which === 'short' ? shortBudgets : budgets);
  console.log(`\n${asText(budgetTable(verdicts))}`);
  return verdicts.every(({ kept }) => kept !== false);
}

async function bench(options: Options): Promise<boolean> {
  const { results: found, isGood } = await results(options);
  if (options.html !== undefined) await Bun.write(options.html, page(found));
  if (options.scale) {
    const measured = measuredOf(found);
    if (!measured) throw new Error('--scale needs the figures of bursts');
    console.log(`\n${asText(scaleTable(measured))}`);
  }
  const kept = options.budget === undefined || judged(found, options.budget);
  return isGood && kept;
}

async function main(args: readonly string[]): Promise<number> {
  let options: Options | undefined;
  try {
    options = parse(args);
    const missing = options && options.modes.length > 0 ? wrkMissing() : null;
    if (missing !== null) throw new Error(missing);
  } catch (error) {
    console.error(`bench: ${(error as Error).message}`);
    return 2;
  }
  if (!options) {
    console.log(usage);
    return 0;
  }
  try {
    return (await bench(options)) ? 0 : 1;
  } catch (error) {
    console.error(`bench: ${(error as Error).message}`);
    return 1;
  }
}

process.exit(await main(process.argv.slice(2)));
