// Every option once: name, default, bounds, meaning. Where their values come from is in config.ts. The
// reference in the README is printed from this table (`bun run src/server.ts help`), so it cannot drift.

import { z } from 'zod';

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

function secret(meaning: string, schema = line): Option<string> & { readonly secret: true } {
  return { fallback: '', meaning, schema, secret: true };
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
  ADMIN_TOKEN: secret(
    'bearer token they want, `/live` aside; needed where ADMIN_HOST is not loopback; never a flag',
    text(
      /^[A-Za-z0-9._~+/=-]*$/,
      'must be one line, without spaces, of the characters A-Z a-z 0-9 . _ ~ + / = -',
    ),
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
  DRAIN_DELAY_MS: option(
    '0',
    integer(0, MILLISECONDS_MAX, 'ms'),
    'SIGTERM: answer so long with `/ready` at 503 before the port closes, for load balancers, ms',
  ),
  SHUTDOWN_MS: option(
    '10000',
    integer(0, MILLISECONDS_MAX, 'ms'),
    'then: time to deliver what is left, ms; the rest goes out at the next start',
  ),
} as const satisfies Record<string, Option<unknown>>;

export type OptionName = keyof typeof OPTIONS;
export type Config = {
  readonly [Name in OptionName]: z.output<(typeof OPTIONS)[Name]['schema']>;
};
