// What settings of topic and brokers mean for hoplog's, case by case: which are well, which cost
// something, with which nothing arrives; and what is not known is not judged.

import { expect, test } from 'bun:test';
import { readCommandLine } from '../../../src/config.ts';
import type { Finding } from '../../../src/tools/doctor/finding.ts';
import { judgeBroker, judgeTopic } from '../../../src/tools/doctor/settings.ts';

type Settings = Readonly<Record<string, string>>;

interface Case {
  readonly settings: Settings;
  readonly options?: Settings;
  readonly replicas?: number;
  readonly inSyncReplicas?: number;
}

function states(findings: readonly Finding[]): Record<string, string> {
  return Object.fromEntries(findings.map(({ step, state }) => [step, state]));
}

function topic({ settings, options = {}, replicas = 3, inSyncReplicas = replicas }: Case) {
  const { config } = readCommandLine(['doctor'], options);
  const partition = { errorCode: 0, partition: 0, leader: 1, replicas, inSyncReplicas };
  return states(judgeTopic(new Map(Object.entries(settings)), [partition], config));
}

const min = (value: string): Settings => ({ 'min.insync.replicas': value });

test('min.insync.replicas against replicas, those in sync, and KAFKA_ACKS', () => {
  const state = (about: Case) => topic(about)['min.insync.replicas'];
  expect(state({ settings: min('2') })).toBe('ok');
  expect(state({ settings: min('4') })).toBe('failed');
  expect(state({ settings: min('2'), inSyncReplicas: 1 })).toBe('failed');
  expect(state({ settings: min('2'), replicas: 1 })).toBe('failed');
  expect(state({ settings: min('1'), replicas: 1 })).toBe('warning');
  expect(state({ settings: min('1') })).toBe('warning');
  expect(state({ settings: min('3') })).toBe('warning');
  expect(state({ settings: min('4'), options: { KAFKA_ACKS: '1' } })).toBe('ok');
});

test('max.message.bytes against BATCH_BYTES, which compression may yet make smaller', () => {
  const settings = { 'max.message.bytes': '1000000' };
  expect(topic({ settings })).toEqual({ 'max.message.bytes': 'ok' });
  const options = { BATCH_BYTES: '1000001' };
  expect(topic({ settings, options })).toEqual({ 'max.message.bytes': 'failed' });
  const compressed = { ...options, KAFKA_COMPRESSION: 'zstd' };
  expect(topic({ settings, options: compressed })).toEqual({ 'max.message.bytes': 'warning' });
});

test('a compacted topic takes no records without a key', () => {
  expect(topic({ settings: { 'cleanup.policy': 'delete' } })).toEqual({});
  for (const policy of ['compact', 'compact,delete']) {
    expect(topic({ settings: { 'cleanup.policy': policy } })).toEqual({
      'cleanup.policy': 'failed',
    });
  }
});

test('a limit for clocks that differ', () => {
  const name = 'message.timestamp.after.max.ms';
  expect(topic({ settings: { [name]: '3600000' } })).toEqual({ [name]: 'ok' });
  expect(topic({ settings: { [name]: '1000' } })).toEqual({ [name]: 'warning' });
});

test('brokers that forget producers within a day, or take no request of a full batch', () => {
  const { config } = readCommandLine(['doctor'], {});
  const judge = (name: string, value: string) =>
    states(judgeBroker(new Map([[name, value]]), config))[name];
  expect(judge('producer.id.expiration.ms', '86400000')).toBe('ok');
  expect(judge('producer.id.expiration.ms', '86399999')).toBe('warning');
  expect(judge('socket.request.max.bytes', '104857600')).toBe('ok');
  expect(judge('socket.request.max.bytes', '1000000')).toBe('failed');
});

test('what the cluster does not tell is not judged', () => {
  expect(topic({ settings: {} })).toEqual({});
  expect(topic({ settings: { 'max.message.bytes': '' } })).toEqual({});
});
