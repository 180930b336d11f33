// Options → what a connection needs to prove who hoplog is. Read from the files each time, so that a
// reload sees what is in them by then.

import { afterAll, describe, expect, test } from 'bun:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, readCommandLine } from '../../src/config.ts';
import { readSecurity, type Security } from '../../src/kafka/security.ts';
import { Authority } from '../support/certificates.ts';
import { tempDir } from '../support/temp-dir.ts';

const dir = tempDir();
afterAll(() => dir[Symbol.dispose]());
const authority = new Authority(dir.path, 'authority');
const client = authority.issue('client');

function securityOf(environment: Record<string, string>): Security {
  const config = { KAFKA_BROKERS: 'broker:9092', ...environment };
  return readSecurity(readCommandLine([], config).config);
}

describe('TLS', () => {
  test('off is none', () => {
    expect(securityOf({})).toEqual({ tls: undefined, sasl: undefined });
  });

  test('on trusts the public authorities, or the one that is named', () => {
    expect(securityOf({ KAFKA_TLS: 'on' }).tls).toEqual({});
    const { tls } = securityOf({ KAFKA_TLS: 'on', KAFKA_TLS_CA: authority.cert });
    expect(tls).toEqual({ ca: readFileSync(authority.cert, 'utf8') });
  });

  test('never connects to a broker it could not verify', () => {
    const { tls } = securityOf({ KAFKA_TLS: 'on', KAFKA_TLS_CA: authority.cert });
    expect(tls?.rejectUnauthorized).not.toBe(false);
  });

  test('a client certificate comes with its key, read anew each time', () => {
    const [cert, key] = [join(dir.path, 'my.pem'), join(dir.path, 'my.key')];
    const options = { KAFKA_TLS: 'on', KAFKA_TLS_CERT: cert, KAFKA_TLS_KEY_FILE: key };
    for (const name of ['first', 'second']) {
      const issued = authority.issue(name);
      const [certText, keyText] = [issued.cert, issued.key].map((path) =>
        readFileSync(path, 'utf8'),
      );
      writeFileSync(cert, certText!);
      writeFileSync(key, keyText!);
      // A final newline is not part of what a _FILE holds.
      expect(securityOf(options).tls).toEqual({ cert: certText!, key: keyText!.trimEnd() });
    }
  });

  test('files that cannot work are refused in the name of their option', () => {
    const wrong = { KAFKA_TLS: 'on', KAFKA_TLS_CERT: client.cert, KAFKA_TLS_KEY: authority.cert };
    expect(() => securityOf(wrong)).toThrow(ConfigError);
    expect(() => securityOf(wrong)).toThrow('KAFKA_TLS_KEY holds no private key');
    expect(() => securityOf({ KAFKA_TLS: 'on', KAFKA_TLS_CA: '/nowhere' })).toThrow(
      'KAFKA_TLS_CA=',
    );
  });
});

describe('SASL', () => {
  for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512']) {
    test(`${mechanism} takes a user and a password`, () => {
      const { sasl } = securityOf({
        KAFKA_SASL_MECHANISM: mechanism,
        KAFKA_SASL_USERNAME: 'me',
        KAFKA_SASL_PASSWORD: ' s p ',
      });
      expect(sasl).toEqual({ mechanism, username: 'me', password: ' s p ' });
    });
  }

  test('oauthbearer brings its own mechanism, and shows no secret', () => {
    const { sasl } = securityOf({
      KAFKA_SASL_MECHANISM: 'oauthbearer',
      KAFKA_OAUTH_TOKEN_URL: 'http://127.0.0.1:1/',
      KAFKA_OAUTH_CLIENT_ID: 'me',
      KAFKA_OAUTH_CLIENT_SECRET: 'hunter2',
    });
    expect(sasl?.authenticationProvider).toBeFunction();
    expect(Bun.inspect(sasl)).not.toContain('hunter2');
  });
});
