// Captured data → the value of a Kafka record: text or a writer of it (JSON), bytes (msgpack). Chosen once at start,
// so that the hot path has one way through it.

import { Packr } from 'msgpackr';
import type { RecordValue } from '../record-batch.ts';
import type { RecordKind } from './record-kind.ts';

export type Format = 'json' | 'msgpack';
export type Encode = (captured: unknown) => RecordValue;

/** The returned function throws what `complete` throws, and TypeError where a record has no JSON. */
export function encoderFor(kind: RecordKind<unknown>, format: Format): Encode {
  if (format === 'msgpack') {
    // Portable maps: msgpackr's own record extension is smaller, but nobody else reads it.
    const packr = new Packr({
      useRecords: false,
      variableMapSize: true,
      encodeUndefinedAsNil: true,
    });
    return (captured) => packr.pack(synchronous(kind.complete(captured)));
  }
  if (kind.completeJson) return kind.completeJson.bind(kind);
  return (captured) => {
    const text = JSON.stringify(synchronous(kind.complete(captured))) as string | undefined;
    if (text === undefined) throw new TypeError('complete() returned nothing that JSON can hold');
    return text;
  };
}

function synchronous(record: unknown): unknown {
  if (record === undefined) throw new TypeError('complete() returned nothing');
  if (record instanceof Promise) {
    record.catch(() => {}); // its own failure is beside the point
    throw new TypeError('complete() returned a promise; it must return the record itself');
  }
  return record;
}
