// Everything that can be wrong at the start is said in one line on stderr, with what to do, and exit
// code 2: never a stack trace, never half a start. Needs no Kafka.

import { expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Options, runHoplog, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';

const TEST_MAX_MS = 240_000;

interface BadStart {
  /** Completes "… is refused with one line". */
  readonly what: string;
  readonly args?: readonly string[];
  /** Of a directory of the test's own. */
  readonly options?: (dir: string) => Options;
  /** What the line must name: the culprit, and what to do. */
  readonly says: readonly string[];
  /** A wrong explanation. */
  readonly saysNot?: string;
}

const BAD_STARTS: readonly BadStart[] = [
  { what: 'an unknown option', args: ['--kafka-topics', 'x'], says: ['--kafka-topics', '"help"'] },
  { what: 'an option without its value', args: ['--port'], says: ['--port', '"help"'] },
  {
    what: 'an unknown command',
    args: ['server'],
    says: ['"server"', 'use serve, tail, verify, doctor, help'],
  },
  { what: 'a second command', args: ['serve', 'tail'], says: ['"serve tail"', 'use serve'] },
  { what: '--follow without tail', args: ['--follow'], says: ['--follow', 'tail'] },
  {
    what: 'a port that is no number',
    options: () => ({ PORT: 'http' }),
    says: ['PORT=http', 'from 0 to 65535'],
  },
  {
    what: 'a status that is no redirect',
    args: ['--redirect-status', '200'],
    says: ['--redirect-status=200', '301, 302, 303, 307, 308'],
  },
  {
    what: 'an address to redirect to that is none',
    options: () => ({ REDIRECT_TO: 'google.com' }),
    says: ['REDIRECT_TO=google.com', 'http://'],
  },
  {
    what: 'a value of two lines',
    options: () => ({ REDIRECT_TO: 'http://a.test/\nb' }),
    says: ['REDIRECT_TO='],
  },
  {
    what: 'a broker without a port',
    options: () => ({ KAFKA_BROKERS: 'kafka-1:9092,kafka-2' }),
    says: ['KAFKA_BROKERS=kafka-1:9092,kafka-2', 'host:port'],
  },
  {
    what: 'a broker list with a hole',
    options: () => ({ KAFKA_BROKERS: 'kafka-1:9092,,kafka-2:9092' }),
    says: ['KAFKA_BROKERS=', 'host:port'],
  },
  {
    what: 'a broker port that does not exist',
    options: () => ({ KAFKA_BROKERS: 'kafka-1:99999' }),
    says: ['KAFKA_BROKERS=kafka-1:99999', 'host:port'],
  },
  {
    what: 'a host name that does not resolve',
    options: () => ({ HOST: 'no-such-host.invalid' }),
    says: ['no-such-host.invalid', 'HOST'],
    saysNot: 'is taken by another process',
  },
  {
    what: 'a journal below a regular file',
    options: (dir) => {
      writeFileSync(join(dir, 'file'), '');
      return { JOURNAL_DIR: join(dir, 'file', 'journal') };
    },
    says: ['JOURNAL_DIR=', 'ENOTDIR', 'name another directory'],
  },
  {
    what: 'a journal that is a regular file',
    options: (dir) => {
      writeFileSync(join(dir, 'file'), '');
      return { JOURNAL_DIR: join(dir, 'file') };
    },
    says: ['JOURNAL_DIR=', 'EEXIST'],
  },
  {
    what: 'a journal directory that nobody may write to',
    // Also for root, who may write wherever the file system can.
    options: () => ({ JOURNAL_DIR: '/proc/hoplog-journal' }),
    says: ['JOURNAL_DIR=/proc/hoplog-journal', 'name another directory'],
  },
  {
    what: 'a disk too small for JOURNAL_BYTES',
    options: () => ({ JOURNAL_BYTES: '16TiB' }),
    says: ['JOURNAL_DIR=', 'MiB free', 'JOURNAL_BYTES=17592186044416', 'Free some space'],
  },
  {
    what: 'a JOURNAL_BYTES too small for BATCH_BYTES',
    options: () => ({ JOURNAL_BYTES: '1MiB', BATCH_BYTES: 1_000_000 }),
    says: ['JOURNAL_BYTES=1048576', 'BATCH_BYTES=1000000', 'or more'],
  },
  {
    what: 'a RECORD that is no file',
    options: (dir) => ({ RECORD: join(dir, 'none.ts') }),
    says: ['RECORD=', 'none.ts', 'cannot be loaded', 'capture(request, context)'],
  },
  {
    what: 'a RECORD module without the two functions',
    options: (dir) => ({ RECORD: moduleFile(dir, 'export const capture = 1;') }),
    says: ['RECORD=', 'capture and complete', 'examples/'],
  },
  {
    what: 'a RECORD module without complete',
    options: (dir) => ({ RECORD: moduleFile(dir, 'export function capture() {}') }),
    says: ['RECORD=', 'does not export a function complete', 'examples/'],
  },
  {
    what: 'a RECORD module that throws',
    options: (dir) => ({ RECORD: moduleFile(dir, 'throw new Error("first\\nsecond");') }),
    says: ['RECORD=', 'first', 'examples/'],
  },
  {
    what: 'a RECORD module that is no program',
    options: (dir) => ({ RECORD: moduleFile(dir, 'export function (') }),
    says: ['RECORD=', 'cannot be loaded'],
  },
  {
    what: 'a secret file that is not there',
    options: (dir) => ({ KAFKA_TOPIC_FILE: join(dir, 'none') }),
    says: ['KAFKA_TOPIC_FILE=', 'ENOENT', 'name a readable file'],
  },
  {
    what: 'tail of a journal that is not there',
    args: ['tail'],
    options: (dir) => ({ JOURNAL_DIR: join(dir, 'none') }),
    says: ['JOURNAL_DIR=', 'ENOENT', 'KAFKA_BROKERS'],
  },
  {
    what: 'tail of a topic whose brokers are not there',
    args: ['tail'],
    // Port 1 (tcpmux) is served nowhere.
    options: () => ({ KAFKA_BROKERS: '127.0.0.1:1' }),
    says: ['127.0.0.1:1'],
  },
];

function moduleFile(dir: string, text: string): string {
  const path = join(dir, 'record.ts');
  writeFileSync(path, text);
  return path;
}

/** Runs hoplog to its end and expects one line that says each of `says`. */
async function expectRefusal(
  args: readonly string[],
  options: Options,
  says: readonly string[],
): Promise<string> {
  const free = { HOST: '127.0.0.1', PORT: 0, ADMIN_PORT: 0, JOURNAL_BYTES: '64MiB' };
  const { exitCode, stdout, stderr } = await runHoplog(args, { ...free, ...options });
  expect(stderr).toMatch(/^hoplog: [^\n]+\n$/);
  for (const part of says) expect(stderr).toContain(part);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  return stderr;
}

for (const { what, args = [], options, says, saysNot } of BAD_STARTS) {
  test(
    `${what} is refused with one line`,
    async () => {
      using dir = tempDir();
      const journal = join(dir.path, 'journal');
      const all = { JOURNAL_DIR: journal, ...options?.(dir.path) };
      const line = await expectRefusal(args, all, says);
      if (saysNot !== undefined) expect(line).not.toContain(saysNot);
    },
    TEST_MAX_MS,
  );
}

for (const name of ['PORT', 'ADMIN_PORT']) {
  test(
    `a ${name} that is taken is refused with one line`,
    async () => {
      using dir = tempDir();
      using taken = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data: () => {} } });
      const options = { JOURNAL_DIR: join(dir.path, 'journal'), [name]: taken.port };
      await expectRefusal([], options, [`127.0.0.1:${taken.port}`, 'another', name]);
    },
    TEST_MAX_MS,
  );
}

test(
  'fault 47: a second server on the same journal is refused with one line, and the first goes on',
  async () => {
    using dir = tempDir();
    await using first = await Server.start({ JOURNAL_DIR: dir.path, JOURNAL_BYTES: '64MiB' });
    await expectRefusal([], { JOURNAL_DIR: dir.path }, [
      `the journal ${dir.path} is in use`,
      `process ${first.pid}`,
      'its own JOURNAL_DIR',
    ]);
    const answer = await fetch(first.url, { redirect: 'manual' });
    expect(answer.status).toBe(301);
    expect(await first.metric('hoplog_records_appended_total')).toBe(1);
  },
  TEST_MAX_MS,
);

test(
  'the journal of a server that was killed is free for the next one at once',
  async () => {
    using dir = tempDir();
    const options = { JOURNAL_DIR: dir.path, JOURNAL_BYTES: '64MiB' };
    await using first = await Server.start(options);
    await first.kill();
    await using second = await Server.start(options);
    expect(second.noise).toEqual([]);
  },
  TEST_MAX_MS,
);
