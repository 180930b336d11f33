// The public port over real sockets: which methods are redirected and recorded, which are refused and
// not; what a full journal does; what drain leaves behind; and one clear line where it cannot listen.
// Bytes that no client sends: bad-input.test.ts.

import { describe, expect, test } from 'bun:test';
import { Listener, ListenerUnusable, claimPort } from '../../src/http/listener.ts';
import { defaultRedirect } from '../../src/http/redirect.ts';
import { failureOf } from '../support/failure-of.ts';
import { acknowledgeAll, fillUp } from '../support/journals.ts';
import { Listening } from '../support/listening.ts';
import { exchange, RawConnection } from '../support/raw-http.ts';
import { waitFor } from '../support/wait-for.ts';

const MANUAL: RequestInit = { redirect: 'manual' };

describe('redirect', () => {
  test('GET is answered 301 with the Location, and recorded', async () => {
    await using listening = new Listening();
    const response = await fetch(`${listening.url}/hello?a=b`, MANUAL);
    expect(response.status).toBe(301);
    expect(response.headers.get('location')).toBe('http://google.com');
    expect(await response.text()).toBe('');
    expect(listening.records()).toMatchObject([
      { method: 'GET', path: '/hello', query: 'a=b', status: 301, location: 'http://google.com' },
    ]);
  });

  test('HEAD is answered like GET, and recorded as HEAD', async () => {
    await using listening = new Listening();
    const bytes = (method: string): string => `${method} /x HTTP/1.1\r\nHost: a\r\n\r\n`;
    const [head, get] = await exchange(listening.url, bytes('HEAD') + bytes('GET'), 2);
    const { date: _head, ...headHeaders } = head!.headers;
    const { date: _get, ...getHeaders } = get!.headers;
    expect([head!.status, headHeaders]).toEqual([get!.status, getHeaders]);
    expect(listening.records().map(({ method }) => method)).toEqual(['HEAD', 'GET']);
  });

  test('the second answer has its Location too, and the hundredth, on one connection and on many', async () => {
    await using listening = new Listening();
    const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
    const answers = await exchange(listening.url, request.repeat(100), 100);
    const others = await Promise.all([1, 2, 3].map(() => exchange(listening.url, request)));
    for (const { status, headers } of [...answers, ...others.flat()]) {
      expect([status, headers['location']]).toEqual([301, 'http://google.com']);
    }
    expect(listening.listener.counters.redirected).toBe(103);
    expect(listening.records()).toHaveLength(103);
  });

  for (const status of [301, 302, 303, 307, 308]) {
    test(`status ${status} and another target, in answer and record`, async () => {
      await using listening = new Listening({ status, location: 'https://a.example/?q=%C3%A9' });
      const response = await fetch(listening.url, MANUAL);
      expect(response.status).toBe(status);
      expect(response.headers.get('location')).toBe('https://a.example/?q=%C3%A9');
      expect(listening.records()).toMatchObject([
        { status, location: 'https://a.example/?q=%C3%A9', outcome: 'default' },
      ]);
    });
  }

  test('the record has the client’s own address and port', async () => {
    await using listening = new Listening();
    await fetch(listening.url, MANUAL);
    const [record] = listening.records();
    expect(record?.remote_address).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(record?.remote_address).not.toBe(new URL(listening.url).host);
  });

  test('an IPv6 client is recorded in brackets, and the url is one', async () => {
    await using listening = new Listening({ hostname: '::1' });
    expect(listening.url).toStartWith('http://[::1]:');
    await fetch(listening.url, MANUAL);
    expect(listening.records()[0]?.remote_address).toMatch(/^\[::1\]:\d+$/);
  });

  test('an IPv4 client of a dual-stack socket is recorded as what it is', async () => {
    await using listening = new Listening({ hostname: '::' });
    const { port } = new URL(listening.url);
    await fetch(`http://127.0.0.1:${port}/`, MANUAL);
    expect(listening.records()[0]?.remote_address).toMatch(/^127\.0\.0\.1:\d+$/);
  });
});

describe('other methods', () => {
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'QUERY', 'PURGE']) {
    test(`${method} gets 405 with Allow, and no record`, async () => {
      await using listening = new Listening();
      const request = `${method} /x HTTP/1.1\r\nHost: a\r\n\r\n`;
      const [answer] = await exchange(listening.url, request);
      expect(answer).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' }, body: '' });
      expect(answer?.headers).not.toHaveProperty('location');
      expect(listening.records()).toEqual([]);
      expect(listening.listener.counters).toMatchObject({ redirected: 0, methodNotAllowed: 1 });
    });
  }

  test('CONNECT gets 405, whatever it wants to be connected to', async () => {
    await using listening = new Listening();
    const request = 'CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n';
    const [answer] = await exchange(listening.url, request);
    expect(answer).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } });
    expect(listening.records()).toEqual([]);
  });

  for (const method of ['BREW', 'get', 'GETT', 'M-SEARCH']) {
    test(`${method}, which Bun does not know, is neither redirected nor recorded`, async () => {
      await using listening = new Listening();
      using connection = await RawConnection.open(listening.url);
      connection.send(`${method} /x HTTP/1.1\r\nHost: a\r\n\r\n`);
      const answers = await connection.answers(1);
      // Bun's parser closes the connection; should it ever hand them on, they are ours to refuse.
      for (const { status } of answers) expect(status).toBeWithin(400, 600);
      expect(listening.records()).toEqual([]);
    });
  }

  test('a body that comes with them is read and thrown away', async () => {
    await using listening = new Listening();
    const body = 'x'.repeat(5000);
    const response = await fetch(listening.url, { ...MANUAL, method: 'POST', body });
    expect(response.status).toBe(405);
    const again = await fetch(listening.url, MANUAL);
    expect(again.status).toBe(301);
  });
});

describe('a full journal', () => {
  const SMALLEST = 3 * 172_032;

  test('refuse: 503 with Retry-After, no Location, no record; redirects again when there is room', async () => {
    await using listening = new Listening({ refuseWhenFull: true, journalBytes: SMALLEST });
    await fillUp(listening.open, () => 'x'.repeat(1000));
    const { appended } = listening.open.journal.counters;
    const response = await fetch(listening.url, MANUAL);
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(response.headers.has('location')).toBe(false);
    expect(listening.listener.counters).toMatchObject({ redirected: 0, refused: 1 });
    expect(listening.open.journal.counters.appended).toBe(appended);
    expect(listening.batcher.counters).toMatchObject({ captured: 0, dropped: 0 });
    listening.batcher.flush();
    acknowledgeAll(listening.open.journal);
    await waitFor(() => !listening.open.journal.full, { timeoutMs: 3000, what: 'room' });
    expect((await fetch(listening.url, MANUAL)).status).toBe(301);
    expect(listening.records()).toHaveLength(1);
  });

  test('refuse: whatever is answered 301 is in the journal, down to its last byte', async () => {
    await using listening = new Listening({ refuseWhenFull: true, journalBytes: SMALLEST });
    let redirected = 0;
    const path = `/${'p'.repeat(3000)}`;
    const request = `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(20);
    await waitFor(
      async () => {
        const answers = await exchange(listening.url, request, 20);
        redirected += answers.filter(({ status }) => status === 301).length;
        return answers.every(({ status }) => status === 503);
      },
      { timeoutMs: 5000, what: 'the first 503', intervalMs: 1 },
    );
    expect(redirected).toBeGreaterThan(50);
    expect(listening.batcher.counters.dropped).toBe(0);
    expect(listening.records()).toHaveLength(redirected);
  });

  test('drop: redirects go on, and what is not recorded is counted', async () => {
    await using listening = new Listening({ journalBytes: SMALLEST });
    await fillUp(listening.open, () => 'x');
    for (let times = 3; times > 0; times--) {
      expect((await fetch(listening.url, MANUAL)).status).toBe(301);
    }
    expect(listening.batcher.counters).toMatchObject({ captured: 3, dropped: 3 });
    listening.batcher.flush();
    expect(listening.lost).toMatchObject([{ cause: 'journal full', count: 3 }]);
  });
});

describe('drain', () => {
  test('refuses new connections, ends those that are open, and does not wait for silent ones', async () => {
    await using listening = new Listening();
    using _silent = await RawConnection.open(listening.url);
    using busy = await RawConnection.open(listening.url);
    busy.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await busy.answers(1);
    const startedAt = performance.now();
    await listening.listener.drain();
    // Bun's own stop() takes 12 s over a silent socket.
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    await busy.end();
    await failureOf(fetch(listening.url, MANUAL));
  });

  test('a client in the middle of its request is answered, with Connection: close', async () => {
    await using listening = new Listening();
    using connection = await RawConnection.open(listening.url);
    connection.send('GET /half HTTP/1.1\r\n');
    // Its first half is there: a whole request behind it was answered.
    await exchange(listening.url, 'GET /whole HTTP/1.1\r\nHost: a\r\n\r\n');
    const drained = listening.listener.drain();
    connection.send('Host: a\r\n\r\n');
    const [answer] = await connection.answers(1);
    await drained;
    expect(answer?.status).toBe(301);
    expect(answer?.headers).toMatchObject({ location: 'http://google.com', connection: 'close' });
    expect(listening.records().map(({ path }) => path)).toEqual(['/whole', '/half']);
  });
});

describe('where it cannot listen', () => {
  function refusal(hostname: string, port: number, { batcher, open }: Listening): string {
    const redirect = defaultRedirect('http://a', 301);
    const options = { hostname, port, sharedPort: false, redirect, refuseWhenFull: false };
    try {
      void new Listener(options, batcher, open.journal);
    } catch (error) {
      expect(error).toBeInstanceOf(ListenerUnusable);
      const { message } = error as ListenerUnusable;
      expect(message).not.toContain('\n');
      expect(message).toContain(`listening on ${hostname}:${port} `);
      return message;
    }
    throw new Error('it listens');
  }

  test('a port in use is named, with what to set', async () => {
    await using listening = new Listening();
    const port = Number(new URL(listening.url).port);
    const message = refusal('127.0.0.1', port, listening);
    expect(message).toContain('is taken by another process');
    expect(message).toContain('set another HOST or PORT');
  });

  test('an address of somebody else is refused', async () => {
    await using listening = new Listening();
    expect(refusal('203.0.113.1', 0, listening)).toContain('set another HOST or PORT');
  });
});

test('a port is claimed only where nobody listens, not even somebody who would share it', async () => {
  const sharing = { hostname: '127.0.0.1', reusePort: true, fetch: () => new Response() };
  using server = Bun.serve({ port: 0, ...sharing });
  const refusal = await claimPort('127.0.0.1', Number(server.port)).catch((error: Error) => error);
  expect(String(refusal)).toContain('is taken by another process');
  const port = await claimPort('127.0.0.1', 0);
  expect(port).toBeGreaterThan(0);
  expect(await claimPort('127.0.0.1', port)).toBe(port);
});
