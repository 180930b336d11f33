// Every option once: name, default, bounds, meaning. A flag (--kafka-topic), an environment variable
// (KAFKA_TOPIC) or a file named by one (KAFKA_TOPIC_FILE, for secrets) sets it, in this order. The
// reference in the README is printed from here (`bun run src/server.ts help`), so it cannot drift.

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { findContradiction } from './contradictions.ts';

/** The command line or the environment makes no sense; the message is one line, ready to print. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

interface Option<Value> {
  readonly fallback: string;
  readonly meaning: string;
  readonly schema: z.ZodType<Value, string>;
  /** Never on the command line, which every user of the machine can list; never in a message. */
  readonly secret?: boolean;
}

function option<Value>(
  fallback: string,
  schema: z.ZodType<Value, string>,
  meaning: string,
): Option<Value> {
  return { fallback, meaning, schema };
}

const line = text(/^[^\0\r\n]*$/, 'must be one line');

function secret(meaning: string): Option<string> & { readonly secret: true } {
  return { fallback: '', meaning, schema: line, secret: true };
}

const BYTE_UNITS = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const;

function text(rule: RegExp, message: string): z.ZodType<string, string> {
  return z.string().regex(rule, message);
}

function integer(min: number, max: number, unit: string): z.ZodType<number, string> {
  const message = `must be a whole number from ${min} to ${max} (${unit})`;
  return z
    .string()
    .regex(/^\d{1,15}$/, message)
    .transform(Number)
    .refine((value) => value >= min && value <= max, message);
}

function bytes(min: number, max: number): z.ZodType<number, string> {
  const message = `must be a size from ${min} to ${max} bytes, such as 1000000, 64MiB or 1GiB`;
  return z
    .string()
    .regex(/^\d{1,15}(B|KiB|MiB|GiB|TiB)?$/, message)
    .transform((size) => {
      const unit = /[A-Za-z]+$/.exec(size)?.[0] ?? 'B';
      return Number.parseInt(size, 10) * BYTE_UNITS[unit as keyof typeof BYTE_UNITS];
    })
    .refine((value) => value >= min && value <= max, message);
}

function oneOf<const Values extends readonly [string, ...string[]]>(
  ...values: Values
): z.ZodType<Values[number], string> {
  return z.enum(values, { error: `must be one of ${values.join(', ')}` }) as z.ZodType<
    Values[number],
    string
  >;
}

const host = text(/^[A-Za-z0-9.:_-]+$/, 'must be a host name or an IP address');
const port = integer(0, 65_535, 'a port; 0 = a free one');
const MILLISECONDS_MAX = 2 ** 31 - 1;
const WORKERS_MAX = 256;

const location = z.string().refine((value) => {
  // `new URL` forgives control characters and spaces; a Location header does not.
  if (!/^[\x21-\x7e]+$/.test(value) || !URL.canParse(value)) return false;
  return ['http:', 'https:'].includes(new URL(value).protocol);
}, 'must be an absolute http:// or https:// address without spaces');

const tokenUrl = z.string().refine((value) => {
  if (value === '') return true;
  if (!URL.canParse(value)) return false;
  const { protocol, username, password } = new URL(value);
  return ['http:', 'https:'].includes(protocol) && username + password === '';
}, 'must be an http:// or https:// address without user and password');

const brokers = z
  .string()
  .transform((list) =>
    list === '' ? [] : list.split(',').map((entry) => parseBroker(entry.trim())),
  )
  .refine((list) => list.every(Boolean), 'must be a comma list of host:port, such as a:9092,b:9092')
  .transform((list) => list.filter((broker) => broker !== undefined));

function parseBroker(entry: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(entry);
  const name = match?.[1] ?? match?.[2];
  const number = Number(match?.[3]);
  return name !== undefined && number >= 1 && number <= 65_535
    ? { host: name, port: number }
    : undefined;
}

export const OPTIONS = {
  HOST: option('0.0.0.0', host, 'public address'),
  PORT: option('8080', port, 'public port; 0 = a free one'),
  TLS_CERT: option('', z.string(), 'PEM file of a certificate: the public port speaks HTTPS'),
  TLS_KEY: option('', z.string(), 'PEM file of its private key'),
  ADMIN_HOST: option('127.0.0.1', host, 'address of `/live`, `/ready` and `/metrics`'),
  ADMIN_PORT: option(
    '8081',
    z.union([z.literal('off'), port], { error: 'must be a port from 0 to 65535, or off' }),
    'its port; 0 = a free one, `off` = none',
  ),
  REDIRECT_TO: option('http://google.com', location, 'where requests are sent'),
  REDIRECT_STATUS: option(
    '301',
    oneOf('301', '302', '303', '307', '308').transform(Number),
    'with which status: 301, 302, 303, 307 or 308',
  ),
  RECORD: option(
    'click',
    text(/./, 'must not be empty'),
    '`click`, `seed`, or the path of a module with `capture` and `complete`',
  ),
  FORMAT: option('json', oneOf('json', 'msgpack'), '`json` or `msgpack`'),
  KAFKA_BROKERS: option(
    '',
    brokers,
    'comma list of host:port; empty = *local mode*: records stay in the journal',
  ),
  KAFKA_TOPIC: option(
    'log',
    text(/^[A-Za-z0-9._-]{1,249}$/, 'must be 1 to 249 of the characters a-z A-Z 0-9 . _ -'),
    'topic; it must exist',
  ),
  KAFKA_CLIENT_ID: option(
    'hoplog',
    text(/^[\x21-\x7e]{1,255}$/, 'must be 1 to 255 printable ASCII characters'),
    'name shown in broker logs and quotas',
  ),
  KAFKA_ACKS: option(
    'all',
    oneOf('all', '1'),
    '`all`, or `1`: faster, but neither exactly once nor safe against a broker loss',
  ),
  KAFKA_COMPRESSION: option('none', oneOf('none', 'gzip', 'zstd'), '`none`, `gzip` or `zstd`'),
  KAFKA_TLS: option('off', oneOf('off', 'on'), '`on`: speak TLS to the brokers'),
  KAFKA_TLS_CA: option('', z.string(), "PEM file of the brokers' CA; none = the public ones"),
  KAFKA_TLS_CERT: option('', z.string(), "PEM file of hoplog's client certificate"),
  KAFKA_TLS_KEY: option('', z.string(), 'PEM file of its private key'),
  KAFKA_SASL_MECHANISM: option(
    'none',
    oneOf('none', 'plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer'),
    '`plain`, `scram-sha-256`, `scram-sha-512` or `oauthbearer`',
  ),
  KAFKA_SASL_USERNAME: option('', line, 'user of plain and scram'),
  KAFKA_SASL_PASSWORD: secret('its password; never a flag'),
  KAFKA_OAUTH_TOKEN_URL: option('', tokenUrl, 'where oauthbearer gets its tokens'),
  KAFKA_OAUTH_CLIENT_ID: option('', z.string(), 'client credentials for it'),
  KAFKA_OAUTH_CLIENT_SECRET: secret('their secret; never a flag'),
  KAFKA_OAUTH_SCOPE: option('', z.string(), 'scope to ask for'),
  BATCH_BYTES: option(
    '1000000',
    bytes(1024, 2 ** 26),
    "a batch is sealed at this size; at most the broker's message.max.bytes",
  ),
  FLUSH_INTERVAL_MS: option(
    '1000',
    integer(1, MILLISECONDS_MAX, 'ms'),
    '… or at this age of its first record, ms',
  ),
  WORKERS: option(
    '1',
    z.union([z.literal('auto'), integer(1, WORKERS_MAX, 'processes')], {
      error: `must be a whole number from 1 to ${WORKERS_MAX}, or auto`,
    }),
    'processes that share the port, each with a journal of its own; `auto` = one per core; Linux only',
  ),
  JOURNAL_DIR: option('./journal', text(/./, 'must not be empty'), 'directory, one per server'),
  JOURNAL_BYTES: option(
    '1GiB',
    bytes(2 ** 17, 2 ** 44),
    'disk it may take in all; of several workers each has its share',
  ),
  JOURNAL_SYNC_MS: option(
    '1000',
    integer(1, MILLISECONDS_MAX, 'ms'),
    'fdatasync this often, ms: what a power cut can take',
  ),
  JOURNAL_FULL: option(
    'drop',
    oneOf('drop', 'refuse'),
    'journal full and Kafka away: `drop` and count new records, or `refuse` requests with 503',
  ),
  SHUTDOWN_MS: option(
    '10000',
    integer(0, MILLISECONDS_MAX, 'ms'),
    'SIGTERM: time to deliver what is left, ms; the rest goes out at the next start',
  ),
} as const satisfies Record<string, Option<unknown>>;

type OptionName = keyof typeof OPTIONS;
export type Config = {
  readonly [Name in OptionName]: z.output<(typeof OPTIONS)[Name]['schema']>;
};

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
