// The probe record: one field in either format, and told apart from clicks, seed records and whatever
// else a topic may hold.

import { expect, test } from 'bun:test';
import { jsonOf } from '../../src/record/decode.ts';
import { isProbe, probeValue } from '../../src/record/probe.ts';

for (const format of ['json', 'msgpack'] as const) {
  test(`${format}: one field, known again`, () => {
    const bytes = Buffer.from(probeValue('me', format) as string | Uint8Array);
    expect(jsonOf(bytes)).toBe('{"hoplog_probe":"me"}');
    expect(isProbe(bytes)).toBe(true);
  });
}

test('nothing else is one', () => {
  const others = ['{"id":"7aa7e7a24e5ae23d-1"}', '{"runtime_param":"hoplog_probe"}', '', 'no JSON'];
  for (const text of others) expect(isProbe(Buffer.from(text))).toBe(false);
  expect(isProbe(Buffer.from([0xc1, 0xff]))).toBe(false);
});
