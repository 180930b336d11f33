// HTTPS on the public port: redirects and records as over HTTP; a new certificate comes with new workers
// (SIGUSR2), while clients that are connected go on; files that cannot work are refused at the start.

import { afterAll, expect, test } from 'bun:test';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { Authority } from '../support/certificates.ts';
import { runHoplog, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { waitFor } from '../support/wait-for.ts';

const WAIT_MS = 20_000;

const dir = tempDir();
afterAll(() => dir[Symbol.dispose]());
const authority = new Authority(dir.path, 'authority');
const [cert, key] = [join(dir.path, 'public.pem'), join(dir.path, 'public.key')];

function use(name: string): void {
  const issued = authority.issue(name);
  copyFileSync(issued.cert, cert);
  copyFileSync(issued.key, key);
}

async function open(url: string): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const ca = await Bun.file(authority.cert).text();
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(url).port), ca }, resolve);
  socket.on('error', reject);
  await promise;
  return socket;
}

async function ask(socket: TLSSocket, path: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.once('data', (bytes: Buffer) => resolve(bytes.toString()));
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a.example\r\n\r\n`);
  return await promise;
}

test('clients are redirected and recorded; new workers show a new certificate, and who is connected goes on', async () => {
  use('first');
  const journal = join(dir.path, 'journal');
  await using server = await Server.start({
    TLS_CERT: cert,
    TLS_KEY: key,
    WORKERS: 2,
    JOURNAL_DIR: journal,
    JOURNAL_BYTES: '64MiB',
    FLUSH_INTERVAL_MS: 20,
  });
  expect(server.url).toStartWith('https://');
  const early = await open(server.url);
  expect(early.getPeerCertificate().subject.CN).toBe('first');
  expect(await ask(early, '/before')).toStartWith('HTTP/1.1 301');
  use('second');
  server.signal('SIGUSR2');
  await waitFor(
    async () => {
      using late = await open(server.url).then((socket) => ({
        name: String(socket.getPeerCertificate().subject.CN),
        [Symbol.dispose]: () => void socket.destroy(),
      }));
      return late.name === 'second';
    },
    { timeoutMs: WAIT_MS, what: 'the new certificate' },
  );
  expect(await ask(early, '/after')).toStartWith('HTTP/1.1 301');
  early.destroy();
  expect(await server.stop()).toBe(0);
}, 60_000);

test('a key of another certificate is refused at the start', async () => {
  use('mine');
  copyFileSync(authority.issue('other').key, key);
  const options = { TLS_CERT: cert, TLS_KEY: key, JOURNAL_DIR: join(dir.path, 'refused') };
  const { exitCode, stderr } = await runHoplog([], { ...options, PORT: 0, ADMIN_PORT: 'off' });
  expect(exitCode).toBe(2);
  expect(stderr).toBe('hoplog: TLS_KEY is not the key of TLS_CERT\n');
});
