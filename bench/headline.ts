// The few figures that somebody who reads nothing else should see.

import type { Outcome } from './entry.ts';
import { kindOf } from './kinds.ts';
import type { Results } from './results.ts';
import { latencyRatio, outageRatio, summarize } from './summary.ts';
import { verdict } from './tables.ts';

export interface Headline {
  figure: string;
  what: string;
  broken?: boolean;
}

export function headline(results: Results): Headline[] {
  return [...cost(results), ...latency(results), ...outage(results), ...records(results)];
}

function ours<Row extends { variant: string }>(rows: readonly Row[]): Row[] {
  return rows.filter(({ variant }) => variant === 'ours');
}

function times(ratio: number | null, what: string): Headline[] {
  return ratio === null ? [] : [{ figure: `${ratio.toFixed(2)} ×`, what }];
}

function cost({ sections }: Results): Headline[] {
  const rows = sections.bursts?.rows ?? [];
  return ours(rows).flatMap((row) => {
    const summary = summarize(row, rows);
    if (!summary) return [];
    const rate = Math.round(summary.requestsPerSecond).toLocaleString('en');
    return [
      { figure: `${summary.cpuUs.toFixed(2)} µs`, what: 'of CPU for a request with its record' },
      ...times(summary.ratio, 'bare Bun.serve without a log'),
      { figure: rate, what: 'requests a second on one core' },
    ];
  });
}

function latency({ sections }: Results): Headline[] {
  const rows = sections.latency?.rows ?? [];
  return ours(rows).flatMap((row) => times(latencyRatio(row, rows), 'bare’s p99 at half load'));
}

function outage({ sections }: Results): Headline[] {
  const rows = sections.outage?.rows ?? [];
  const what = 'bare’s p99 while Kafka is down';
  return ours(rows).flatMap((row) => times(outageRatio(row, rows, 'down'), what));
}

function records({ sections }: Results): Headline[] {
  const own = Object.values(sections)
    .flatMap(({ rows }) => [...rows] as Partial<Outcome>[])
    .filter(({ variant, delivery }) => delivery !== undefined && kindOf(variant ?? '') === 'ours')
    // The steps towards hoplog log nothing.
    .filter(({ delivery }) => delivery !== 'no log');
  if (own.length === 0) return [];
  const broken = own.filter((row) => verdict(row as Outcome) !== 'all');
  if (broken.length === 0) return [{ figure: 'all', what: 'records of hoplog in Kafka, once' }];
  const figure = `${broken.length} of ${own.length}`;
  return [{ figure, what: 'runs of hoplog failed, lost or doubled', broken: true }];
}
