// The socket under a broker connection: what its failures mean, in words that say what to do, and that
// each of them reaches kafkajs's listeners as `error` before it is open and as `end` afterwards, so
// that nothing waits for ever.

import { afterAll, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { createServer as createPlainServer, type Server, type Socket } from 'node:net';
import { type ConnectionOptions, createServer as createTlsServer, type TlsOptions } from 'node:tls';
import { openSocket } from '../../src/kafka/socket.ts';
import { Authority, type CertificateFiles } from '../support/certificates.ts';
import { tempDir } from '../support/temp-dir.ts';

const WAIT_MS = 3_000;
/** A frame as Kafka has them: four bytes, and how many. */
const QUESTION = '\0\0\0\x04quiz';

const dir = tempDir();
afterAll(() => dir[Symbol.dispose]());
const authority = new Authority(dir.path, 'authority');
const stranger = new Authority(dir.path, 'stranger');
const ca = readFileSync(authority.cert, 'utf8');

function pair({ cert, key }: CertificateFiles): { cert: string; key: string } {
  return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
}

const good = pair(authority.issue('good'));

async function listening(server: Server): Promise<{ port: number } & Disposable> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', () => resolve());
  await promise;
  return {
    port: (server.address() as { port: number }).port,
    [Symbol.dispose]: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function tlsServer(options: TlsOptions): Promise<{ port: number } & Disposable> {
  const server = createTlsServer(options, (socket) => {
    socket.on('error', () => {});
    socket.on('data', (bytes) => socket.end(bytes));
  });
  server.on('tlsClientError', () => {});
  return listening(server);
}

/** What kafkajs's listeners get to hear, in order, until the socket has closed. */
async function events(
  port: number,
  ssl?: ConnectionOptions,
  host = '127.0.0.1',
): Promise<string[]> {
  const heard: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const onConnect = (): void => {
    heard.push('open');
    socket.write(QUESTION);
  };
  const socket = openSocket({ host, port, ssl, onConnect });
  socket.on('data', (bytes: Buffer) => heard.push(bytes.toString()));
  socket.on('end', () => heard.push('end'));
  socket.on('error', (error: Error) => heard.push(`error: ${error.message}`));
  socket.once('close', () => setImmediate(resolve));
  const limit = setTimeout(() => socket.destroy(new Error('it hangs')), WAIT_MS);
  await promise;
  clearTimeout(limit);
  return heard;
}

describe('TLS', () => {
  test('with the right authority opens, by address and by name', async () => {
    using server = await tlsServer(good);
    expect(await events(server.port, { ca })).toEqual(['open', QUESTION, 'end']);
    expect(await events(server.port, { ca }, 'localhost')).toEqual(['open', QUESTION, 'end']);
  });

  test('with a client certificate opens where one is wanted', async () => {
    using server = await tlsServer({ ...good, ca, requestCert: true, rejectUnauthorized: true });
    const client = pair(authority.issue('client'));
    expect(await events(server.port, { ca, ...client })).toEqual(['open', QUESTION, 'end']);
  });

  const REFUSED: readonly (readonly [string, TlsOptions, ConnectionOptions, string])[] = [
    ['an unknown authority', good, {}, 'unknown authority: name the CA file in KAFKA_TLS_CA'],
    [
      'another authority',
      good,
      { ca: readFileSync(stranger.cert, 'utf8') },
      'unknown authority: name the CA file in KAFKA_TLS_CA',
    ],
    [
      'an expired certificate',
      pair(authority.issue('expired', { expired: true })),
      { ca },
      'has expired: renew it on the broker',
    ],
    [
      'a certificate for another host',
      pair(authority.issue('elsewhere', { names: 'DNS:other.example' })),
      { ca },
      'is for another host name',
    ],
    [
      'no client certificate where one is wanted',
      { ...good, ca, requestCert: true, rejectUnauthorized: true },
      { ca },
      'wants a client certificate: set KAFKA_TLS_CERT and KAFKA_TLS_KEY',
    ],
    [
      'no client certificate where one is wanted, TLS 1.2',
      { ...good, ca, requestCert: true, rejectUnauthorized: true, maxVersion: 'TLSv1.2' },
      { ca },
      'wants a client certificate: set KAFKA_TLS_CERT and KAFKA_TLS_KEY',
    ],
  ];
  for (const [what, options, ssl, words] of REFUSED) {
    test(`${what} is an error in words`, async () => {
      using server = await tlsServer(options);
      const heard = await events(server.port, ssl);
      expect(heard.filter((event) => event.startsWith('error'))).toHaveLength(1);
      expect(heard.find((event) => event.startsWith('error'))).toContain(words);
      expect(heard).not.toContain(QUESTION);
    });
  }

  for (const [how, answer] of [
    ['closes', (socket: Socket) => socket.end()],
    ['resets', (socket: Socket) => socket.resetAndDestroy()],
    [
      'answers in another language',
      (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    ],
  ] as const) {
    test(`a plain port that ${how} is an error in words, and nothing waits`, async () => {
      const server = createPlainServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', () => void answer(socket));
      });
      using plain = await listening(server);
      const heard = await events(plain.port, { ca });
      expect(heard).toEqual([expect.stringMatching(/^error: no TLS on this port/)]);
    });
  }
});

describe('plain', () => {
  test('a connection that is reset ends', async () => {
    const server = createPlainServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.resetAndDestroy());
    });
    using plain = await listening(server);
    expect(await events(plain.port)).toContain('open');
    const heard = await events(plain.port);
    expect(heard.some((event) => event === 'end' || event.startsWith('error'))).toBe(true);
  });

  test('a port with TLS is an error in words', async () => {
    const server = createPlainServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end(Buffer.from([21, 3, 3, 0, 2, 2, 40])));
    });
    using plain = await listening(server);
    expect(await events(plain.port)).toContain(
      'error: this port speaks TLS: set KAFKA_TLS=on, or name a plain port',
    );
  });

  test('a port where nobody listens is an error', async () => {
    const heard = await events(1);
    expect(heard).toEqual([expect.stringMatching(/^error: .*ECONNREFUSED/)]);
  });

  test('a listener that throws ends the connection, not the process', async () => {
    const server = createPlainServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (bytes) => socket.write(bytes));
    });
    using plain = await listening(server);
    const { promise, resolve } = Promise.withResolvers<Error>();
    const socket = openSocket({
      host: '127.0.0.1',
      port: plain.port,
      onConnect: () => socket.write(QUESTION),
    });
    socket.on('data', () => {
      throw new Error('makes no sense');
    });
    socket.on('error', resolve);
    expect((await promise).message).toBe('makes no sense');
  });
});
