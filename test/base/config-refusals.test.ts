// A command line or an environment that makes no sense: whatever it is, the answer is a ConfigError of
// one line that names its source (flag, variable or file) and says what to do.

import { describe, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { COMMANDS, ConfigError, flagOf, readCommandLine } from '../../src/config.ts';
import { OPTIONS } from '../../src/options.ts';
import { tempDir } from '../support/temp-dir.ts';

type Name = keyof typeof OPTIONS;

/** The message of the ConfigError; it must be one line. */
function refusal(args: readonly string[], environment: Record<string, string> = {}): string {
  try {
    readCommandLine(args, environment);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    const { message } = error as ConfigError;
    expect(message).not.toContain('\n');
    expect(message.length).toBeGreaterThan(10);
    return message;
  }
  throw new Error(`${args.join(' ')} is not refused`);
}

describe('sources', () => {
  test('a variable and its file contradict each other', () => {
    const message = refusal([], { PORT: '1', PORT_FILE: '/x' });
    expect(message).toContain('PORT and PORT_FILE are both set');
    expect(message).toContain('keep one');
  });

  test('a file that cannot be read is named, with the reason', () => {
    const message = refusal([], { KAFKA_TOPIC_FILE: '/nowhere/at/all' });
    expect(message).toContain('KAFKA_TOPIC_FILE=/nowhere/at/all');
    expect(message).toContain('ENOENT');
    using dir = tempDir();
    expect(refusal([], { KAFKA_TOPIC_FILE: dir.path })).toContain('EISDIR');
  });
});

describe('commands', () => {
  test('serve is the default', () => {
    expect(readCommandLine([], {})).toMatchObject({ command: 'serve', flags: new Set() });
    expect(readCommandLine(['--port', '1'], {}).command).toBe('serve');
  });

  for (const command of Object.keys(COMMANDS)) {
    test(`${command} is known, in front of and behind flags`, () => {
      expect<string>(readCommandLine([command, '--port', '1'], {}).command).toBe(command);
      expect<string>(readCommandLine(['--port=1', command], {}).command).toBe(command);
    });
  }

  test.each([
    ['--follow', 'tail'],
    ['--json', 'verify'],
  ])('%s goes with %s only', (flag, command) => {
    const { flags } = readCommandLine([command, flag], {});
    expect<string[]>([...flags]).toEqual([flag.slice(2)]);
    expect(refusal([flag])).toContain(command);
    expect(refusal(['serve', flag])).toContain(`${flag} belongs to the command ${command}`);
  });

  for (const args of [['start'], ['serve', 'now'], ['tail', 'log'], ['Serve'], ['']]) {
    test(`"${args.join(' ')}" is no command, and the message lists those there are`, () => {
      const message = refusal(args);
      expect(message).toContain(`"${args.join(' ')}"`);
      for (const command of Object.keys(COMMANDS)) expect(message).toContain(command);
    });
  }

  for (const name of ['toString', 'constructor', '__proto__', 'hasOwnProperty']) {
    test(`"${name}", which every object has, is no command`, () => {
      expect(refusal([name])).toContain(name);
    });
  }
});

describe('flags', () => {
  for (const args of [
    ['--prot', '1'],
    ['--PORT', '1'],
    ['--kafka_topic', 'x'],
    ['-p', '1'],
    ['--port'],
    ['--port', '--host'],
    ['--no-port'],
    ['--follow=yes', 'tail'],
    ['--two\nlines'],
  ]) {
    test(`${JSON.stringify(args)} is refused, with a hint where the options are listed`, () => {
      expect(refusal(args)).toContain('"help"');
    });
  }
});

const BAD: { readonly [Key in Name]?: readonly string[] } = {
  HOST: ['a b', 'http://x', 'x/y', '[::1]', 'ä'],
  PORT: ['-1', '65536', '80.5', '0x50', '1e3', ' 80', 'http', '٣'],
  ADMIN_HOST: ['*'],
  ADMIN_PORT: ['on', 'OFF', '65536', '-1'],
  WORKERS: ['0', '257', 'AUTO', '1.5'],
  REDIRECT_TO: [
    'google.com',
    '/path',
    'ftp://x/',
    'javascript:alert(1)',
    'data:text/html,x',
    'http://',
    'http://a b/',
    'http://a/\r\nSet-Cookie: x',
    'http://a/\u00e4',
    'mailto:a@b',
    '//evil.example',
  ],
  REDIRECT_STATUS: ['300', '304', '305', '200', '404', '3010', 'permanent', '301 '],
  FORMAT: ['JSON', 'xml', 'protobuf'],
  KAFKA_BROKERS: [
    'a',
    'a:',
    ':9092',
    'a:0',
    'a:65536',
    'a:9092,',
    ',a:9092',
    'a:9092,,b:9092',
    'a:9092 b:9092',
    'a;9092',
    '::1:9092',
    '[::1]',
    '[x]:9092',
    'kafka://a:9092',
    'a:9092/x',
  ],
  KAFKA_TOPIC: ['a b', 'a/b', 'ä', 'x'.repeat(250), 'a\nb'],
  KAFKA_CLIENT_ID: ['a b', 'ä', 'x'.repeat(256)],
  KAFKA_ACKS: ['0', '-1', '2', 'ALL', 'none'],
  KAFKA_COMPRESSION: ['lz4', 'snappy', 'GZIP', 'on'],
  KAFKA_TLS: ['true', 'ON', '1'],
  KAFKA_SASL_MECHANISM: ['PLAIN', 'scram', 'gssapi', 'scram-sha-1'],
  KAFKA_SASL_USERNAME: ['two\nlines'],
  KAFKA_OAUTH_TOKEN_URL: ['a.example/token', 'ftp://a/', 'https://a:b@c.example/'],
  BATCH_BYTES: ['0', '1023', '1000001MiB', '1MB', '1.5MiB', '-1', '1 MiB', 'big', '65MiB', '1kib'],
  FLUSH_INTERVAL_MS: ['0', '-1', '1s', '2147483648', '1.5', '1000ms'],
  JOURNAL_BYTES: ['0', '131071', '17TiB', 'all'],
  JOURNAL_SYNC_MS: ['0', 'never'],
  JOURNAL_FULL: ['block', 'Drop'],
  DRAIN_DELAY_MS: ['-1', '15s'],
  SHUTDOWN_MS: ['-1', '10s', '1e4'],
};

describe('secrets', () => {
  const SECRET = 'hunter2';

  test('a private key as a flag is refused, and not repeated', () => {
    const key = `-----BEGIN PRIVATE KEY-----\n${SECRET}\n-----END PRIVATE KEY-----`;
    for (const flag of ['--tls-key', '--kafka-tls-key']) {
      const message = refusal([`${flag}=${key}`]);
      expect(message).toContain('TLS_KEY_FILE');
      expect(message).not.toContain(SECRET);
    }
  });

  for (const name of ['ADMIN_TOKEN', 'KAFKA_SASL_PASSWORD', 'KAFKA_OAUTH_CLIENT_SECRET']) {
    test(`${name} is refused as a flag, which others can see, and not repeated`, () => {
      const flag = `--${flagOf(name)}`;
      for (const args of [[flag, SECRET], [`${flag}=${SECRET}`]]) {
        const message = refusal(args);
        expect(message).toContain(`${name}_FILE`);
        expect(message).not.toContain(SECRET);
      }
    });

    test(`${name} of two lines is refused without being repeated`, () => {
      const message = refusal([], { [name]: `${SECRET}\n${SECRET}` });
      expect(message).toContain('one line');
      expect(message).not.toContain(SECRET);
    });
  }

  test('a token that no header can carry is refused without being repeated', () => {
    for (const token of [`${SECRET} ${SECRET}`, `${SECRET}ä`, `"${SECRET}"`]) {
      const message = refusal([], { ADMIN_TOKEN: token });
      expect(message).toContain('of the characters');
      expect(message).not.toContain(SECRET);
    }
  });

  test('a password in an address is refused without being repeated', () => {
    const message = refusal([], { KAFKA_OAUTH_TOKEN_URL: `https://me:${SECRET}@a.example/` });
    expect(message).toContain('without user and password');
    expect(message).not.toContain(SECRET);
  });
});

describe('values that make no sense', () => {
  for (const name of Object.keys(OPTIONS) as Name[]) {
    for (const text of BAD[name] ?? []) {
      test(`${name}=${JSON.stringify(text)} is refused, by variable and by flag`, () => {
        const byVariable = refusal([], { [name]: text });
        expect(byVariable).toStartWith(`${name}=`);
        expect(byVariable).toMatch(/must (be|not be) /);
        expect(refusal([`--${flagOf(name)}=${text}`])).toStartWith(`--${flagOf(name)}=`);
      });
    }
  }

  for (const name of ['RECORD', 'JOURNAL_DIR', 'HOST', 'KAFKA_TOPIC', 'PORT'] as const) {
    test(`an empty --${flagOf(name)} is refused`, () => {
      expect(refusal([`--${flagOf(name)}=`])).toContain(`--${flagOf(name)}=`);
    });
  }

  test('a value out of a file is refused in the name of the file’s variable', () => {
    using dir = tempDir();
    const path = join(dir.path, 'port');
    writeFileSync(path, 'eighty\n');
    expect(refusal([], { PORT_FILE: path })).toStartWith('PORT_FILE=');
  });

  test('a file of several lines is refused in one', () => {
    using dir = tempDir();
    const path = join(dir.path, 'topic');
    writeFileSync(path, 'first\nsecond\n');
    expect(refusal([], { KAFKA_TOPIC_FILE: path })).toStartWith('KAFKA_TOPIC_FILE=');
  });

  test('sizes say which ones are allowed', () => {
    expect(refusal([], { BATCH_BYTES: '1MB' })).toMatch(/1024 to 67108864 bytes.*64MiB/);
  });
});
