// doctor's steps from a broker's name to its first answer, without a Kafka: an unknown name, a dead port, a
// port that is no Kafka, TLS on a plain port. All brokers of the list are tried, and those they advertise.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test';
import { createServer, type Server } from 'node:net';
import { judgeExpiry } from '../../../src/tools/doctor/brokers.ts';
import { diagnose, expectFailure, findingOf } from '../../support/doctor.ts';
import { FakeCluster } from '../../support/fake-broker.ts';
import { tempDir } from '../../support/temp-dir.ts';

setDefaultTimeout(30_000);

const dir = tempDir();
afterAll(() => dir[Symbol.dispose]());
const JOURNAL = { JOURNAL_DIR: dir.path, JOURNAL_BYTES: '4MiB', BATCH_BYTES: 16_384 };
const DEAD = '127.0.0.1:1';

function addressesOf(fake: FakeCluster): string[] {
  return fake.brokers.map(({ host, port }) => `${host}:${port}`);
}

async function silentPort(): Promise<{ server: Server; address: string }> {
  const server = createServer((socket) => socket.destroy());
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  return { server, address: `127.0.0.1:${(server.address() as { port: number }).port}` };
}

test('an unknown name: what follows is skipped with the reason', async () => {
  const diagnosis = await diagnose({ ...JOURNAL, KAFKA_BROKERS: 'unknown.invalid:9092' });
  expectFailure(diagnosis, 'DNS unknown.invalid', 'cannot be resolved', 'KAFKA_BROKERS');
  expect(findingOf(diagnosis, 'TCP unknown.invalid:9092')).toMatchObject({
    state: 'skipped',
    what: 'DNS unknown.invalid failed',
  });
  expect(findingOf(diagnosis, 'probe record')).toMatchObject({ what: 'no broker answers' });
});

test('a dead port, and the others of the list are tried', async () => {
  await using fake = await FakeCluster.start();
  const [alive = ''] = addressesOf(fake);
  const diagnosis = await diagnose({ ...JOURNAL, KAFKA_BROKERS: `${DEAD},${alive}` });
  expectFailure(diagnosis, `TCP ${DEAD}`, 'ECONNREFUSED', 'start the broker');
  expect(findingOf(diagnosis, `answers ${alive}`).state).toBe('ok');
  expect(findingOf(diagnosis, 'probe record').what).toContain('and read back');
});

test('a port that hangs up', async () => {
  const { server, address } = await silentPort();
  try {
    const diagnosis = await diagnose({ ...JOURNAL, KAFKA_BROKERS: address });
    expectFailure(diagnosis, `answers ${address}`, 'KAFKA_TLS', 'set KAFKA_TLS');
  } finally {
    server.close();
  }
});

test('TLS on a plain port', async () => {
  const { server, address } = await silentPort();
  try {
    const diagnosis = await diagnose({ ...JOURNAL, KAFKA_BROKERS: address, KAFKA_TLS: 'on' });
    expectFailure(diagnosis, `TLS ${address}`, 'no TLS on this port', 'KAFKA_TLS=off');
  } finally {
    server.close();
  }
});

test('an address that brokers advertise is tried, too', async () => {
  await using fake = await FakeCluster.start({ nodes: 2, partitions: 2 });
  const [first = '', second = ''] = addressesOf(fake);
  await fake.stopNode(1);
  const diagnosis = await diagnose({ ...JOURNAL, KAFKA_BROKERS: first });
  expectFailure(diagnosis, `advertised TCP ${second}`, 'ECONNREFUSED', 'advertised.listeners');
});

test('a certificate is well, soon to be renewed, or expired', () => {
  const day = 86_400_000;
  const after = (days: number) =>
    judgeExpiry(new Date(Date.now() + days * day + 1000), 'a', { meaning: '', advice: '' });
  expect([after(-1), after(1), after(21)].map(({ state }) => state)).toEqual([
    'failed',
    'warning',
    'ok',
  ]);
  expect(after(30).what).toEndWith('in 30 days');
});
