// The forms that values of options may have, as somebody writes them. Each option by name and default:
// config.test.ts; what is refused: config-refusals.test.ts.

import { expect, test } from 'bun:test';
import { type Config, flagOf, readCommandLine } from '../../src/config.ts';
import { type OptionName, OPTIONS } from '../../src/options.ts';

function configOf(args: readonly string[]): Config {
  return readCommandLine(args, {}).config;
}

const SIZES = { '1024': 1024, '2048B': 2048, '3KiB': 3072, '4MiB': 4 * 2 ** 20 };
for (const [text, bytes] of Object.entries(SIZES)) {
  test(`a size may be written ${text}`, () => {
    expect(configOf(['--batch-bytes', text]).BATCH_BYTES).toBe(bytes);
  });
}

test('the largest journal is 16 TiB', () => {
  expect(configOf(['--journal-bytes', '16TiB']).JOURNAL_BYTES).toBe(2 ** 44);
});

test('a brokers list takes names, IPv4, IPv6 in brackets, and spaces behind commas', () => {
  const list = 'kafka-1.svc_x:9092, 10.0.0.1:19092,[2001:db8::1]:9093,[::ffff:1.2.3.4]:1';
  expect(configOf(['--kafka-brokers', list]).KAFKA_BROKERS).toEqual([
    { host: 'kafka-1.svc_x', port: 9092 },
    { host: '10.0.0.1', port: 19092 },
    { host: '2001:db8::1', port: 9093 },
    { host: '::ffff:1.2.3.4', port: 1 },
  ]);
});

test('an empty brokers list is local mode', () => {
  expect(configOf(['--kafka-brokers=']).KAFKA_BROKERS).toEqual([]);
});

test('the fallback of every option is itself a value it takes', () => {
  for (const name of Object.keys(OPTIONS) as OptionName[]) {
    const { fallback } = OPTIONS[name];
    if (fallback !== '') configOf([`--${flagOf(name)}=${fallback}`]);
  }
});
