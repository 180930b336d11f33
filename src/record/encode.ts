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
    return (captured) => packr.pack(wellFormed(synchronous(kind.complete(captured))));
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

/**
 * msgpackr writes half a surrogate pair as bytes that are no UTF-8, and strict readers refuse the
 * record. JSON has an escape for it; here it becomes U+FFFD. Copies only what has one.
 */
function wellFormed(value: unknown): unknown {
  return isWellFormed(value) ? value : repaired(value);
}

function isWellFormed(value: unknown): boolean {
  if (typeof value === 'string') return value.isWellFormed();
  if (Array.isArray(value)) return value.every(isWellFormed);
  if (!isPlainObject(value)) return true;
  for (const key in value) {
    if (!key.isWellFormed() || !isWellFormed(value[key])) return false;
  }
  return true;
}

function repaired(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed();
  if (Array.isArray(value)) return value.map(repaired);
  if (!isPlainObject(value)) return value;
  const entries = Object.entries(value);
  return Object.fromEntries(entries.map(([key, item]) => [key.toWellFormed(), repaired(item)]));
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
