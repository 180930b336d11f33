// What a record is made of, in two steps, and where the two come from: a built-in kind or a user's
// module. Data known while the request is handled (*runtime*) is copied out by `capture`; data worked
// out once the handler has returned (*async*) is added by `complete`, in a microtask.

import { resolve } from 'node:path';
import type { RecordValue } from '../record-batch.ts';
import { click } from './click.ts';
import type { RemoteAddress } from './remote-address.ts';
import { seed } from './seed.ts';

/** What hoplog knows of a request while it is handled. Valid during `capture` only. */
export interface RequestContext {
  /** `<boot id>-<sequence>`: unique for ever; sequences of one boot have no gaps but dropped ones. */
  readonly id: string;
  /** Receive time, ms since 1970; also the record's Kafka timestamp. */
  readonly time: number;
  /** Of the client's socket: `203.0.113.7:51234`, `[2001:db8::7]:51234`. */
  readonly remoteAddress: string;
  /** The same in parts. */
  readonly remote: RemoteAddress;
  readonly status: number;
  readonly location: string;
  /** Which rule answered: `default` = REDIRECT_TO. */
  readonly outcome: string;
}

/**
 * How a request becomes a record. Both functions are synchronous and run on the hot path: `capture`
 * before the answer, `complete` right after the handler and before the answer leaves.
 */
export interface RecordKind<Captured> {
  /** Copies what is needed out of the request: it may be gone afterwards. */
  capture(request: Request, context: RequestContext): Captured;
  /** The record: anything JSON.stringify or msgpack can write. */
  complete(captured: Captured): unknown;
  /** Optional: the same record as JSON, where that is cheaper than JSON.stringify. */
  completeJson?(captured: Captured): RecordValue;
}

/** RECORD names no kind: the message says why and what to do. */
export class RecordKindUnusable extends Error {
  override readonly name = 'RecordKindUnusable';
}

/**
 * `click`, `seed`, or the path of a module that exports `capture` and `complete`.
 * @throws {RecordKindUnusable}
 */
export async function loadRecordKind(name: string): Promise<RecordKind<unknown>> {
  if (name === 'click') return click;
  if (name === 'seed') return seed;
  const path = resolve(name);
  const advice =
    'RECORD is click, seed, or the path of a module that exports the functions ' +
    'capture(request, context) and complete(captured); examples/record-campaign.ts is one';
  let module: Partial<RecordKind<unknown>>;
  try {
    module = (await import(path)) as Partial<RecordKind<unknown>>;
  } catch (error) {
    const [reason] = (error instanceof Error ? error.message : Bun.inspect(error)).split('\n');
    throw new RecordKindUnusable(`RECORD=${name} cannot be loaded (${reason}). ${advice}`);
  }
  const { capture, complete } = module;
  const missing = [
    typeof capture === 'function' ? '' : 'capture',
    typeof complete === 'function' ? '' : 'complete',
  ].filter(Boolean);
  if (!capture || !complete || missing.length > 0) {
    throw new RecordKindUnusable(
      `RECORD=${name} does not export ${missing.length > 1 ? 'the functions' : 'a function'} ` +
        `${missing.join(' and ')}. ${advice}`,
    );
  }
  return { capture, complete };
}
