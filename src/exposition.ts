// Metrics as data and as Prometheus text. A process reads its own into a report, a plain value that fits
// into a message; reports of several processes are merged by prom-client, which also writes the text. It
// is loaded at the first question only: a process without a descriptor left cannot, and the next
// question tries again.

import type { Aggregator } from 'prom-client';
import type { Histogram } from './histogram.ts';

type Labels = Readonly<Record<string, string | number>>;
export type Labelled = [labels: Labels, value: number];

/** A metric and how to read it. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** What becomes of the values of several processes. */
  readonly aggregator: Extract<Aggregator, 'sum' | 'min' | 'max'>;
  readonly read: () => number | readonly Labelled[] | Histogram;
}

interface Sample {
  readonly labels: Labels;
  readonly value: number;
  /** Where it is not the family's: `_bucket`, `_sum`, `_count` of a histogram. */
  readonly metricName?: string;
}

type Reading = Omit<Family, 'read'> & { readonly values: readonly Sample[] };

/** All metrics of a process at one moment. */
export type MetricsReport = readonly Reading[];

export function readMetrics(families: readonly Family[]): MetricsReport {
  return families.map(({ read, ...family }) => ({
    ...family,
    values: samplesOf(family.name, read()),
  }));
}

/** Several processes as if they were one. */
export async function mergeReports(reports: readonly MetricsReport[]): Promise<MetricsReport> {
  const registry = await registryOf(reports);
  return (await registry.getMetricsAsJSON()) as unknown as MetricsReport;
}

/** The text of several processes as if they were one. */
export async function exposition(reports: readonly MetricsReport[]): Promise<string> {
  const registry = await registryOf(reports);
  return registry.metrics();
}

/** What is left of a process that has ended: what was counted must not fall. */
export function countedIn(report: MetricsReport): MetricsReport {
  return report.filter(({ type }) => type !== 'gauge');
}

async function registryOf(reports: readonly MetricsReport[]) {
  const { AggregatorRegistry } = await import('prom-client');
  return AggregatorRegistry.aggregate(reports.map((report) => [...report]));
}

function samplesOf(name: string, value: ReturnType<Family['read']>): Sample[] {
  if (typeof value === 'number') return [{ labels: {}, value }];
  if ('bounds' in value) return samplesOfHistogram(name, value);
  return value.map(([labels, one]) => ({ labels, value: one }));
}

/** Prometheus' buckets are cumulative. */
function samplesOfHistogram(name: string, { bounds, counts, sum }: Histogram): Sample[] {
  let count = 0;
  const buckets = [...counts].map((inRange, range): Sample => {
    count += inRange;
    return { metricName: `${name}_bucket`, labels: { le: bounds[range] ?? '+Inf' }, value: count };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels: {}, value: sum },
    { metricName: `${name}_count`, labels: {}, value: count },
  ];
}
