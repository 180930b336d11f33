// Proves the way back from a record's bytes: both formats are told apart, an id is found where there is
// one, and bytes that are no record at all are no id rather than an error.

import { describe, expect, test } from 'bun:test';
import { click } from '../../src/record/click.ts';
import { jsonOf, recordIdOf } from '../../src/record/decode.ts';
import { encoderFor, type Format } from '../../src/record/encode.ts';

const ID = '00ff00ff00ff00ff-42';

function encoded(record: unknown, format: Format): Uint8Array {
  const kind = { capture: () => record, complete: () => record };
  const value = encoderFor(kind, format)(record);
  return typeof value === 'string' ? Buffer.from(value) : (value as Uint8Array);
}

describe.each(['json', 'msgpack'] as const)('%s', (format) => {
  test('a record comes back as JSON', () => {
    const record = { id: ID, text: 'ü', list: [1, null] };
    expect(JSON.parse(jsonOf(encoded(record, format)))).toEqual(record);
  });

  test('a click has its boot id and sequence', () => {
    const captured = { id: ID, time: 0, url: '/', host: '', user_agent: '', referer: '' };
    const record = click.complete(captured as Parameters<typeof click.complete>[0]);
    expect(recordIdOf(encoded(record, format))).toEqual({
      bootId: '00ff00ff00ff00ff',
      sequence: 42,
    });
  });

  test.each([
    {},
    { id: 42 },
    { id: '42' },
    { id: '00ff00ff00ff00ff-0' },
    { id: '00FF00ff00ff00ff-1' },
    null,
  ])('%j has none', (record) => {
    expect(recordIdOf(encoded(record, format))).toBeUndefined();
  });
});

test.each([[], [0x7b], [0xc1], [0x81, 0xa2]].map((bytes) => Uint8Array.from(bytes)))(
  'the bytes %p are no record and have no id',
  (bytes) => {
    expect(recordIdOf(bytes)).toBeUndefined();
  },
);
