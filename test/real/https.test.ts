// HTTPS on the public port: redirects and records as over HTTP; a new certificate comes with SIGHUP, or
// with new workers (SIGUSR2), while clients that are connected go on and none is refused or reset; files
// that cannot work are refused at the start, and leave all as it was later.

import { afterAll, describe, expect, test } from 'bun:test';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { Authority } from '../support/certificates.ts';
import { extent } from '../support/extent.ts';
import { NO_FAULTS, Oracle } from '../support/oracle.ts';
import type { TopicRecord } from '../support/record-batches.ts';
import { type LogLine, runHoplog, Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';
import { Visitors } from '../support/visitors.ts';
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
}, 240_000);

test('a key of another certificate is refused at the start', async () => {
  use('mine');
  copyFileSync(authority.issue('other').key, key);
  const options = { TLS_CERT: cert, TLS_KEY: key, JOURNAL_DIR: join(dir.path, 'refused') };
  const { exitCode, stderr } = await runHoplog([], { ...options, PORT: 0, ADMIN_PORT: 'off' });
  expect(exitCode).toBe(2);
  expect(stderr).toBe('hoplog: TLS_KEY is not the key of TLS_CERT\n');
});

const onLinux = process.platform === 'linux';
if (!onLinux) process.stdout.write('skipped: renewing a certificate in one process needs Linux\n');

/** Of a server in local mode, in the order of its journal. */
async function recordsIn(journal: string): Promise<TopicRecord[]> {
  const { stdout } = await runHoplog(['tail'], { JOURNAL_DIR: journal });
  return stdout
    .trimEnd()
    .split('\n')
    .map((line, offset) => {
      const { time } = JSON.parse(line) as { time: string };
      const [timestamp, value] = [Date.parse(time), Buffer.from(line)];
      return { partition: 0, offset, timestamp, value } as TopicRecord;
    });
}

function logged(server: Server, part: string): LogLine[] {
  return server.log.filter(({ msg }) => msg.includes(part));
}

describe.skipIf(!onLinux)('SIGHUP with one process', () => {
  async function start(journal: string): Promise<Server> {
    return await Server.start({
      TLS_CERT: cert,
      TLS_KEY: key,
      JOURNAL_DIR: journal,
      JOURNAL_BYTES: '64MiB',
      FLUSH_INTERVAL_MS: 20,
    });
  }

  async function eventually(what: string, condition: () => unknown): Promise<void> {
    await waitFor(condition, { timeoutMs: WAIT_MS, what });
  }

  test('brings a new certificate under load: no connection is refused or reset, each answer has its record', async () => {
    use('turn-0');
    const journal = join(dir.path, 'renewed');
    await using server = await start(journal);
    const oracle = new Oracle();
    const ca = await Bun.file(authority.cert).text();
    const fleeting = new Visitors(server.url, oracle, { ca });
    const lasting = new Visitors(server.url, oracle, { ca, perConnection: Infinity, pauseMs: 5 });
    await eventually('load', () => oracle.answered() > 100);
    const turns = extent(3, 20);
    for (let turn = 1; turn <= turns; turn++) {
      const closes = lasting.closes;
      use(`turn-${turn}`);
      server.signal('SIGHUP');
      await eventually('the end', () => logged(server, 'shown the new').length === turn);
      fleeting.certificates.clear();
      await eventually('newcomers', () => (fleeting.certificates.get(`turn-${turn}`) ?? 0) > 20);
      expect([...fleeting.certificates.keys()]).toEqual([`turn-${turn}`]);
      // Keep-alive connections were asked to end, each of them.
      await eventually('all to come anew', () => lasting.closes >= closes + 8);
    }
    await Promise.all([fleeting.stop(), lasting.stop()]);
    expect([...fleeting.broken, ...lasting.broken]).toEqual([]);
    expect(oracle.notRedirected).toEqual([]);
    expect(lasting.closes).toBe(8 * turns);
    expect(await server.stop()).toBe(0);
    expect(server.noise).toEqual([]);
    expect(server.log.filter(({ level }) => level !== 'info')).toEqual([]);
    const { delivered, ...faults } = oracle.judge(await recordsIn(journal));
    expect(faults).toEqual(NO_FAULTS);
    expect(delivered).toHaveLength(oracle.issued);
  }, 120_000);

  test('leaves all as it was where the new files cannot work, and takes them once they do', async () => {
    use('sound');
    await using server = await start(join(dir.path, 'unsound'));
    const shown = async (): Promise<string> => {
      const socket = await open(server.url);
      const { subject } = socket.getPeerCertificate();
      socket.destroy();
      return String(subject.CN);
    };
    const early = await open(server.url);
    writeFileSync(cert, 'no certificate');
    server.signal('SIGHUP');
    await eventually('a refusal', () => logged(server, 'SIGHUP: nothing is changed').length === 1);
    expect(logged(server, 'SIGHUP: nothing')[0]?.['reason']).toBe(
      'TLS_CERT holds no certificate: it must be in PEM form',
    );
    expect(await shown()).toBe('sound');
    // The certificate that is there already is no reason to open the port anew.
    use('sound-too');
    server.signal('SIGHUP');
    await eventually('the new one', () => logged(server, 'shown the new').length === 1);
    server.signal('SIGHUP');
    await eventually('three tries', () => logged(server, 'SIGHUP: ').length === 3);
    expect(await shown()).toBe('sound-too');
    expect(await ask(early, '/goes-on')).toMatch(/^HTTP\/1.1 301[^]*\r\nconnection: close\r\n/i);
    early.destroy();
    expect(await server.stop()).toBe(0);
    expect(logged(server, 'shown the new')).toHaveLength(1);
  }, 60_000);

  test('the port belongs to one server, as any port does', async () => {
    use('alone');
    await using server = await start(join(dir.path, 'alone'));
    const { port } = new URL(server.url);
    const options = { TLS_CERT: cert, TLS_KEY: key, JOURNAL_DIR: join(dir.path, 'second') };
    const { exitCode, stderr } = await runHoplog([], { ...options, PORT: port, ADMIN_PORT: 'off' });
    expect(exitCode).toBe(2);
    expect(stderr).toContain(`:${port} is taken by another process`);
  });
});
