// Records named by their sequence numbers: one run for a batch as it should be, several where it has
// holes or more than one boot, none invented and none left out; records without an id are a number only.

import { expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { knownRanges } from '../../src/record/known-ranges.ts';
import { runs } from '../support/properties.ts';

const [BOOT, OTHER] = ['0123456789abcdef', 'fedcba9876543210'];

function click(bootId: string, sequence: number): Uint8Array {
  return Buffer.from(JSON.stringify({ id: `${bootId}-${sequence}`, path: '/' }));
}

function clicks(bootId: string, ...sequences: readonly number[]): Uint8Array[] {
  return sequences.map((sequence) => click(bootId, sequence));
}

test('a batch of one boot is one range', () => {
  expect(knownRanges(clicks(BOOT, 7, 8, 9))).toEqual([
    { bootId: BOOT, firstSequence: 7, lastSequence: 9, count: 3 },
  ]);
});

test('a hole, or another boot, begins a new range', () => {
  const values = [...clicks(BOOT, 1, 2, 5), ...clicks(OTHER, 6, 7)];
  expect(knownRanges(values)).toEqual([
    { bootId: BOOT, firstSequence: 1, lastSequence: 2, count: 2 },
    { bootId: BOOT, firstSequence: 5, lastSequence: 5, count: 1 },
    { bootId: OTHER, firstSequence: 6, lastSequence: 7, count: 2 },
  ]);
});

test('records without an id, and bytes that are no record, are counted', () => {
  const seed = Buffer.from('{"runtime_param":"runtimeDataString"}');
  expect(knownRanges([seed, Buffer.from([0xc1]), Buffer.from('{')])).toEqual([{ count: 3 }]);
  expect(knownRanges([])).toEqual([]);
});

test('whatever is missing in a batch, each of its records is in exactly one range', () => {
  const steps = fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 40 });
  fc.assert(
    fc.property(steps, (each) => {
      let sequence = 0;
      const sequences = each.map((step) => (sequence += step));
      const named = knownRanges(clicks(BOOT, ...sequences)).flatMap(
        ({ firstSequence = 0, count }) =>
          Array.from({ length: count }, (_, index) => firstSequence + index),
      );
      expect(named).toEqual(sequences);
    }),
    runs(200),
  );
});
