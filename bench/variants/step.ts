// A redirect that stops on the way to its record, for `--steps`: what each step costs is the difference to
// the one before it. STEP and RECORD say how far it goes; from `captured` on it is hoplog's own code, with
// something that forgets in the journal's place.

import type { Server } from 'bun';
import { readCommandLine } from '../../src/config.ts';
import { defaultRedirect } from '../../src/http/redirect.ts';
import type { AppendResult, Journal } from '../../src/journal/journal.ts';
import { Batcher } from '../../src/record/batcher.ts';
import { encoderFor } from '../../src/record/encode.ts';
import { loadRecordKind } from '../../src/record/load-record-kind.ts';
import { type RecordValue, writeRecord } from '../../src/record-batch.ts';

type Handler = (request: Request, server: Server<undefined>) => Response;

const { config } = readCommandLine([]);
const redirect = defaultRedirect('http://google.com', 301);
const kind = await loadRecordKind(config.RECORD);

/** Takes records as a journal does and writes them over each other. */
class Forgetful {
  readonly openRecords = 0;
  readonly #target = Buffer.alloc(2 ** 20);
  #end = 0;

  append(value: RecordValue): AppendResult {
    const target = this.#target;
    this.#end = Math.max(0, writeRecord(target, this.#end, target.length, 0, 0, value));
    return 'appended';
  }
}

const forgetful = new Forgetful() as unknown as Journal;

function batched(encode: (captured: unknown) => RecordValue): Handler {
  const onLost = (): never => {
    throw new Error('a record was lost');
  };
  const batcher = new Batcher(forgetful, { kind, encode, flushIntervalMs: 1_000, onLost });
  return (request, server) => {
    batcher.record(request, server, redirect);
    return new Response(null, redirect.init);
  };
}

let seen = 0;

const handlers: Record<string, Handler> = {
  read: (request, server) => {
    const { headers, method, url } = request;
    const texts = ['host', 'user-agent', 'referer'].map((name) => headers.get(name) ?? '');
    seen += (server.requestIP(request)?.port ?? 0) + method.length + url.length;
    for (const text of texts) seen += text.length;
    return new Response(null, redirect.init);
  },
  captured: batched(() => ''),
  encoded: batched(encoderFor(kind, config.FORMAT)),
};

const handler = handlers[process.env.STEP ?? ''];
const answer = new Response(null, redirect.init);
Bun.serve({
  hostname: '127.0.0.1',
  port: config.PORT,
  // Without a handler Bun answers by itself, and no JavaScript runs.
  ...(handler ? { fetch: handler } : { routes: { '/*': answer } }),
});
