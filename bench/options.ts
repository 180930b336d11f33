// The command line: which modes, who takes part, what becomes of the result.

import { parseArgs } from 'node:util';
import { modeNames, type ModeOptions, modes } from './modes.ts';
import type { ModeName } from './results.ts';
import { pick, variants } from './variants.ts';
import { type LoadShape, shapes } from './wrk.ts';

const width = Math.max(...modeNames.map((name) => name.length)) + 4;

export const usage = `bun run bench/run.ts [MODES] [OPTIONS]
modes, any number of them
${modeNames.map((name) => `  ${`--${name}`.padEnd(width)} ${modes[name].what}`).join('\n')}
  ${'--growth'.padEnd(width)} connections and backlog
  ${'--all'.padEnd(width)} every mode
what becomes of it
  --json FILE      every single figure
  --html FILE      a page to look at, in one file
  --budget         exit code 1 where one of budgets.ts is broken; without a mode: those it needs
  --short          with --budget: a minute, three variants, limits wide enough for any machine
  --scale          what a million requests a second would take
  --from A,B       measures nothing: takes what --json has written, of several files their modes
how
  --rounds N       of each mode that has rounds (default: its own)
  --seconds N      of a burst, a phase or a run (default: the mode’s own)
  --variants A,B   who takes part (default: the mode’s own) of
                   ${variants.map(({ name }) => name).join(',')}
  --load SHAPE     how clients come in bursts (default keepAlive): ${Object.keys(shapes).join(', ')}
  --rate N         requests a second of --outage (default 15000)
  --fill MIB       how much backlog there is in the end (default 1024)
  --help           this text`;

export interface Options {
  modes: readonly ModeName[];
  /** For each mode; empty where results are read. */
  optionsOf(mode: ModeName): ModeOptions;
  from: readonly string[];
  json: string | undefined;
  html: string | undefined;
  budget: 'full' | 'short' | undefined;
  scale: boolean;
}

const shortRun = { rounds: 4, seconds: 1, variants: ['bare', 'ours', 'bun-kafkajs'] };

/** Undefined = help was asked for. @throws what is wrong, in words */
export function parse(args: readonly string[]): Options | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      variants: { type: 'string' },
      json: { type: 'string' },
      html: { type: 'string' },
      from: { type: 'string' },
      load: { type: 'string', default: 'keepAlive' },
      rate: { type: 'string', default: '15000' },
      fill: { type: 'string', default: '1024' },
      ...flags([...modeNames, 'all', 'growth', 'budget', 'short', 'scale', 'help']),
    },
  });
  // parseArgs cannot know the names of flags that are computed.
  const isOn = (flag: string): boolean => (values as Record<string, unknown>)[flag] === true;
  if (isOn('help')) return undefined;
  const budget = budgetOf(isOn);
  const short = budget === 'short' ? shortRun : {};
  const { rounds, seconds } = values;
  const load = shapeOf(values.load);
  const rate = integer('--rate', values.rate, 1_000_000);
  const backlogMiB = integer('--fill', values.fill, 65_536);
  const names = values.variants?.split(',');
  // Asked now, so that a wrong name is said at once.
  const named = names && pick([...new Set(names)]);
  const optionsOf = (name: ModeName): ModeOptions => {
    const defaults = { ...modes[name], ...short };
    return {
      rounds: integer('--rounds', rounds ?? `${defaults.rounds}`, 1_000),
      seconds: integer('--seconds', seconds ?? `${defaults.seconds}`, 3_600),
      variants: named ?? pick([...defaults.variants]),
      load,
      rate,
      backlogMiB,
    };
  };
  const from = values.from?.split(',') ?? [];
  const chosen = from.length > 0 ? [] : chosenModes(isOn);
  for (const name of chosen) optionsOf(name);
  return {
    modes: chosen,
    optionsOf,
    from,
    json: values.json,
    html: values.html,
    budget,
    scale: isOn('scale'),
  };
}

function budgetOf(isOn: (flag: string) => boolean): Options['budget'] {
  if (isOn('budget')) return isOn('short') ? 'short' : 'full';
  if (isOn('short')) throw new Error('--short is a way of --budget');
  return undefined;
}

function flags(names: readonly string[]) {
  return Object.fromEntries(
    names.map((name) => [name, { type: 'boolean' as const, default: false }]),
  );
}

function chosenModes(isOn: (flag: string) => boolean): readonly ModeName[] {
  if (isOn('all')) return modeNames;
  const grown = isOn('growth') ? ['connections', 'backlog'] : [];
  const named = modeNames.filter((name) => isOn(name) || grown.includes(name));
  if (named.length > 0) return named;
  return isOn('budget') && !isOn('short') ? modeNames : ['bursts'];
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
