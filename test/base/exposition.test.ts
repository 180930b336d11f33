// Metrics become text that Prometheus can read, line by line; of several processes one text, in which each
// value is what its family makes of theirs; and what an ended process leaves is what it counted.

import { expect, test } from 'bun:test';
import {
  countedIn,
  exposition,
  type Family,
  mergeReports,
  readMetrics,
} from '../../src/exposition.ts';
import { Histogram } from '../../src/histogram.ts';
import { readExposition } from '../support/exposition.ts';

function family(name: string, of: Partial<Family> & Pick<Family, 'read'>): Family {
  return { name, help: `Of ${name}`, type: 'counter', aggregator: 'sum', ...of };
}

function histogramOf(...values: number[]): Histogram {
  const histogram = new Histogram([1, 10]);
  for (const value of values) histogram.observe(value);
  return histogram;
}

test('a number, labelled numbers and none at all are whole families', async () => {
  const text = await exposition([
    readMetrics([
      family('a_total', { read: () => 1 }),
      family('b_total', {
        read: () => [
          [{ status: 200, why: 'a "quoted" \\ two\nlined reason' }, 2],
          [{ status: 500, why: '' }, 0.5],
        ],
      }),
      family('c_total', { read: () => [] }),
    ]),
  ]);
  const metrics = readExposition(text);
  expect([...metrics.keys()]).toEqual(['a_total', 'b_total', 'c_total']);
  expect(metrics.get('a_total')).toMatchObject({ help: 'Of a_total', type: 'counter' });
  expect(text).toContain('\na_total 1\n');
  expect(text).toContain(
    '\nb_total{status="200",why="a \\"quoted\\" \\\\ two\\nlined reason"} 2\n',
  );
  expect(text).toContain('\nb_total{status="500",why=""} 0.5\n');
});

test('a histogram is cumulative, and whole before its first value', async () => {
  for (const [histogram, buckets, sum] of [
    [histogramOf(0.5, 1, 2, 100), [2, 3, 4], 103.5],
    [histogramOf(), [0, 0, 0], 0],
  ] as const) {
    const read = () => histogram;
    const text = await exposition([readMetrics([family('h', { type: 'histogram', read })])]);
    const { samples } = readExposition(text).get('h')!;
    expect([...samples]).toEqual([
      ['h_bucket{le="1"}', buckets[0]],
      ['h_bucket{le="10"}', buckets[1]],
      ['h_bucket{le="+Inf"}', buckets[2]],
      ['h_sum', sum],
      ['h_count', buckets[2]],
    ]);
  }
});

test('several processes are summed, or the largest or smallest of them, series by series', async () => {
  const reportOf = (value: number, label: string) =>
    readMetrics([
      family('sum_total', {
        read: () => [
          [{ label: 'both' }, value],
          [{ label }, value],
        ],
      }),
      family('max', { type: 'gauge', aggregator: 'max', read: () => value }),
      family('min', { type: 'gauge', aggregator: 'min', read: () => value }),
      family('h', { type: 'histogram', read: () => histogramOf(value) }),
    ]);
  const reports = [reportOf(1, 'one'), reportOf(5, 'five')];
  for (const text of [
    await exposition(reports),
    // As it comes over a channel, and merged before.
    await exposition([structuredClone(await mergeReports(structuredClone(reports)))]),
  ]) {
    const samples = [...readExposition(text).values()].flatMap((metric) => [...metric.samples]);
    expect(Object.fromEntries(samples)).toEqual({
      'sum_total{label="both"}': 6,
      'sum_total{label="one"}': 1,
      'sum_total{label="five"}': 5,
      max: 5,
      min: 1,
      'h_bucket{le="1"}': 1,
      'h_bucket{le="10"}': 2,
      'h_bucket{le="+Inf"}': 2,
      h_sum: 6,
      h_count: 2,
    });
  }
});

test('questions at the same time get whole answers', async () => {
  const report = readMetrics([family('a_total', { read: () => 1 })]);
  const texts = await Promise.all([1, 2, 3].map(() => exposition([report, report])));
  expect(new Set(texts).size).toBe(1);
  expect(readExposition(texts[0]!).get('a_total')?.samples.get('a_total')).toBe(2);
});

test('an ended process leaves its counters and histograms, not its gauges', () => {
  const report = readMetrics([
    family('a_total', { read: () => 1 }),
    family('g', { type: 'gauge', read: () => 2 }),
    family('h', { type: 'histogram', read: () => histogramOf(3) }),
  ]);
  expect(countedIn(report).map(({ name }) => name)).toEqual(['a_total', 'h']);
});
