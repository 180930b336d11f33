// The command line and the environment, read: a flag (--kafka-topic), an environment variable
// (KAFKA_TOPIC) or a file named by one (KAFKA_TOPIC_FILE, for secrets) sets an option, in this order.
// The options themselves are in options.ts.

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { findContradiction } from './contradictions.ts';
import { type Config, type OptionName, OPTIONS } from './options.ts';

export type { Config } from './options.ts';

/** The command line or the environment makes no sense; the message is one line, ready to print. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Each command and the flags that only it knows. */
export const COMMANDS = {
  serve: { meaning: 'redirect and record (the default)', flags: [] },
  tail: {
    meaning:
      'print the records of the topic, or of the journal in local mode, one JSON a line; --follow',
    flags: ['follow'],
  },
  verify: {
    meaning: 'read the topic and print what is missing, duplicate or late in it; --json',
    flags: ['json'],
  },
  doctor: {
    meaning:
      'try the way of a record step by step, from DNS to a probe record in the topic, and the ' +
      'journal; say what to do; --json, --no-probe',
    flags: ['json', 'no-probe'],
  },
  help: { meaning: 'print this', flags: [] },
} as const;

export type Command = keyof typeof COMMANDS;
export type CommandFlag = (typeof COMMANDS)[Command]['flags'][number];

export interface CommandLine {
  readonly command: Command;
  /** Those that were given. */
  readonly flags: ReadonlySet<CommandFlag>;
  readonly config: Config;
  /** Set in a process that a supervisor started. */
  readonly seat: Seat | undefined;
}

/** Which worker a process is. */
export interface Seat {
  /** From 1. */
  readonly worker: number;
  readonly workers: number;
  /** What became of PORT=0. */
  readonly port: number;
}

/** How a supervisor tells its workers. */
const SEAT = 'HOPLOG_SEAT';

/** The environment of a worker. */
export function environmentOf(seat: Seat): Environment {
  return { ...process.env, [SEAT]: JSON.stringify(seat) };
}

type Environment = Record<string, string | undefined>;

/** How many processes. @throws {ConfigError} more than one where they cannot share a port */
export function workersOf({ WORKERS }: Config): number {
  const canShare = process.platform === 'linux';
  if (WORKERS === 'auto') return canShare ? availableParallelism() : 1;
  if (WORKERS === 1 || canShare) return WORKERS;
  throw new ConfigError(
    `WORKERS=${WORKERS} needs Linux, which spreads connections over processes: set WORKERS=1`,
  );
}

/** @throws {ConfigError} on the first thing that is wrong */
export function readCommandLine(
  args: readonly string[],
  environment: Environment = process.env,
): CommandLine {
  const { values, positionals } = parseFlags(args);
  const [command = 'serve', ...surplus] = positionals;
  if (!Object.hasOwn(COMMANDS, command) || surplus.length > 0) {
    const asked = surplus.length > 0 ? positionals.join(' ') : command;
    throw new ConfigError(
      `there is no command "${asked}": use ${Object.keys(COMMANDS).join(', ')}`,
    );
  }
  const flags = flagsFor(command as Command, values);
  const config: Record<string, unknown> = {};
  for (const name of optionNames()) config[name] = readOption(name, values, environment);
  const contradiction = findContradiction(config as Config);
  if (contradiction !== undefined) throw new ConfigError(contradiction);
  const seat = environment[SEAT];
  return {
    command: command as Command,
    flags,
    config: config as Config,
    seat: seat === undefined ? undefined : (JSON.parse(seat) as Seat),
  };
}

/** The option and command tables as Markdown: what `help` prints and the README holds. */
export function configReference(): string {
  const options = optionNames().map((name) => {
    const { fallback, meaning } = OPTIONS[name];
    return `| ${name} | ${fallback === '' ? 'none' : fallback} | ${meaning} |`;
  });
  const commands = Object.entries(COMMANDS).map(
    ([name, { meaning }]) => `| ${name} | ${meaning} |`,
  );
  return [
    '| command | |',
    '| --- | --- |',
    ...commands,
    '',
    '| option | default | meaning |',
    '| --- | --- | --- |',
    ...options,
  ].join('\n');
}

function optionNames(): OptionName[] {
  return Object.keys(OPTIONS) as OptionName[];
}

export function flagOf(name: string): string {
  return name.toLowerCase().replaceAll('_', '-');
}

function commandsWith(flag: CommandFlag): string[] {
  const commands = Object.entries<{ readonly flags: readonly CommandFlag[] }>(COMMANDS);
  return commands.filter(([, { flags }]) => flags.includes(flag)).map(([name]) => name);
}

const COMMAND_FLAGS = Object.values(COMMANDS).flatMap(({ flags }): readonly CommandFlag[] => flags);

/** @throws {ConfigError} for a flag of another command */
function flagsFor(command: Command, values: FlagValues): ReadonlySet<CommandFlag> {
  const given = new Set(COMMAND_FLAGS.filter((flag) => values[flag] === true));
  for (const flag of given) {
    const commands = commandsWith(flag);
    if (!commands.includes(command)) {
      throw new ConfigError(`--${flag} belongs to the command ${commands.join(' or ')}`);
    }
  }
  return given;
}

type FlagValues = Readonly<Record<string, unknown>>;

function parseFlags(args: readonly string[]) {
  const options = optionNames().map((name) => [flagOf(name), { type: 'string' }] as const);
  const flags = COMMAND_FLAGS.map((flag) => [flag, { type: 'boolean' }] as const);
  try {
    return parseArgs({
      args: [...args],
      options: Object.fromEntries([...options, ...flags]),
      allowPositionals: true,
      strict: true,
    });
  } catch (error) {
    const [reason] = (error as Error).message.split(/\. |\n/);
    throw new ConfigError(`${reason}. "help" lists the options`);
  }
}

function readOption(name: OptionName, flags: FlagValues, environment: Environment): unknown {
  const { text: value, source } = findText(name, flags, environment);
  const result = OPTIONS[name].schema.safeParse(value);
  if (result.success) return result.data;
  const reason = result.error.issues[0]?.message ?? 'is not valid';
  const shown = isSecret(name) ? '…' : oneLine(value);
  throw new ConfigError(`${source}=${shown} is not valid: it ${reason}`);
}

function isSecret(name: OptionName): boolean {
  return 'secret' in OPTIONS[name];
}

/** A value in a message: control characters spelled out, and no longer than a line. */
function oneLine(value: string): string {
  const spelled = JSON.stringify(value.replace(/:\/\/[^/@]*@/, '://…@')).slice(1, -1);
  return spelled.length > 200 ? `${spelled.slice(0, 200)}…` : spelled;
}

function findText(
  name: OptionName,
  flags: FlagValues,
  environment: Environment,
): { text: string; source: string } {
  const flag = flags[flagOf(name)];
  if (isSecret(name) && flag !== undefined) {
    throw new ConfigError(
      `--${flagOf(name)} would show a secret to all users of this machine: ` +
        `set ${name} or ${name}_FILE instead`,
    );
  }
  if (typeof flag === 'string' && flag.includes('PRIVATE KEY')) {
    throw new ConfigError(
      `--${flagOf(name)} would show a key to all users of this machine: ` +
        `name its file, or set ${name}_FILE`,
    );
  }
  if (typeof flag === 'string') return { text: flag, source: `--${flagOf(name)}` };
  // An empty variable is how compose files and unit files say "not set".
  const variable = environment[name] || undefined;
  const file = environment[`${name}_FILE`] || undefined;
  if (variable !== undefined && file !== undefined) {
    throw new ConfigError(`${name} and ${name}_FILE are both set: keep one of them`);
  }
  if (file !== undefined) return { text: readSecret(name, file), source: `${name}_FILE` };
  return { text: variable ?? OPTIONS[name].fallback, source: name };
}

function readSecret(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError(`${name}_FILE=${path} cannot be read (${code}): name a readable file`);
  }
}
