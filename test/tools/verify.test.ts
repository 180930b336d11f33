// The command `verify` as a process, on topics made by hand: what it prints, in words and as JSON, and
// its exit code, which is 0 only where everything is there once and in order, and 2 with one line
// where nothing can be said. On a real Kafka, next to the server's own word: test/real/verify.test.ts.

import { expect, setDefaultTimeout, test } from 'bun:test';
import { appendCrafted, bootId, idsOf } from '../support/crafted-topic.ts';
import { FakeCluster } from '../support/fake-broker.ts';
import { CODE } from '../support/fake-partition.ts';
import { runHoplog } from '../support/server.ts';

setDefaultTimeout(20_000);

/** What each partition holds, as batches. */
type Topic = readonly (readonly (readonly string[])[])[];

async function topic(partitions: Topic): Promise<FakeCluster> {
  const fake = await FakeCluster.start({ partitions: partitions.length });
  for (const [partition, batches] of partitions.entries()) {
    for (const batch of batches) appendCrafted(fake, partition, batch);
  }
  return fake;
}

async function verify(fake: FakeCluster, ...flags: readonly string[]) {
  const brokers = fake.brokers.map(({ host, port }) => `${host}:${port}`).join(',');
  return await runHoplog(['verify', ...flags], { KAFKA_BROKERS: brokers });
}

/** stderr of a run that could not say anything; it must be one line. */
async function refusal(fake: FakeCluster): Promise<string> {
  const { exitCode, stdout, stderr } = await verify(fake, '--json');
  expect(stderr).toMatch(/^hoplog: [^\n]+\n$/);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  return stderr;
}

const COMPLETE: Topic = [[idsOf('b1', 1, 3), idsOf('b1', 6, 9)], [idsOf('b1', 4, 5)]];
const FAULTY: Topic = [
  [idsOf('b1', 3, 5), idsOf('b2', 1, 1), idsOf('b1', 9, 9), idsOf('b1', 1, 1)],
  [idsOf('b1', 4, 4)],
];

test('a topic in which nothing is wrong: exit code 0', async () => {
  await using fake = await topic(COMPLETE);
  expect(await verify(fake)).toEqual({
    exitCode: 0,
    stderr: '',
    stdout: `topic log: 9 records of 1 boot in 2 partitions

            boot  first  last  records  missing  duplicate  late                      from                        to
b100000000000000      1     9        9        0          0     0  2026-11-25T12:00:00.000Z  2026-11-25T12:00:06.000Z

not known: how each boot ended: what it recorded behind its last record here is not counted as missing

complete: 0 missing, 0 duplicate, 0 late
`,
  });
});

test('what is missing, duplicate and late is named by boot id and sequence: exit code 1', async () => {
  await using fake = await topic(FAULTY);
  const { exitCode, stderr, stdout } = await verify(fake);
  expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: '' });
  expect(stdout).toContain(`
missing
  b100000000000000 2–2 (1)
  b100000000000000 6–8 (3)

duplicate
  b100000000000000 4–4 (1) at 0:1 and again at 1:0

late
  b100000000000000 1–1 (1) at 0:5, behind 9
`);
  expect(stdout).toEndWith('\nNOT COMPLETE: 4 missing, 1 duplicate, 1 late\n');
});

test('--json is one line that holds the same', async () => {
  await using fake = await topic(FAULTY);
  const { exitCode, stdout } = await verify(fake, '--json');
  expect(exitCode).toBe(1);
  expect(stdout.indexOf('\n')).toBe(stdout.length - 1);
  const none = { count: 0, ranges: [] };
  expect(JSON.parse(stdout)).toEqual({
    topic: 'log',
    partitions: 2,
    records: 7,
    withoutId: 0,
    arrived: 0,
    trimmed: [],
    complete: false,
    total: { missing: 4, duplicate: 1, late: 1, trimmed: 0 },
    boots: [
      {
        bootId: bootId('b1'),
        first: 1,
        last: 9,
        records: 6,
        from: '2026-11-25T12:00:00.000Z',
        to: '2026-11-25T12:00:05.000Z',
        missing: {
          count: 4,
          ranges: [
            { first: 2, last: 2 },
            { first: 6, last: 8 },
          ],
        },
        duplicate: {
          count: 1,
          ranges: [
            {
              first: 4,
              last: 4,
              place: { partition: 0, offset: 1 },
              again: { partition: 1, offset: 0 },
            },
          ],
        },
        late: {
          count: 1,
          ranges: [{ first: 1, last: 1, place: { partition: 0, offset: 5 }, behind: 9 }],
        },
        trimmed: none,
      },
      {
        bootId: bootId('b2'),
        first: 1,
        last: 1,
        records: 1,
        from: '2026-11-25T12:00:03.000Z',
        to: '2026-11-25T12:00:03.000Z',
        missing: none,
        duplicate: none,
        late: none,
        trimmed: none,
      },
    ],
    unknown: [expect.stringContaining('how each boot ended')],
  });
});

test('the text names a hundred ranges and how many more there are, --json all', async () => {
  const odd = Array.from({ length: 150 }, (_, index) => `b1-${2 * index + 1}`);
  await using fake = await topic([[odd]]);
  const { stdout } = await verify(fake);
  expect(stdout.match(/^ {2}b1\d+ \d+–\d+ \(1\)$/gm)).toHaveLength(100);
  expect(stdout).toContain('… and 49 more ranges: see --json');
  const json = JSON.parse((await verify(fake, '--json')).stdout) as {
    boots: { missing: { ranges: unknown[] } }[];
  };
  expect(json.boots[0]?.missing.ranges).toHaveLength(149);
});

test('records without an id are counted apart and do not spoil the rest', async () => {
  await using fake = await topic([[[...idsOf('b1', 1, 2), 'not a record'], ['{"id":"else"}']]]);
  const { exitCode, stdout } = await verify(fake);
  expect(exitCode).toBe(0);
  expect(stdout).toContain('not known: 2 records without an id: not judged\n');
});

test('a topic without any id, as RECORD=seed fills it, cannot be verified: exit code 2', async () => {
  await using fake = await topic([[['{"runtime_param":"runtimeDataString"}']]]);
  expect(await refusal(fake)).toContain('no record of topic log has an id');
});

test('nor can an empty one, one that is not whole, or one that is refused', async () => {
  await using fake = await topic([[], []]);
  expect(await refusal(fake)).toContain('topic log is empty');
  appendCrafted(fake, 0, idsOf('b1', 1, 1));
  fake.partitions[1]!.leader = -1;
  expect(await refusal(fake)).toContain('partition 1 of topic log has no leader');
  fake.partitions[1]!.leader = 0;
  fake.apiFaults.fetch = [{ code: CODE.TOPIC_AUTHORIZATION_FAILED }];
  expect(await refusal(fake)).toContain('partition 0: TOPIC_AUTHORIZATION_FAILED');
});

test('without brokers, or with one that does not answer, it says what to set', async () => {
  const { exitCode, stderr } = await runHoplog(['verify'], {});
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/^hoplog: [^\n]*KAFKA_BROKERS\n$/);
  await using fake = await topic([[]]);
  await fake.stopNode(0);
  expect(await refusal(fake)).toContain('Are the addresses in KAFKA_BROKERS right?');
});
