// A histogram knows of each value in which range it was, bounds included, and the sum of all. How it
// looks as text: exposition.test.ts.

import { expect, test } from 'bun:test';
import { Histogram } from '../../src/histogram.ts';

test('a value is in the first range whose bound is not below it, or above the last', () => {
  const histogram = new Histogram([0.01, 1, 2]);
  for (const value of [0, 0.01, 0.011, 1, 1.5, 2, 2.001, 1e9]) histogram.observe(value);
  expect([...histogram.counts]).toEqual([2, 2, 2, 2]);
  expect(histogram.sum).toBeCloseTo(1e9 + 6.522, 3);
});

test('without bounds all are in one range', () => {
  const histogram = new Histogram([]);
  for (const value of [-1, 7]) histogram.observe(value);
  expect([[...histogram.counts], histogram.sum]).toEqual([[2], 6]);
});
