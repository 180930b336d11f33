// The default record: who came, for what, when, and where they were sent.

import type { RecordKind } from './record-kind.ts';

export interface Click {
  readonly id: string;
  /** ISO 8601, ms. */
  readonly time: string;
  readonly method: string;
  readonly host: string;
  /** As it came, percent-encoded; bytes that are no UTF-8 arrive from Bun as U+FFFD. */
  readonly path: string;
  /** Without the question mark. */
  readonly query: string;
  readonly status: number;
  readonly location: string;
  readonly remote_address: string;
  readonly user_agent: string;
  readonly referer: string;
  readonly outcome: string;
}

type CapturedClick = Omit<Click, 'time' | 'path' | 'query'> & { time: number; url: string };

export const click: RecordKind<CapturedClick> = {
  capture(request, context) {
    const { headers } = request;
    return {
      id: context.id,
      time: context.time,
      method: request.method,
      host: headers.get('host') ?? '',
      url: request.url,
      status: context.status,
      location: context.location,
      remote_address: context.remoteAddress,
      user_agent: headers.get('user-agent') ?? '',
      referer: headers.get('referer') ?? '',
      outcome: context.outcome,
    };
  },
  complete(captured): Click {
    const target = requestTarget(captured.url);
    return {
      id: captured.id,
      time: isoTime(captured.time),
      method: captured.method,
      host: headerText(captured.host),
      path: target.path,
      query: target.query,
      status: captured.status,
      location: captured.location,
      remote_address: captured.remote_address,
      user_agent: headerText(captured.user_agent),
      referer: headerText(captured.referer),
      outcome: captured.outcome,
    };
  },
};

/**
 * Path and query of Bun's `request.url`, cut by hand: without a usable Host header the url is a bare
 * path, and `new URL` throws on that. A fragment does not belong in a request and is dropped.
 */
export function requestTarget(url: string): { path: string; query: string } {
  const pathAt = url.startsWith('/') ? 0 : url.indexOf('/', url.indexOf('//') + 2);
  const fragmentAt = url.indexOf('#');
  const target = url.slice(Math.max(0, pathAt), fragmentAt < 0 ? undefined : fragmentAt);
  const queryAt = target.indexOf('?');
  if (queryAt < 0) return { path: target, query: '' };
  return { path: target.slice(0, queryAt), query: target.slice(queryAt + 1) };
}

const NON_ASCII = /[\u0080-\u00ff]/;

/** Header bytes arrive one character each (latin1); clients mean UTF-8. Invalid UTF-8: U+FFFD. */
export function headerText(value: string): string {
  return NON_ASCII.test(value) ? Buffer.from(value, 'latin1').toString('utf8') : value;
}

let lastTime = -1;
let lastIsoTime = '';

/** At 50,000 requests a second, 50 share a millisecond. */
function isoTime(time: number): string {
  if (time !== lastTime) {
    lastTime = time;
    lastIsoTime = new Date(time).toISOString();
  }
  return lastIsoTime;
}
