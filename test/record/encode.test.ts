// From a completed record to the bytes of a Kafka record: JSON or plain msgpack maps; and what no
// record can be (a promise, nothing) is a TypeError rather than a wrong record. Any record at all:
// test/property/record-format.test.ts.

import { describe, expect, test } from 'bun:test';
import { encoderFor, type Format } from '../../src/record/encode.ts';
import type { RecordKind } from '../../src/record/record-kind.ts';
import { failureOf } from '../support/failure-of.ts';
import { readMsgpack } from '../support/msgpack.ts';

function kindOf(complete: (captured: unknown) => unknown): RecordKind<unknown> {
  return { capture: () => undefined, complete };
}

const RECORD = { a: 1, b: ['é', null, true], c: { d: -1.5, e: '😀' } };

test('json is JSON.stringify of the record', () => {
  const encode = encoderFor(
    kindOf((captured) => ({ captured })),
    'json',
  );
  expect(encode(RECORD)).toBe(JSON.stringify({ captured: RECORD }));
});

test('msgpack is plain maps that any reader reads, record after record', () => {
  const encode = encoderFor(
    kindOf((captured) => captured),
    'msgpack',
  );
  // msgpackr's own extension would name the fields in the first record only.
  for (let times = 3; times > 0; times--) {
    expect(readMsgpack(encode(RECORD) as Uint8Array)).toEqual(RECORD);
  }
});

test('a field that is undefined is no extension that other readers do not know', () => {
  const encode = encoderFor(
    kindOf(() => ({ a: 1, b: undefined, c: [undefined] })),
    'msgpack',
  );
  expect(readMsgpack(encode(1) as Uint8Array)).toMatchObject({ a: 1, c: [null] });
});

test('a kind’s own JSON is used for json, and not for msgpack', () => {
  const kind: RecordKind<unknown> = {
    ...kindOf(() => ({ slow: true })),
    completeJson: () => '{"fast":true}',
  };
  expect(encoderFor(kind, 'json')(1)).toBe('{"fast":true}');
  expect(readMsgpack(encoderFor(kind, 'msgpack')(1) as Uint8Array)).toEqual({ slow: true });
});

test('a kind’s functions may use `this`', () => {
  const kind = {
    capture: () => undefined,
    word: 'mine',
    complete(): unknown {
      return this.word;
    },
    completeJson(): string {
      return `"${this.word}"`;
    },
  };
  expect(encoderFor(kind, 'json')(1)).toBe('"mine"');
  expect(readMsgpack(encoderFor(kind, 'msgpack')(1) as Uint8Array)).toBe('mine');
});

for (const format of ['json', 'msgpack'] as Format[]) {
  describe(format, () => {
    test('a promise is a TypeError that says what to return', () => {
      const encode = encoderFor(
        kindOf(async () => RECORD),
        format,
      );
      expect(() => encode(1)).toThrow(TypeError);
      expect(() => encode(1)).toThrow('must return the record itself');
    });

    test('a promise that fails is a TypeError too, and no unhandled rejection', async () => {
      const encode = encoderFor(
        kindOf(() => Promise.reject(new Error('its own failure'))),
        format,
      );
      // Not by toThrow: it hides from the run the rejection that would fail it.
      expect(await failureOf(() => encode(1))).toBeInstanceOf(TypeError);
    });

    test('nothing at all is a TypeError', () => {
      const encode = encoderFor(
        kindOf(() => undefined),
        format,
      );
      expect(() => encode(1)).toThrow(TypeError);
    });

    test('what complete() throws comes through', () => {
      const encode = encoderFor(
        kindOf(() => {
          throw new RangeError('mine');
        }),
        format,
      );
      expect(() => encode(1)).toThrow(new RangeError('mine'));
    });
  });
}

for (const nothing of [() => 1, Symbol('x')]) {
  test(`json of ${typeof nothing} is a TypeError: JSON has no such thing`, () => {
    const encode = encoderFor(
      kindOf(() => nothing),
      'json',
    );
    expect(() => encode(1)).toThrow('complete() returned nothing that JSON can hold');
  });
}

test('json of a cycle or a bigint is the error of JSON.stringify', () => {
  const cycle: Record<string, unknown> = {};
  cycle['self'] = cycle;
  for (const record of [cycle, { big: 1n }]) {
    const encode = encoderFor(
      kindOf(() => record),
      'json',
    );
    expect(() => encode(1)).toThrow(TypeError);
  }
});
