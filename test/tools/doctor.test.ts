// The command `doctor` as a whole: words by default, JSON on request, its exit codes, certificates of
// hoplog's own; and `verify` does not mind the record it leaves.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test';
import { Authority } from '../support/certificates.ts';
import { diagnose, findingOf, stepsThat } from '../support/doctor.ts';
import { appendCrafted, idsOf } from '../support/crafted-topic.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { type Options, runHoplog } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';

setDefaultTimeout(30_000);

const dir = tempDir();
afterAll(() => dir[Symbol.dispose]());
const JOURNAL = { JOURNAL_DIR: dir.path, JOURNAL_BYTES: '4MiB', BATCH_BYTES: 16_384 };

function brokersOf(fake: FakeCluster): Options {
  return { KAFKA_BROKERS: fake.brokers.map(({ host, port }) => `${host}:${port}`).join() };
}

test('in words: a tick each, in the order of a record’s way, and a count', async () => {
  await using fake = await FakeCluster.start();
  const options = { ...brokersOf(fake), ...JOURNAL };
  const { exitCode, stdout, stderr } = await runHoplog(['doctor'], options);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout.match(/^✓ [a-zA-Z]+/gm)!.map((line) => line.slice(2))).toEqual([
    'TCP',
    'answers',
    'topic',
    'READ',
    'probe',
    'journal',
    'file',
    'free',
    'fdatasync',
    'lock',
    'journal',
    'open',
  ]);
  expect(stdout).toEndWith('\nwell: 12 ok, 0 warnings, 0 failed, 0 skipped\n');
});

test('wrong options end with 2 and one line', async () => {
  const authority = new Authority(dir.path, 'wrong-options');
  const [one, two] = [authority.issue('one'), authority.issue('two')];
  for (const options of [
    { KAFKA_TLS_CA: 'x.pem' },
    { KAFKA_TLS: 'on', KAFKA_TLS_CA: '/no.pem' },
    { TLS_CERT: one.cert, TLS_KEY: two.key },
    { RECORD: './no-such-module.ts' },
  ] satisfies Options[]) {
    const wrong = { ...JOURNAL, KAFKA_BROKERS: '127.0.0.1:1', ...options };
    const { exitCode, stdout, stderr } = await runHoplog(['doctor'], wrong);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(/^hoplog: [^\n]+\n$/);
  }
  const { exitCode } = await runHoplog(['verify', '--no-probe'], {});
  expect(exitCode).toBe(2);
});

test('a certificate of hoplog’s own that expires is said beforehand', async () => {
  const authority = new Authority(dir.path, 'authority');
  const { cert, key } = authority.issue('mine');
  const soon = await diagnose({ ...JOURNAL, TLS_CERT: cert, TLS_KEY: key });
  expect(stepsThat(soon, 'warning')).toEqual(['TLS_CERT']);
  expect(findingOf(soon, 'TLS_CERT').what).toStartWith('certificate mine expires ');
  const expired = authority.issue('old', { expired: true });
  const over = await diagnose({ ...JOURNAL, TLS_CERT: expired.cert, TLS_KEY: expired.key });
  expect(stepsThat(over, 'failed')).toEqual(['TLS_CERT']);
});

for (const FORMAT of ['json', 'msgpack']) {
  test(`verify leaves the probe out, ${FORMAT}`, async () => {
    await using fake = await FakeCluster.start();
    appendCrafted(fake, 0, idsOf('b1', 1, 3));
    await diagnose({ ...brokersOf(fake), ...JOURNAL, FORMAT });
    expect(fake.partitions[0]!.log).toHaveLength(2);
    const { exitCode, stdout } = await runHoplog(['verify', '--json'], brokersOf(fake));
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ records: 3, withoutId: 0, complete: true });
  });
}
