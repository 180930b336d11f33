// What the request side of hoplog is called with, without a server: an answer, a context, a server that
// knows one client address.

import type { Server } from 'bun';
import type { Answer } from '../../src/record/batcher.ts';
import type { RemoteAddress } from '../../src/record/remote-address.ts';
import type { RequestContext } from '../../src/record/record-kind.ts';

export const ANSWER: Answer = { status: 301, location: 'http://google.com', outcome: 'default' };
export const REMOTE: RemoteAddress = { address: '203.0.113.7', port: 51_234, family: 'IPv4' };

/** A Server as far as hoplog asks one: for the address of a client. */
export function serverKnowing(remote: RemoteAddress | null): Server<undefined> {
  return { requestIP: () => remote } as unknown as Server<undefined>;
}

export function contextOf(changes: Partial<RequestContext> = {}): RequestContext {
  return {
    id: '00000000000000aa-1',
    time: Date.UTC(2026, 10, 24, 10, 49, 35, 647),
    remoteAddress: '203.0.113.7:51234',
    remote: REMOTE,
    ...ANSWER,
    ...changes,
  };
}

/** A request as Bun hands it over: header values hold one character for each byte that came. */
export function requestTo(
  url = 'http://example.org/',
  headers: Readonly<Record<string, string>> = {},
  method = 'GET',
): Request {
  const request = new Request('http://example.org/', { method });
  const values = new Map(Object.entries(headers));
  Object.defineProperty(request, 'url', { value: url, configurable: true });
  Object.defineProperty(request, 'headers', {
    configurable: true,
    value: { get: (name: string) => values.get(name.toLowerCase()) ?? null },
  });
  return request;
}

/** Text as its UTF-8 bytes, one character each: how it arrives in a header. */
export function onTheWire(text: string): string {
  return Buffer.from(text).toString('latin1');
}
