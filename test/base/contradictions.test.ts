// Options that contradict each other: refused in one line that names them and says what to do, and
// never repeats a value, which may be a secret. What goes together is taken.

import { describe, expect, test } from 'bun:test';
import { ConfigError, readCommandLine } from '../../src/config.ts';

const SECRET = 'hunter2';
const LOGIN = { KAFKA_SASL_USERNAME: 'me', KAFKA_SASL_PASSWORD: SECRET };
const CLIENT = {
  KAFKA_OAUTH_TOKEN_URL: 'http://a.example/',
  KAFKA_OAUTH_CLIENT_ID: 'me',
  KAFKA_OAUTH_CLIENT_SECRET: SECRET,
};
const PAIR = { KAFKA_TLS_CERT: 'a.pem', KAFKA_TLS_KEY: 'b.pem' };

const BROKERS = { KAFKA_BROKERS: '127.0.0.1:9092' };

type Options = Readonly<Record<string, string>>;

function without(options: Options, name: string): Options {
  return Object.fromEntries(Object.entries(options).filter(([other]) => other !== name));
}

const REFUSED: readonly (readonly [string, Options, readonly string[]])[] = [
  [
    'a certificate without its key',
    { ...PAIR, KAFKA_TLS: 'on', KAFKA_TLS_KEY: '' },
    ['KAFKA_TLS_KEY'],
  ],
  [
    'a key without its certificate',
    { KAFKA_TLS: 'on', KAFKA_TLS_KEY: 'b.pem' },
    ['KAFKA_TLS_CERT'],
  ],
  ...['0.0.0.0', '::', '10.0.0.1', '127.example.org', 'localhost.example.org'].map(
    (host) =>
      [`an admin port on ${host} without a token`, { ADMIN_HOST: host }, ['ADMIN_TOKEN']] as const,
  ),
  ['a public certificate without its key', { TLS_CERT: 'a.pem' }, ['TLS_KEY']],
  ['a CA without TLS', { KAFKA_TLS_CA: 'a.pem' }, ['KAFKA_TLS_CA', 'KAFKA_TLS is off']],
  ['a client certificate without TLS', PAIR, ['KAFKA_TLS_CERT', 'KAFKA_TLS is off']],
  ['TLS to no brokers', { KAFKA_TLS: 'on', KAFKA_BROKERS: '' }, ['set KAFKA_BROKERS']],
  [
    'a login to no brokers',
    { KAFKA_SASL_MECHANISM: 'plain', ...LOGIN, KAFKA_BROKERS: '' },
    ['set KAFKA_BROKERS'],
  ],
  ['a user without a mechanism', LOGIN, ['KAFKA_SASL_USERNAME', 'KAFKA_SASL_MECHANISM']],
  [
    'an OAuth client without a mechanism',
    CLIENT,
    ['KAFKA_OAUTH_TOKEN_URL', 'KAFKA_SASL_MECHANISM'],
  ],
  ['a scope without a mechanism', { KAFKA_OAUTH_SCOPE: 'x' }, ['KAFKA_OAUTH_SCOPE']],
  [
    'a user with oauthbearer',
    { KAFKA_SASL_MECHANISM: 'oauthbearer', ...CLIENT, ...LOGIN },
    ['KAFKA_SASL_USERNAME', 'oauthbearer'],
  ],
  ...['plain', 'scram-sha-256', 'scram-sha-512'].flatMap((mechanism) => [
    ...Object.keys(LOGIN).map(
      (name) =>
        [
          `${mechanism} without ${name}`,
          { KAFKA_SASL_MECHANISM: mechanism, ...without(LOGIN, name) },
          [mechanism, name],
        ] as const,
    ),
    [
      `${mechanism} with a scope`,
      { KAFKA_SASL_MECHANISM: mechanism, ...LOGIN, KAFKA_OAUTH_SCOPE: 'x' },
      [mechanism, 'KAFKA_OAUTH_SCOPE'],
    ] as const,
  ]),
  ...Object.keys(CLIENT).map(
    (name) =>
      [
        `oauthbearer without ${name}`,
        { KAFKA_SASL_MECHANISM: 'oauthbearer', ...without(CLIENT, name) },
        ['oauthbearer', name],
      ] as const,
  ),
];

describe('refused', () => {
  for (const [what, options, words] of REFUSED) {
    test(what, () => {
      const read = () => readCommandLine([], { ...BROKERS, ...options });
      expect(read).toThrow(ConfigError);
      for (const word of words) expect(read).toThrow(word);
      expect(read).not.toThrow(SECRET);
      expect(read).not.toThrow('\n');
    });
  }
});

const TAKEN: readonly Options[] = [
  ...['localhost', '127.0.0.1', '127.9.9.9', '::1'].map((host) => ({ ADMIN_HOST: host })),
  { ADMIN_HOST: '0.0.0.0', ADMIN_TOKEN: SECRET },
  { ADMIN_HOST: '0.0.0.0', ADMIN_PORT: 'off' },
  { KAFKA_TLS: 'on' },
  { KAFKA_TLS: 'on', KAFKA_TLS_CA: 'ca.pem', ...PAIR },
  { KAFKA_SASL_MECHANISM: 'plain', ...LOGIN },
  { KAFKA_SASL_MECHANISM: 'scram-sha-256', ...LOGIN, KAFKA_TLS: 'on' },
  { KAFKA_SASL_MECHANISM: 'oauthbearer', ...CLIENT },
  { KAFKA_SASL_MECHANISM: 'oauthbearer', ...CLIENT, KAFKA_OAUTH_SCOPE: 'x' },
];

describe('taken', () => {
  for (const options of TAKEN) {
    test(new URLSearchParams(options).toString(), () => {
      expect(readCommandLine([], { ...BROKERS, ...options }).config).toMatchObject(options);
    });
  }
});
