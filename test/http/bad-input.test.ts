// What any client may send: no bytes may cause a 500, end the process, or leave a record that is not
// of the request. (Request smuggling is refused by Bun itself; here is what reaches the handler.)

import { describe, expect, test } from 'bun:test';
import { Listening } from '../support/listening.ts';
import { exchange, RawConnection } from '../support/raw-http.ts';

interface Expected {
  readonly status: number;
  readonly host?: string;
  readonly path?: string;
  readonly query?: string;
}

/** Sends one request and compares answer and record; then shows that the server lives. */
async function expectRecord(request: string, expected: Expected): Promise<void> {
  await using listening = new Listening();
  const [answer] = await exchange(listening.url, request);
  expect(answer?.status).toBe(expected.status);
  const { status, ...fields } = expected;
  if (status === 301) {
    expect(answer?.headers['location']).toBe('http://google.com');
    expect(listening.records()).toMatchObject([fields]);
  } else expect(listening.records()).toEqual([]);
  const [after] = await exchange(listening.url, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  expect(after?.status).toBe(301);
}

describe('Host', () => {
  test('HTTP/1.0 without one is answered 301, as health checks send it', async () => {
    const expected = { status: 301, host: '', path: '/health', query: 'a=b' };
    await expectRecord('GET /health?a=b HTTP/1.0\r\n\r\n', expected);
  });

  test('HTTP/1.1 without one is a bad request', async () => {
    await expectRecord('GET / HTTP/1.1\r\n\r\n', { status: 400 });
  });

  const JUNK = ['', 'a b', 'u:p@x', '0.0.0.0=5000', 'a/b', 'a#b', 'a?b', '//', '@', '[::1', 'a:x'];
  const ODD = ['a:99999', '%', '..', 'a,b', '*', '[::1]:80', 'xn--zz', 'x'.repeat(2000), '::'];
  for (const host of [...JUNK, ...ODD]) {
    test(`"${host.slice(0, 20)}" changes neither path nor answer`, async () => {
      const expected = { status: 301, host, path: '/path/p', query: 'q=1' };
      await expectRecord(`GET /path/p?q=1 HTTP/1.1\r\nHost: ${host}\r\n\r\n`, expected);
    });
  }

  test('two of them are recorded as both', async () => {
    const expected = { status: 301, host: 'a, evil', path: '/x' };
    await expectRecord('GET /x HTTP/1.1\r\nHost: a\r\nHost: evil\r\n\r\n', expected);
  });

  test('UTF-8 in one is read as UTF-8', async () => {
    const host = Buffer.from('bücher').toString('latin1');
    const expected = { status: 301, host: 'bücher', path: '/x' };
    await expectRecord(`GET /x HTTP/1.1\r\nHost: ${host}\r\n\r\n`, expected);
  });
});

describe('target', () => {
  const TARGETS: Readonly<Record<string, readonly [path: string, query: string]>> = {
    '/a#b?c': ['/a', ''],
    '/a?b#c': ['/a', 'b'],
    'http://evil.example/x?y=/z': ['/x', 'y=/z'],
    'http://evil.example?x=/1': ['/', 'x=/1'],
    'http://evil.example': ['/', ''],
    '//evil.example/..': ['//', ''],
    '/\\evil.example': ['//evil.example', ''],
    '/%zz%00%0d%0aSet-Cookie:x?%0a': ['/%zz%00%0d%0aSet-Cookie:x', '%0a'],
    '/\xc3\xa9?\xc3\xa9': ['/%C3%A9', '%C3%A9'],
    '/\xe9': ['/%EF%BF%BD', ''],
    '/__proto__?__proto__=1&constructor=2': ['/__proto__', '__proto__=1&constructor=2'],
    '/"<>`{}|^': ['/%22%3C%3E%60%7B%7D|%5E', ''],
  };
  for (const [target, [path, query]] of Object.entries(TARGETS)) {
    test(`${JSON.stringify(target)} is recorded as "${path}" and "${query}"`, async () => {
      const request = `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
      await expectRecord(request, { status: 301, path, query });
    });
  }

  test('a query of 8 KB is recorded whole', async () => {
    const query = 'q'.repeat(8000);
    const request = `GET /?${query} HTTP/1.1\r\nHost: a\r\n\r\n`;
    await expectRecord(request, { status: 301, path: '/', query });
  });

  for (const target of ['foo', '?a=1', '*', '']) {
    test(`"${target}", which is none, is a bad request`, async () => {
      await expectRecord(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`, { status: 400 });
    });
  }
});

describe('headers', () => {
  test('bytes that are no UTF-8 are recorded as U+FFFD', async () => {
    await using listening = new Listening();
    const headers = 'User-Agent: \xff\xc3\xa9\x80\r\nReferer: \xe9\r\n';
    await exchange(listening.url, `GET / HTTP/1.1\r\nHost: a\r\n${headers}\r\n`);
    expect(listening.records()).toMatchObject([{ user_agent: '\ufffdé\ufffd', referer: '\ufffd' }]);
  });

  test('of a name that came twice the values are joined', async () => {
    await using listening = new Listening();
    const headers = 'User-Agent: a\r\nUser-Agent: b\r\n';
    await exchange(listening.url, `GET / HTTP/1.1\r\nHost: a\r\n${headers}\r\n`);
    expect(listening.records()).toMatchObject([{ user_agent: 'a, b' }]);
  });

  const BOMBS = {
    'a header of 100 KB': `X: ${'x'.repeat(100_000)}\r\n`,
    '5,000 headers': Array.from({ length: 5000 }, (_, index) => `X-${index}: y\r\n`).join(''),
  };
  for (const [what, headers] of Object.entries(BOMBS)) {
    test(`${what} end in a refusal, and the next client is served`, async () => {
      await using listening = new Listening();
      const [answer] = await exchange(listening.url, `GET / HTTP/1.1\r\nHost: a\r\n${headers}\r\n`);
      if (answer) expect(answer.status).toBeWithin(400, 500);
      const [after] = await exchange(listening.url, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      expect(after?.status).toBe(301);
      expect(listening.records()).toHaveLength(1);
    });
  }

  test('200 headers of 80 bytes are no bomb', async () => {
    const one = `X-${'n'.repeat(30)}: ${'v'.repeat(45)}\r\n`;
    const request = `GET /x HTTP/1.1\r\nHost: a\r\n${one.repeat(190)}\r\n`;
    await using listening = new Listening();
    const [answer] = await exchange(listening.url, request);
    expect([301, 431]).toContain(answer?.status ?? 431);
    const [after] = await exchange(listening.url, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(after?.status).toBe(301);
  });
});

describe('one connection', () => {
  test('two pipelined requests get two answers and two records, in order', async () => {
    await using listening = new Listening();
    const request = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const answers = await exchange(listening.url, request('/1') + request('/2'), 2);
    expect(answers.map(({ status }) => status)).toEqual([301, 301]);
    expect(listening.records().map(({ path }) => path)).toEqual(['/1', '/2']);
  });

  test('a thousand pipelined requests get a thousand answers and records, in order', async () => {
    await using listening = new Listening();
    const paths = Array.from({ length: 1000 }, (_, index) => `/${index}`);
    const requests = paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`).join('');
    const answers = await exchange(listening.url, requests, 1000);
    expect(
      answers.filter(({ headers }) => headers['location'] === 'http://google.com'),
    ).toHaveLength(1000);
    expect(listening.records().map(({ path }) => path)).toEqual(paths);
  });

  test('a request that comes byte by byte is one request', async () => {
    await using listening = new Listening();
    using connection = await RawConnection.open(listening.url);
    for (const byte of 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n') {
      connection.send(byte);
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    expect((await connection.answers(1))[0]?.status).toBe(301);
    expect(listening.records()).toMatchObject([{ path: '/slow' }]);
  });

  test('a body on GET is passed over, and the request behind it answered', async () => {
    await using listening = new Listening();
    const body = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n';
    const first = `GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const answers = await exchange(listening.url, `${first}GET /2 HTTP/1.1\r\nHost: a\r\n\r\n`, 2);
    expect(answers.map(({ status }) => status)).toEqual([301, 301]);
    expect(listening.records().map(({ path }) => path)).toEqual(['/1', '/2']);
  });

  test('Expect: 100-continue on GET is served', async () => {
    await using listening = new Listening();
    const headers = 'Host: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n';
    const [answer] = await exchange(listening.url, `GET /e HTTP/1.1\r\n${headers}\r\nabc`);
    expect(answer?.status).toBe(301);
    expect(listening.records()).toMatchObject([{ path: '/e' }]);
  });

  test('an upgrade that nobody offers is a plain request', async () => {
    await using listening = new Listening();
    for (const upgrade of ['h2c', 'websocket']) {
      const headers = `Host: a\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\n`;
      const [answer] = await exchange(listening.url, `GET /u HTTP/1.1\r\n${headers}\r\n`);
      expect(answer?.status).toBe(301);
    }
    expect(listening.records()).toHaveLength(2);
  });

  for (const bytes of [
    '\r\n\r\n',
    '\0\0\0\0',
    'PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n',
    '{"a":1}\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  ]) {
    test(`${JSON.stringify(bytes)} is no request and leaves no record`, async () => {
      await using listening = new Listening();
      using connection = await RawConnection.open(listening.url);
      connection.send(bytes);
      const [after] = await exchange(listening.url, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      expect(after?.status).toBe(301);
      expect(listening.records()).toHaveLength(1);
    });
  }

  test('a client that goes away in the middle of a request leaves no record', async () => {
    await using listening = new Listening();
    {
      using connection = await RawConnection.open(listening.url);
      connection.send('GET /half HTTP/1.1\r\nHo');
    }
    const [after] = await exchange(listening.url, 'GET /whole HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(after?.status).toBe(301);
    expect(listening.records().map(({ path }) => path)).toEqual(['/whole']);
  });
});
