// Proves the byte arithmetic below everything else: varints are spelled as Kafka spells them, torn
// input is said and never thrown, the word hash notices any change, crc32c is Kafka's polynomial.

import { describe, expect, test } from 'bun:test';
import {
  crc32c,
  foldBytes,
  foldWord,
  foldWords,
  HASH_SEED,
  VarintReader,
  varintBytes,
  writeVarint,
} from '../../src/bytes.ts';

const INT32_MIN = -(2 ** 31);
const INT32_MAX = 2 ** 31 - 1;

function encode(value: number): Buffer {
  const target = Buffer.alloc(16, 0xaa);
  const end = writeVarint(target, 3, value);
  expect(target.subarray(0, 3)).toEqual(Buffer.alloc(3, 0xaa));
  expect(target.subarray(end)).toEqual(Buffer.alloc(16 - end, 0xaa));
  return target.subarray(3, end);
}

describe('varints', () => {
  // Zigzag, then base 128 with the lowest group first: Kafka's ByteUtils.writeVarint.
  const SPELLED: readonly (readonly [value: number, hex: string])[] = [
    [0, '00'],
    [-1, '01'],
    [1, '02'],
    [63, '7e'],
    [-64, '7f'],
    [64, '8001'],
    [-65, '8101'],
    [8191, 'fe7f'],
    [-8192, 'ff7f'],
    [8192, '808001'],
    [1_048_575, 'feff7f'],
    [1_048_576, '80808001'],
    [134_217_727, 'feffff7f'],
    [-134_217_728, 'ffffff7f'],
    [134_217_728, '8080808001'],
    [INT32_MAX, 'feffffff0f'],
    [INT32_MIN, 'ffffffff0f'],
  ];

  test.each(SPELLED)('%d is spelled as Kafka spells it: %s', (value, hex) => {
    expect(encode(value).toString('hex')).toBe(hex);
    expect(varintBytes(value)).toBe(hex.length / 2);
  });

  test('every value of up to three bytes reads back, and takes the bytes that were announced', () => {
    const target = new Uint8Array(8);
    for (let value = -(2 ** 20); value < 2 ** 20; value++) {
      const end = writeVarint(target, 0, value);
      const reader = new VarintReader(target, 0, end);
      // Plain comparisons: two million calls of `expect` take a minute.
      const sound = reader.read() === value && !reader.torn && reader.position === end;
      if (!sound || varintBytes(value) !== end) throw new Error(`${value} does not read back`);
    }
  });

  test('every value around a power of two reads back', () => {
    for (let bit = 0; bit < 32; bit++) {
      for (let near = -3; near <= 3; near++) {
        for (const sign of [1, -1]) {
          const value = Math.max(INT32_MIN, Math.min(INT32_MAX, sign * 2 ** bit + near));
          const bytes = encode(value);
          expect(new VarintReader(bytes, 0, bytes.length).read()).toBe(value);
          expect(varintBytes(value)).toBe(bytes.length);
        }
      }
    }
  });

  test('values that follow each other are read one after the other', () => {
    const values = [0, -1, 300, INT32_MIN, 5];
    const bytes = Buffer.concat(values.map(encode));
    const reader = new VarintReader(bytes, 0, bytes.length);
    expect(values.map(() => reader.read())).toEqual(values);
    expect(reader).toMatchObject({ torn: false, position: bytes.length });
  });

  test('a value cut off anywhere is torn, reads as 0 and is not read past the end', () => {
    for (const [value] of SPELLED) {
      const bytes = encode(value);
      for (let end = 0; end < bytes.length; end++) {
        const reader = new VarintReader(bytes, 0, end);
        expect(reader.read()).toBe(0);
        expect(reader).toMatchObject({ torn: true, position: end });
      }
    }
  });

  test('more than five bytes are no varint of 32 bits, and torn stays torn', () => {
    const bytes = Buffer.from('80808080800102', 'hex');
    const reader = new VarintReader(bytes, 0, bytes.length);
    expect(reader.read()).toBe(0);
    expect(reader.torn).toBe(true);
    reader.read();
    expect(reader.torn).toBe(true);
  });

  test('a reader that starts behind the end is torn at once', () => {
    const reader = new VarintReader(Buffer.from('02', 'hex'), 9, 1);
    expect([reader.read(), reader.torn]).toEqual([0, true]);
  });
});

describe('word hash', () => {
  const words = Int32Array.from({ length: 64 }, (_, index) => Math.imul(index + 1, 0x9e3779b1));

  test('many words at once give the hash of one word after the other', () => {
    for (let from = 0; from < words.length; from += 7) {
      for (let to = from; to <= words.length; to++) {
        const oneByOne = words.subarray(from, to).reduce(foldWord, HASH_SEED);
        expect(foldWords(HASH_SEED, words, from, to)).toBe(oneByOne);
      }
    }
  });

  test('two halves hashed in turn give the hash of the whole', () => {
    const half = foldWords(HASH_SEED, words, 0, 31);
    expect(foldWords(half, words, 31, 64)).toBe(foldWords(HASH_SEED, words, 0, 64));
  });

  test('bytes are mixed in one by one', () => {
    const bytes = Buffer.from('placement');
    const oneByOne = bytes.subarray(2, 7).reduce(foldWord, HASH_SEED);
    expect(foldBytes(HASH_SEED, bytes, 2, 7)).toBe(oneByOne);
  });

  test('an empty range leaves the hash as it was', () => {
    expect(foldWords(7, words, 5, 5)).toBe(7);
    expect(foldBytes(7, Buffer.from('x'), 1, 1)).toBe(7);
  });

  test('any flipped bit changes the hash', () => {
    const intact = foldWords(HASH_SEED, words, 0, words.length);
    for (let bit = 0; bit < words.length * 32; bit++) {
      const flipped = words.slice();
      flipped[bit >> 5]! ^= 1 << (bit & 31);
      expect(foldWords(HASH_SEED, flipped, 0, flipped.length)).not.toBe(intact);
    }
  });

  test('two words that changed places change the hash', () => {
    const swapped = words.slice();
    swapped.set([words[9]!, words[8]!], 8);
    expect(foldWords(HASH_SEED, swapped, 0, 64)).not.toBe(foldWords(HASH_SEED, words, 0, 64));
  });
});

describe('crc32c', () => {
  test('gives the check value of the Castagnoli polynomial', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });

  test('gives the vectors of RFC 3720', () => {
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
    expect(crc32c(Buffer.from(Array.from({ length: 32 }, (_, index) => index)))).toBe(0x46dd794e);
  });
});
