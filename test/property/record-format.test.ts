// For any record a module may return: what is encoded and journalled comes out of `tail` as the JSON
// of that record, in both formats, and msgpack is plain enough for any other reader.

import { describe, expect, setDefaultTimeout, test } from 'bun:test';
import * as fc from 'fast-check';
import { type Encode, encoderFor, type Format } from '../../src/record/encode.ts';
import type { RecordKind } from '../../src/record/record-kind.ts';
import { BATCH_HEADER_BYTES, readRecords, writeRecord } from '../../src/record-batch.ts';
import { jsonOf } from '../../src/record/decode.ts';
import { readMsgpack } from '../support/msgpack.ts';
import { PROPERTY_MAX_MS, runs } from '../support/properties.ts';
import { anyText } from '../support/texts.ts';

setDefaultTimeout(PROPERTY_MAX_MS);

const asIs: RecordKind<unknown> = { capture: () => undefined, complete: (captured) => captured };

// msgpackr writes the key __proto__ under another name, on purpose; JSON.parse and JSON do not.
const key = anyText.filter((text) => text !== '__proto__');

function recordWith(text: fc.Arbitrary<string>): fc.Arbitrary<unknown> {
  const { record } = fc.letrec((tie) => ({
    leaf: fc.oneof(
      text,
      fc.boolean(),
      fc.constant(null),
      fc.integer(),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
    ),
    list: fc.array(tie('node'), { maxLength: 20 }),
    record: fc.dictionary(
      key.map((name) => name.toWellFormed()),
      tie('node'),
      { maxKeys: 20, noNullPrototype: true },
    ),
    node: fc.oneof({ maxDepth: 3, depthSize: 'small' }, tie('leaf'), tie('list'), tie('record')),
  }));
  return record;
}

/** Through encoder and batch, as the bytes that a reader finds. */
function journalled(encode: Encode, record: unknown): Uint8Array {
  const value = encode(record);
  const target = Buffer.alloc(BATCH_HEADER_BYTES + Buffer.from(value as string).length + 64);
  const end = writeRecord(target, 0, target.length, 0, 0, value);
  const [read] = readRecords(target, 0, end);
  if (!read) throw new Error('not written');
  return read.value;
}

function plain(record: unknown): unknown {
  return JSON.parse(JSON.stringify(record));
}

/** Text that no UTF-8 can hold: replaced where the bytes are UTF-8 text, kept where JSON escapes it. */
function wellFormed(record: unknown): unknown {
  return JSON.parse(JSON.stringify(record), (_key, value: unknown) =>
    typeof value === 'string' ? value.toWellFormed() : value,
  );
}

describe.each(['json', 'msgpack'] satisfies Format[])('%s', (format) => {
  const encode = encoderFor(asIs, format);

  test('any record comes out of tail as one line of JSON that says the same', () => {
    fc.assert(
      fc.property(recordWith(anyText.map((text) => text.toWellFormed())), (record) => {
        const line = jsonOf(journalled(encode, record));
        expect(line).not.toContain('\n');
        expect(JSON.parse(line)).toEqual(plain(record));
      }),
      runs(500),
    );
  });

  test('lone surrogates come out as themselves or as U+FFFD, and nothing else changes', () => {
    fc.assert(
      fc.property(recordWith(anyText), (record) => {
        const line = jsonOf(journalled(encode, record));
        expect(wellFormed(JSON.parse(line))).toEqual(wellFormed(record));
      }),
      runs(500),
    );
  });
});

test('json is byte for byte what JSON.stringify gives', () => {
  const encode = encoderFor(asIs, 'json');
  fc.assert(
    fc.property(recordWith(anyText), (record) => {
      const bytes = Buffer.from(journalled(encode, record));
      expect(bytes.equals(Buffer.from(JSON.stringify(record)))).toBe(true);
    }),
    runs(300),
  );
});

test('msgpack is plain: maps, arrays, UTF-8 text and numbers that any reader knows', () => {
  const encode = encoderFor(asIs, 'msgpack');
  fc.assert(
    fc.property(recordWith(anyText.map((text) => text.toWellFormed())), (record) => {
      expect(plain(readMsgpack(journalled(encode, record)))).toEqual(plain(record));
    }),
    runs(500),
  );
});

test('msgpack is plain for text with lone surrogates, short or long', () => {
  const encode = encoderFor(asIs, 'msgpack');
  for (const times of [1, 10, 30, 100]) {
    const record = { agent: '\ud800'.repeat(times) };
    expect(readMsgpack(journalled(encode, record))).toEqual({ agent: '\ufffd'.repeat(times) });
  }
});
