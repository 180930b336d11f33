// Bytes of a record → what was put in: the way back of encode.ts, for whoever reads a journal or a
// topic. Not on the request path.

import { Unpackr } from 'msgpackr';

const unpackr = new Unpackr({ useRecords: false });
/** JSON never begins with such a byte, msgpack's maps and arrays always do. */
const MSGPACK_FROM = 0x80;
const RECORD_ID = /^([0-9a-f]{16})-([1-9]\d{0,14})$/;

/** A record's identity: which start of which server, and the how manieth request there. */
export interface RecordId {
  readonly bootId: string;
  readonly sequence: number;
}

/** JSON text as it is, msgpack as JSON. @throws what msgpackr throws on bytes that are neither */
export function jsonOf(value: Uint8Array): string {
  if ((value[0] ?? 0) < MSGPACK_FROM) return new TextDecoder().decode(value);
  return JSON.stringify(unpackr.unpack(value));
}

/** The field `id` of a record; undefined where there is none: seed records, foreign records. */
export function recordIdOf(value: Uint8Array): RecordId | undefined {
  let record: unknown;
  try {
    record = (value[0] ?? 0) < MSGPACK_FROM ? JSON.parse(jsonOf(value)) : unpackr.unpack(value);
  } catch {
    return undefined;
  }
  const id = (record as { id?: unknown } | null | undefined)?.id;
  const [, bootId, sequence] = (typeof id === 'string' && RECORD_ID.exec(id)) || [];
  return bootId === undefined ? undefined : { bootId, sequence: Number(sequence) };
}
