// The answer as a value: one shared init per target, from which every Response gets its Location, also
// the second one (a Response used twice loses it in Bun).

import { expect, test } from 'bun:test';
import { defaultRedirect } from '../../src/http/redirect.ts';

test('is what the record says of it, and an init for responses', () => {
  expect(defaultRedirect('https://a.example/b?c', 308)).toEqual({
    status: 308,
    location: 'https://a.example/b?c',
    outcome: 'default',
    init: { status: 308, headers: new Headers({ Location: 'https://a.example/b?c' }) },
    lastInit: {
      status: 308,
      headers: new Headers({ Location: 'https://a.example/b?c', Connection: 'close' }),
    },
  });
});

test('every Response made of the same init has the Location', () => {
  const { init, lastInit } = defaultRedirect('http://google.com', 301);
  for (let times = 3; times > 0; times--) {
    expect(new Response(null, init).headers.get('location')).toBe('http://google.com');
    expect(new Response(null, lastInit).headers.get('location')).toBe('http://google.com');
  }
});

test('only the last init closes the connection', () => {
  const { init, lastInit } = defaultRedirect('http://google.com', 301);
  expect(new Response(null, init).headers.has('connection')).toBe(false);
  expect(new Response(null, lastInit).headers.get('connection')).toBe('close');
});
