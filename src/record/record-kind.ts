// What a record is made of, in two steps. Data known while the request is handled (*runtime*) is
// copied out by `capture`; data worked out once the handler has returned (*async*) is added by
// `complete`, in a microtask.

import type { RecordValue } from '../record-batch.ts';
import type { RemoteAddress } from './remote-address.ts';

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
