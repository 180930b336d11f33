// The default record, field by field; path and query cut out of whatever Bun calls a url; header bytes
// read as the UTF-8 that clients mean, and never an exception, whatever they are.

import { describe, expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { click, headerText, requestTarget } from '../../src/record/click.ts';
import { runs } from '../support/properties.ts';
import { contextOf, onTheWire, requestTo } from '../support/requests.ts';

function recordOf(request: Request, context = contextOf()): Record<string, unknown> {
  return click.complete(click.capture(request, context)) as Record<string, unknown>;
}

describe('fields', () => {
  test('are exactly these, in this order', () => {
    const request = requestTo('http://go.example:8080/a/b%20c?q=1&r=%C3%A9', {
      host: 'go.example:8080',
      'user-agent': 'curl/8',
      referer: 'http://from.example/',
    });
    const record = recordOf(request);
    expect(record).toEqual({
      id: '00000000000000aa-1',
      time: '2026-11-24T10:49:35.647Z',
      method: 'GET',
      host: 'go.example:8080',
      path: '/a/b%20c',
      query: 'q=1&r=%C3%A9',
      status: 301,
      location: 'http://google.com',
      remote_address: '203.0.113.7:51234',
      user_agent: 'curl/8',
      referer: 'http://from.example/',
      outcome: 'default',
    });
    expect(Object.keys(record).join()).toBe(
      'id,time,method,host,path,query,status,location,remote_address,user_agent,referer,outcome',
    );
  });

  test('headers that did not come are empty, not missing and not null', () => {
    expect(recordOf(requestTo('/x'))).toMatchObject({ host: '', user_agent: '', referer: '' });
  });

  test('status, location and outcome are those of the answer', () => {
    const context = contextOf({ status: 307, location: 'https://a/', outcome: 'link' });
    const answer = { status: 307, location: 'https://a/', outcome: 'link' };
    expect(recordOf(requestTo(), context)).toMatchObject(answer);
  });

  test('HEAD is told from GET', () => {
    expect(recordOf(requestTo('/', {}, 'HEAD'))['method']).toBe('HEAD');
  });

  test('the time is that of each record, also when milliseconds repeat and go back', () => {
    const times = [5, 5, 6, 5, 0, 1_700_000_000_000].map(
      (time) => recordOf(requestTo(), contextOf({ time }))['time'],
    );
    expect(times).toEqual([
      '1970-01-01T00:00:00.005Z',
      '1970-01-01T00:00:00.005Z',
      '1970-01-01T00:00:00.006Z',
      '1970-01-01T00:00:00.005Z',
      '1970-01-01T00:00:00.000Z',
      '2023-11-14T22:13:20.000Z',
    ]);
  });

  test('what is captured needs the request no more', () => {
    const request = requestTo('http://a/x', { 'user-agent': 'one' });
    const captured = click.capture(request, contextOf());
    Object.defineProperty(request, 'url', { get: () => expect.unreachable() });
    Object.defineProperty(request, 'headers', { get: () => expect.unreachable() });
    expect(click.complete(captured)).toMatchObject({ path: '/x', user_agent: 'one' });
  });
});

describe('path and query', () => {
  const TARGETS: Readonly<Record<string, readonly [string, string]>> = {
    'http://a/': ['/', ''],
    'http://a/b': ['/b', ''],
    'http://a/b?': ['/b', ''],
    'http://a/b?c': ['/b', 'c'],
    'http://a/b?c?d/e': ['/b', 'c?d/e'],
    'http://a/b#c?d': ['/b', ''],
    'http://a/b?c#d': ['/b', 'c'],
    'http://a/?#': ['/', ''],
    'http://a//evil.com': ['//evil.com', ''],
    'http://a/x?http://y/z': ['/x', 'http://y/z'],
    'http://[::1]:80/x?y': ['/x', 'y'],
    'http://a b/x': ['/x', ''],
    'https://a/%0d%0a': ['/%0d%0a', ''],
    // Without a usable Host header.
    '/': ['/', ''],
    '/b?c': ['/b', 'c'],
    '/b?c#d': ['/b', 'c'],
    '//evil.com/../x': ['//evil.com/../x', ''],
    '/x?http://y/z#w': ['/x', 'http://y/z'],
  };
  for (const [url, [path, query]] of Object.entries(TARGETS)) {
    test(`${url} is "${path}" and "${query}"`, () => {
      expect(requestTarget(url)).toEqual({ path, query });
    });
  }

  test('any path and query come out of any url made of them', () => {
    const part = fc.stringMatching(/^[a-z0-9%/:@!$&'()*+,;=._~-]*$/);
    const origin = fc.constantFrom('', 'http://a', 'http://a:8080', 'http://[::1]');
    fc.assert(
      fc.property(origin, part, part, fc.option(part), (before, rest, query, fragment) => {
        const path = `/${rest}`;
        const url = `${before}${path}?${query}${fragment === null ? '' : `#${fragment}`}`;
        expect(requestTarget(url)).toEqual({ path, query });
      }),
      runs(300),
    );
  });

  test('nothing that stands for a url makes it throw', () => {
    fc.assert(
      fc.property(fc.string(), (url) => {
        const { path, query } = requestTarget(url);
        expect(path.includes('?') || path.includes('#') || query.includes('#')).toBe(false);
      }),
      runs(500),
    );
  });
});

describe('header text', () => {
  test('ASCII stays as it is', () => {
    expect(headerText('Mozilla/5.0 (X11; Linux)')).toBe('Mozilla/5.0 (X11; Linux)');
  });

  test('UTF-8 that came byte by byte is read as UTF-8', () => {
    expect(headerText(onTheWire('é€😀'))).toBe('é€😀');
  });

  test('bytes that are no UTF-8 become U+FFFD, and the rest is kept', () => {
    expect(headerText('a\xe9b')).toBe('a\ufffdb');
    expect(headerText('\xff')).toBe('\ufffd');
    expect(headerText('x\xe2\x82')).toStartWith('x\ufffd');
  });

  test('for any bytes it is what the WHATWG decoder makes of them', () => {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        expect(headerText(Buffer.from(bytes).toString('latin1'))).toBe(decoder.decode(bytes));
      }),
      runs(500),
    );
  });

  test('host, user agent and referer are all read that way', () => {
    const headers = {
      host: onTheWire('bücher.example'),
      'user-agent': onTheWire('Ünïcode/1'),
      referer: '\xe9',
    };
    expect(recordOf(requestTo('/', headers))).toMatchObject({
      host: 'bücher.example',
      user_agent: 'Ünïcode/1',
      referer: '\ufffd',
    });
  });
});
