// Arbitraries for what clients and record modules may put into a record.

import * as fc from 'fast-check';

/** Any UTF-16 units, so lone surrogates in any place too. */
const anyUnits: fc.Arbitrary<string> = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 40 })
  .map((units) => String.fromCharCode(...units));

const surrogates: fc.Arbitrary<string> = fc
  .array(fc.constantFrom('\ud83d', '\ude00', 'a', 'é', '漢'), { maxLength: 12 })
  .map((parts) => parts.join(''));

/** One character so often that its UTF-8 needs a longer varint than its UTF-16 length. */
const longRuns: fc.Arbitrary<string> = fc
  .tuple(fc.constantFrom('a', 'é', '漢', '👩', '\udc00'), fc.integer({ min: 0, max: 9000 }))
  .map(([character, times]) => character.repeat(times));

/** Text of all kinds, lone surrogates among it. */
export const anyText: fc.Arbitrary<string> = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  anyUnits,
  surrogates,
);

export const anyValue: fc.Arbitrary<string | Uint8Array> = fc.oneof(
  { weight: 6, arbitrary: anyText },
  { weight: 1, arbitrary: longRuns },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 300 }) },
);
