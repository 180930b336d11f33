// Which answer a request gets. Pure. One shared ResponseInit per target, never one Response twice:
// Bun sends that without its Location the second time. Headers are read once: Bun then only copies them.

import type { Answer } from '../record/batcher.ts';

export interface Redirect extends Answer {
  readonly init: ResponseInit;
  /** The same while the server shuts down: the client is told to take its next request elsewhere. */
  readonly lastInit: ResponseInit;
}

/** Where a request goes that no link claims. */
export function defaultRedirect(location: string, status: number): Redirect {
  const headers = { Location: location };
  return {
    status,
    location,
    outcome: 'default',
    init: { status, headers: new Headers(headers) },
    lastInit: { status, headers: new Headers({ ...headers, Connection: 'close' }) },
  };
}
