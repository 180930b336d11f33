// The fact the whole promise stands on: Bun.serve writes an answer to its socket only after the
// microtasks of the handler have run. So what a microtask appends to the journal is there before the
// client knows, however the process ends; what setImmediate would append is not. Shown on a bare
// server first, then on hoplog itself, killed in the last moment before an append.

import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { runHoplog, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';

const TEST_MAX_MS = 240_000;
const ROUNDS = 5;
const CONNECTIONS = 16;

/** Sends `requests` on a connection each, all at once; resolves with what came back on each. */
async function answersTo(port: number, requests: readonly string[]): Promise<string[]> {
  return await Promise.all(requests.map((request) => answerTo(port, request)));
}

/** All that a connection carries back until it ends. */
async function answerTo(port: number, request: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let received = '';
  const end = () => resolve(received);
  const refused = () => undefined; // the server died before this connection came through
  const socket = await Bun.connect({
    hostname: '127.0.0.1',
    port,
    socket: {
      data: (_socket, bytes) => {
        received += bytes.toString('latin1');
      },
      close: end,
      error: end,
      connectError: end,
    },
  }).catch(refused);
  socket?.write(request);
  return await promise;
}

function get(target: string): string {
  return `GET ${target} HTTP/1.1\r\nHost: order.test\r\n\r\n`;
}

async function answersOfFixture(when: 'microtask' | 'immediate'): Promise<string[]> {
  const program = join(import.meta.dir, 'answer-order-fixture.ts');
  await using child = Bun.spawn([process.execPath, 'run', program, when], { stdout: 'pipe' });
  const { value } = await child.stdout.getReader().read();
  const port = Number(new TextDecoder().decode(value));
  const requests = Array.from({ length: CONNECTIONS }, () => get('/'));
  const answers = await answersTo(port, requests);
  await child.exited;
  expect(child.signalCode).toBe('SIGKILL');
  return answers.filter((answer) => answer.startsWith('HTTP/1.1 301'));
}

test(
  'a process killed in the microtask behind its handler has answered nobody',
  async () => {
    for (let round = 0; round < ROUNDS; round++) {
      expect(await answersOfFixture('microtask')).toEqual([]);
    }
  },
  TEST_MAX_MS,
);

test(
  'a process killed in setImmediate behind its handler has answered',
  async () => {
    for (let round = 0; round < ROUNDS; round++) {
      expect(await answersOfFixture('immediate')).not.toBeEmpty();
    }
  },
  TEST_MAX_MS,
);

test(
  'hoplog killed right in front of an append has not answered that request, and kept all it answered',
  async () => {
    using dir = tempDir();
    const options = {
      JOURNAL_DIR: dir.path,
      JOURNAL_BYTES: '16MiB',
      RECORD: join(import.meta.dir, 'kill-in-complete-fixture.ts'),
    };
    const answered: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      await using server = await Server.start(options);
      const first = round * 100 + CONNECTIONS;
      await fetch(`${server.url}/?n=${first}`, { redirect: 'manual' });
      answered.push(first);
      const port = Number(new URL(server.url).port);
      const numbers = Array.from({ length: CONNECTIONS }, (_, index) => round * 100 + index);
      const targets = numbers.map((n) =>
        n % 100 === CONNECTIONS / 2 ? `/?n=${n}&die` : `/?n=${n}`,
      );
      const answers = await answersTo(port, targets.map(get));
      expect(await server.exited()).toBe(128 + 9);
      expect(answers[CONNECTIONS / 2]).toBe('');
      answered.push(...numbers.filter((_, index) => answers[index]!.startsWith('HTTP/1.1 301')));
    }
    const { stdout } = await runHoplog(['tail'], options);
    const lines = stdout.split('\n').slice(0, -1);
    const kept = lines.map((line) => (JSON.parse(line) as { number: number }).number);
    expect(kept).toEqual(expect.arrayContaining(answered));
    expect(new Set(kept).size).toBe(kept.length);
  },
  TEST_MAX_MS,
);
