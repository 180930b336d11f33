// The record that `doctor` writes to a topic, to see it arrive: told apart from all others by its one
// field, in either format, so that nobody counts it as a click.

import { jsonOf } from './decode.ts';
import { encoderFor, type Format } from './encode.ts';
import type { RecordValue } from '../record-batch.ts';

const FIELD = 'hoplog_probe';

/** `{"hoplog_probe":"…"}` */
export function probeValue(id: string, format: Format): RecordValue {
  const kind = { capture: () => id, complete: (captured: unknown) => ({ [FIELD]: captured }) };
  return encoderFor(kind, format)(id);
}

export function isProbe(value: Uint8Array): boolean {
  try {
    return jsonOf(value).startsWith(`{"${FIELD}":`);
  } catch {
    return false;
  }
}
