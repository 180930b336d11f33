// For any number and any bytes: varints read back what was written, take the bytes they should, and
// never throw or run over; the word hash does not care how its words were divided.

import { expect, setDefaultTimeout, test } from 'bun:test';
import * as fc from 'fast-check';
import {
  foldWord,
  foldWords,
  HASH_SEED,
  VarintReader,
  varintBytes,
  writeVarint,
} from '../../src/bytes.ts';
import { PROPERTY_MAX_MS, runs } from '../support/properties.ts';

setDefaultTimeout(PROPERTY_MAX_MS);

const int32 = fc.oneof(fc.integer(), fc.integer({ min: -70_000, max: 70_000 }));

/** Seven bits a byte of the zigzag code, by the definition. */
function canonicalBytes(value: number): number {
  const zigzag = value < 0 ? -2n * BigInt(value) - 1n : 2n * BigInt(value);
  return Math.max(1, Math.ceil(zigzag.toString(2).length / 7));
}

test('any int32 reads back, in the fewest bytes possible, with nothing written around it', () => {
  fc.assert(
    fc.property(int32, fc.nat(9), (value, at) => {
      const target = new Uint8Array(24).fill(0xee);
      const end = writeVarint(target, at, value);
      const reader = new VarintReader(target, at, end);
      expect(reader.read()).toBe(value);
      expect([reader.torn, reader.position]).toEqual([false, end]);
      expect([end - at, varintBytes(value)]).toEqual([
        canonicalBytes(value),
        canonicalBytes(value),
      ]);
      expect(target.every((byte, index) => (index >= at && index < end) || byte === 0xee)).toBe(
        true,
      );
    }),
    runs(20_000),
  );
});

test('any row of numbers reads back, and cut anywhere gives a part of it and then torn', () => {
  fc.assert(
    fc.property(fc.array(int32, { minLength: 1, maxLength: 20 }), fc.nat(), (values, seed) => {
      const target = new Uint8Array(100);
      const end = values.reduce((at, value) => writeVarint(target, at, value), 0);
      const cut = seed % (end + 1);
      const reader = new VarintReader(target, 0, cut);
      const read: number[] = [];
      for (let value = reader.read(); !reader.torn; value = reader.read()) read.push(value);
      expect(read).toEqual(values.slice(0, read.length));
      expect(reader.position).toBe(cut);
      if (cut === end) expect(read).toHaveLength(values.length);
    }),
    runs(3000),
  );
});

test('any bytes at all are read without a throw and not past their end', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(50), fc.nat(50), (bytes, at, end) => {
      const limit = Math.min(end, bytes.length);
      const reader = new VarintReader(bytes, at, limit);
      while (!reader.torn) {
        const value = reader.read();
        expect(value).toBe(value | 0);
        expect(reader.position).toBeLessThanOrEqual(Math.max(at, limit));
      }
    }),
    runs(5000),
  );
});

test('words hashed in any two parts, or one by one, give the same hash', () => {
  fc.assert(
    fc.property(fc.int32Array({ maxLength: 60 }), fc.nat(), fc.integer(), (words, seed, start) => {
      const middle = seed % (words.length + 1);
      const whole = foldWords(start, words, 0, words.length);
      expect(foldWords(foldWords(start, words, 0, middle), words, middle, words.length)).toBe(
        whole,
      );
      expect(words.reduce(foldWord, start)).toBe(whole);
    }),
    runs(2000),
  );
});

test('any words with one of them changed have another hash', () => {
  fc.assert(
    fc.property(
      fc.int32Array({ minLength: 1, maxLength: 60 }),
      fc.nat(),
      fc.integer({ min: 1, max: 0xffffffff }),
      (words, seed, change) => {
        const changed = words.slice();
        changed[seed % words.length]! ^= change;
        const hashOf = (some: Int32Array): number => foldWords(HASH_SEED, some, 0, some.length);
        expect(hashOf(changed)).not.toBe(hashOf(words));
      },
    ),
    runs(2000),
  );
});
