// The admin port of the real program, without Kafka: who may ask, when it is ready, and that /ready says
// no before the public port closes. Alone and with several workers, which have one admin port together.

import { describe, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../support/free-port.ts';
import { type Options, runHoplog, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const TEST_MAX_MS = 240_000;
const REACTION_MAX_MS = 15_000;

function optionsFor(dir: string, options: Options = {}): Options {
  return { JOURNAL_DIR: join(dir, 'journal'), JOURNAL_BYTES: '16MiB', ...options };
}

describe.each([1, 2])('WORKERS=%d', (WORKERS) => {
  test(
    'in local mode it is ready at once',
    async () => {
      using dir = tempDir();
      await using server = await Server.start(optionsFor(dir.path, { WORKERS }));
      expect(await server.ready()).toEqual({ status: 200, reason: undefined });
      expect(await server.metric('hoplog_workers')).toBe(WORKERS);
    },
    TEST_MAX_MS,
  );

  test(
    'until a broker has answered for the topic it is not, and says why, for each worker',
    async () => {
      using dir = tempDir();
      const port = await freePort();
      const KAFKA_BROKERS = `127.0.0.1:${port}`;
      await using server = await Server.start(optionsFor(dir.path, { WORKERS, KAFKA_BROKERS }));
      const { status, reason = '' } = await server.ready();
      expect(status).toBe(503);
      expect(reason).toMatch(/no broker has answered yet|ECONNREFUSED|refused/i);
      const named = [...reason.matchAll(/worker (\d): /g)].map(([, worker]) => Number(worker));
      expect(named).toEqual(WORKERS === 1 ? [] : [1, 2]);
    },
    TEST_MAX_MS,
  );

  test(
    'fault 44: on SIGTERM it is not ready first, and goes on answering for DRAIN_DELAY_MS',
    async () => {
      using dir = tempDir();
      const delay = { DRAIN_DELAY_MS: 2_000, SHUTDOWN_MS: 5_000 };
      await using server = await Server.start(optionsFor(dir.path, { WORKERS, ...delay }));
      const signalled = performance.now();
      server.signal('SIGTERM');
      await waitFor(async () => (await server.ready()).status === 503, {
        timeoutMs: REACTION_MAX_MS,
        what: '/ready to say no',
        intervalMs: 5,
      });
      expect((await server.ready()).reason).toBe('shutting down');
      const response = await fetch(server.url, { redirect: 'manual' });
      expect(response.status).toBe(301);
      expect(await server.exited()).toBe(0);
      expect(performance.now() - signalled).toBeGreaterThan(delay.DRAIN_DELAY_MS);
    },
    TEST_MAX_MS,
  );

  test(
    'fault 44: a second signal does not wait for it',
    async () => {
      using dir = tempDir();
      const options = optionsFor(dir.path, { WORKERS, DRAIN_DELAY_MS: 600_000 });
      await using server = await Server.start(options);
      server.signal('SIGTERM');
      await waitFor(async () => (await server.ready()).status === 503, {
        timeoutMs: REACTION_MAX_MS,
        what: '/ready to say no',
      });
      expect(await server.stop('SIGTERM')).toBe(143);
    },
    TEST_MAX_MS,
  );

  test(
    'with a token in a file it is for whoever has that; SIGHUP reads a new one',
    async () => {
      using dir = tempDir();
      const file = join(dir.path, 'token');
      writeFileSync(file, 'first\n');
      const options = { WORKERS, ADMIN_HOST: '0.0.0.0', ADMIN_TOKEN_FILE: file };
      await using server = await Server.start(optionsFor(dir.path, options));
      const admin = `http://127.0.0.1:${new URL(server.admin).port}`;
      const statusWith = async (token: string): Promise<number> => {
        const headers = { Authorization: `Bearer ${token}` };
        return (await fetch(`${admin}/metrics`, { headers })).status;
      };
      expect((await fetch(`${admin}/live`)).status).toBe(200);
      expect((await fetch(`${admin}/ready`)).status).toBe(401);
      expect([await statusWith('first'), await statusWith('second')]).toEqual([200, 401]);
      writeFileSync(file, 'second\n');
      server.signal('SIGHUP');
      await waitFor(async () => (await statusWith('second')) === 200, {
        timeoutMs: REACTION_MAX_MS,
        what: 'the new token to be taken',
      });
      expect(await statusWith('first')).toBe(401);
      await server.stop();
      expect(server.lines.join('\n')).not.toMatch(/first|second/);
    },
    TEST_MAX_MS,
  );
});

test('where others can reach it and no token is set the start is refused in one line', async () => {
  using dir = tempDir();
  const options = optionsFor(dir.path, { ADMIN_HOST: '0.0.0.0', PORT: 0, ADMIN_PORT: 0 });
  const { exitCode, stdout, stderr } = await runHoplog([], options);
  expect([exitCode, stdout]).toEqual([2, '']);
  expect(stderr).toMatch(/^hoplog: ADMIN_HOST is not a loopback address.* ADMIN_TOKEN.*\n$/);
});
