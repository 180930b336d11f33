// Options: each by flag, by variable and by a file that a variable names, in this order; defaults as
// the design promises them; the printed reference. The forms a value may have: options.test.ts; what
// makes no sense: config-refusals.test.ts.

import { describe, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  COMMANDS,
  type Config,
  configReference,
  flagOf,
  readCommandLine,
} from '../../src/config.ts';
import { OPTIONS } from '../../src/options.ts';
import { tempDir } from '../support/temp-dir.ts';

type Name = keyof typeof OPTIONS;
const NAMES = Object.keys(OPTIONS) as Name[];

function configOf(args: readonly string[], environment: Record<string, string> = {}): Config {
  return readCommandLine(args, environment).config;
}

function valueOf(
  name: Name,
  args: readonly string[],
  environment: Record<string, string> = {},
): unknown {
  return configOf(args, environment)[name];
}

/** Name → default, another value as text, and what that becomes. From the design, not from the code. */
const TABLE: { readonly [Key in Name]: readonly [unknown, string, unknown] } = {
  HOST: ['0.0.0.0', '::1', '::1'],
  PORT: [8080, '0', 0],
  TLS_CERT: ['', '/etc/cert.pem', '/etc/cert.pem'],
  TLS_KEY: ['', '/etc/key.pem', '/etc/key.pem'],
  ADMIN_HOST: ['127.0.0.1', 'admin.example.org', 'admin.example.org'],
  ADMIN_PORT: [8081, 'off', 'off'],
  ADMIN_TOKEN: ['', 'a-b._~+/c==', 'a-b._~+/c=='],
  REDIRECT_TO: ['http://google.com', 'https://a.example/b?c=d', 'https://a.example/b?c=d'],
  REDIRECT_STATUS: [301, '308', 308],
  RECORD: ['click', './my-record.ts', './my-record.ts'],
  FORMAT: ['json', 'msgpack', 'msgpack'],
  KAFKA_BROKERS: [[], 'b:9092', [{ host: 'b', port: 9092 }]],
  KAFKA_TOPIC: ['log', 'my.clicks_1-a', 'my.clicks_1-a'],
  KAFKA_CLIENT_ID: ['hoplog', 'a/b', 'a/b'],
  KAFKA_ACKS: ['all', '1', '1'],
  KAFKA_COMPRESSION: ['none', 'zstd', 'zstd'],
  KAFKA_TLS: ['off', 'on', 'on'],
  KAFKA_TLS_CA: ['', '/etc/ca.pem', '/etc/ca.pem'],
  KAFKA_TLS_CERT: ['', '/etc/cert.pem', '/etc/cert.pem'],
  KAFKA_TLS_KEY: ['', '/etc/key.pem', '/etc/key.pem'],
  KAFKA_SASL_MECHANISM: ['none', 'scram-sha-512', 'scram-sha-512'],
  KAFKA_SASL_USERNAME: ['', 'a=b,c', 'a=b,c'],
  KAFKA_SASL_PASSWORD: ['', ' p =ä ', ' p =ä '],
  KAFKA_OAUTH_TOKEN_URL: ['', 'https://a.example/token', 'https://a.example/token'],
  KAFKA_OAUTH_CLIENT_ID: ['', 'me', 'me'],
  KAFKA_OAUTH_CLIENT_SECRET: ['', 's', 's'],
  KAFKA_OAUTH_SCOPE: ['', 'a b', 'a b'],
  BATCH_BYTES: [1_000_000, '64KiB', 65_536],
  FLUSH_INTERVAL_MS: [1000, '1', 1],
  WORKERS: [1, 'auto', 'auto'],
  JOURNAL_DIR: ['./journal', '/var/lib/hop log', '/var/lib/hop log'],
  JOURNAL_BYTES: [2 ** 30, '2GiB', 2 ** 31],
  JOURNAL_SYNC_MS: [1000, '2147483647', 2 ** 31 - 1],
  JOURNAL_FULL: ['drop', 'refuse', 'refuse'],
  DRAIN_DELAY_MS: [0, '15000', 15_000],
  SHUTDOWN_MS: [10_000, '0', 0],
};

const BROKERS = { KAFKA_BROKERS: '127.0.0.1:9092' };
const TLS = { ...BROKERS, KAFKA_TLS: 'on', KAFKA_TLS_CERT: 'cert', KAFKA_TLS_KEY: 'key' };
const LOGIN = {
  ...BROKERS,
  KAFKA_SASL_MECHANISM: 'plain',
  KAFKA_SASL_USERNAME: 'me',
  KAFKA_SASL_PASSWORD: 'x',
};
const OAUTH = {
  ...BROKERS,
  KAFKA_SASL_MECHANISM: 'oauthbearer',
  KAFKA_OAUTH_TOKEN_URL: 'http://a/',
  KAFKA_OAUTH_CLIENT_ID: 'me',
  KAFKA_OAUTH_CLIENT_SECRET: 'x',
};
const COMPANIES: readonly Record<string, string>[] = [
  TLS,
  { ...TLS, KAFKA_TLS_CA: 'ca' },
  LOGIN,
  OAUTH,
  { ...OAUTH, KAFKA_OAUTH_SCOPE: 'x' },
  { TLS_CERT: 'cert', TLS_KEY: 'key' },
  { ADMIN_HOST: '0.0.0.0', ADMIN_TOKEN: 'x' },
];

/** What else must be set where `name` is, or it would be refused. */
function companyOf(name: string): Record<string, string> {
  const company = COMPANIES.find((options) => name in options) ?? {};
  return Object.fromEntries(Object.entries(company).filter(([other]) => other !== name));
}

describe('each option', () => {
  test('is in the table of this test, and the other way round', () => {
    expect(NAMES.toSorted()).toEqual((Object.keys(TABLE) as Name[]).toSorted());
  });

  test('has the default of the design', () => {
    const defaults = Object.fromEntries(NAMES.map((name) => [name, TABLE[name][0]]));
    expect(configOf([])).toEqual(defaults as unknown as Config);
  });

  for (const name of NAMES) {
    const [fallback, text, value] = TABLE[name];

    const setByFlag = (): void => {
      const company = companyOf(name);
      expect(valueOf(name, [`--${flagOf(name)}`, text], company)).toEqual(value);
      expect(valueOf(name, [`--${flagOf(name)}=${text}`], company)).toEqual(value);
    };
    // A secret has no flag: see config-refusals.test.ts.
    if (!('secret' in OPTIONS[name])) {
      test(`${name} is set by --${flagOf(name)}, with a space or an equals sign`, setByFlag);
    }

    test(`${name} is set by the variable of that name`, () => {
      expect(valueOf(name, [], { ...companyOf(name), [name]: text })).toEqual(value);
    });

    test(`${name} is set by the file that ${name}_FILE names`, () => {
      using dir = tempDir();
      const path = join(dir.path, 'value');
      writeFileSync(path, `${text}\n`);
      const environment = { ...companyOf(name), [`${name}_FILE`]: path };
      expect(valueOf(name, [], environment)).toEqual(value);
    });

    test(`${name}: an empty variable means not set`, () => {
      expect(valueOf(name, [], { [name]: '' })).toEqual(fallback);
    });
  }
});

describe('precedence', () => {
  test('a flag wins over a variable, and over a file', () => {
    using dir = tempDir();
    const path = join(dir.path, 'topic');
    writeFileSync(path, 'from-file');
    const args = ['--kafka-topic', 'from-flag'];
    expect(configOf(args, { KAFKA_TOPIC: 'from-env' }).KAFKA_TOPIC).toBe('from-flag');
    expect(configOf(args, { KAFKA_TOPIC_FILE: path }).KAFKA_TOPIC).toBe('from-flag');
  });

  test('an empty variable next to its file is no contradiction, nor is an empty file name', () => {
    using dir = tempDir();
    const path = join(dir.path, 'topic');
    writeFileSync(path, 'from-file');
    // As compose files write `KAFKA_TOPIC: ${KAFKA_TOPIC:-}`.
    const { KAFKA_TOPIC } = configOf([], { KAFKA_TOPIC: '', KAFKA_TOPIC_FILE: path });
    expect(KAFKA_TOPIC).toBe('from-file');
    expect(configOf([], { KAFKA_TOPIC_FILE: '' }).KAFKA_TOPIC).toBe('log');
    expect(configOf([], { KAFKA_TOPIC: 'a', KAFKA_TOPIC_FILE: '' }).KAFKA_TOPIC).toBe('a');
  });

  test('variables that are no options are nobody’s business', () => {
    const environment = { PATH: '/bin', HOPLOG_SEED: '1', KAFKA_OPTS: 'x', port: '1' };
    expect(configOf([], environment)).toEqual(configOf([]));
  });

  test('without an environment the process’s own is read', () => {
    const { config } = readCommandLine(['--port', '7']);
    expect(config.PORT).toBe(7);
  });
});

describe('reference', () => {
  const lines = configReference().split('\n');

  test('has a row for each option, with its default, and one for each command', () => {
    for (const name of NAMES) {
      const row = lines.filter((line) => line.startsWith(`| ${name} |`));
      expect(row).toHaveLength(1);
      const fallback = OPTIONS[name].fallback === '' ? 'none' : OPTIONS[name].fallback;
      expect(row[0]).toStartWith(`| ${name} | ${fallback} | `);
    }
    for (const command of Object.keys(COMMANDS)) {
      expect(lines.filter((line) => line.startsWith(`| ${command} |`))).toHaveLength(1);
    }
  });

  test('is a Markdown table: every row has as many cells as its head', () => {
    for (const table of configReference().split('\n\n')) {
      const cells = table.split('\n').map((row) => row.split('|').length);
      expect(new Set(cells).size).toBe(1);
    }
  });
});
