// What must hold, in one table: `--budget` judges a result by it. All limits are ratios within one run or
// far from what a machine decides; a figure that was not measured is said so and breaks nothing.

import type { ModeName, Results } from './results.ts';
import { cpuRatio, floor, latencyRatio, outageRatio, summarize } from './summary.ts';

export interface Budget {
  variant: string;
  measure: string;
  /** The greatest value that is allowed; for `atLeast` the smallest. */
  limit: number;
  atLeast?: true;
  unit: string;
  /** Who asks for it. */
  source: string;
  /** Which mode measures it. */
  mode: ModeName;
  /** Null = not measured. */
  valueOf(results: Results): number | null;
}

export interface Verdict {
  budget: Budget;
  value: number | null;
  kept: boolean | null;
}

const GOAL = 'goal';
/** Everything in Bun, Node or Go that anyone would pick instead. */
const rivals = [
  'bun-kafkajs',
  'bun-hono-kafkajs',
  'node-http-kafkajs',
  'node-http-librdkafka',
  'node-fastify-platformatic',
  'go-net-http',
  'go-fasthttp',
];

function cpu(variant: string, reference: string, limit: number, source = GOAL): Budget {
  return {
    variant,
    measure: `CPU a request ÷ ${reference}`,
    limit,
    unit: '×',
    source,
    mode: 'bursts',
    valueOf: ({ sections }) => cpuRatio(sections.bursts?.rows ?? [], variant, reference),
  };
}

/** One figure of `ours` in a section. */
function figure<Row extends { variant: string }>(
  budget: Omit<Budget, 'variant' | 'valueOf' | 'source'> & { source?: string },
  rowsOf: (sections: Results['sections']) => readonly Row[] | undefined,
  valueOf: (row: Row, rows: readonly Row[]) => number | null | undefined,
): Budget {
  const variant = 'ours';
  return {
    source: GOAL,
    ...budget,
    variant,
    valueOf: ({ sections }) => {
      const rows = rowsOf(sections) ?? [];
      const row = rows.find((row) => row.variant === variant);
      return (row && valueOf(row, rows)) ?? null;
    },
  };
}

export const budgets: readonly Budget[] = [
  cpu('ours', floor, 1.2),
  cpu('ours', 'bare-ip', 1.06),
  cpu('ours-click', floor, 1.5),
  ...rivals.map((rival) => cpu('ours', rival, 1)),
  figure(
    {
      measure: 'requests a second on a core',
      limit: 15_000,
      atLeast: true,
      unit: '/s',
      mode: 'bursts',
    },
    ({ bursts }) => bursts?.rows,
    (row, rows) => summarize(row, rows)?.requestsPerSecond,
  ),
  {
    variant: 'ours-2-workers',
    measure: 'CPU a request ÷ ours',
    limit: 1.05,
    unit: '×',
    source: 'N processes cost N times one',
    mode: 'workers',
    valueOf: ({ sections }) => cpuRatio(sections.workers?.rows ?? [], 'ours-2-workers', 'ours'),
  },
  figure(
    { measure: 'p99 at half load ÷ bare', limit: 1.1, unit: '×', mode: 'latency' },
    ({ latency }) => latency?.rows,
    latencyRatio,
  ),
  figure(
    { measure: 'p99 while Kafka is down ÷ bare', limit: 1.1, unit: '×', mode: 'outage' },
    ({ outage }) => outage?.rows,
    (row, rows) => outageRatio(row, rows, 'down'),
  ),
  figure(
    { measure: 'CPU a record shipped', limit: 1, unit: 'µs', mode: 'shipping' },
    ({ shipping }) => shipping?.rows,
    ({ cpuUsPerRecord }) => cpuUsPerRecord,
  ),
  figure(
    { measure: 'anonymous memory, last third ÷ first', limit: 1.1, unit: '×', mode: 'memory' },
    ({ memory }) => memory?.rows,
    ({ first, last }) => last.anonMiB / first.anonMiB,
  ),
  figure(
    { measure: 'CPU while idle', limit: 0.5, unit: '% of a core', mode: 'idle' },
    ({ idle }) => idle?.rows,
    ({ cpuPercent }) => cpuPercent,
  ),
  figure(
    { measure: 'serves again with its backlog', limit: 1_000, unit: 'ms', mode: 'backlog' },
    ({ backlog }) => backlog?.rows,
    ({ servingMs }) => servingMs,
  ),
  figure(
    { measure: 'CPU a request, all backlog ÷ none', limit: 1.1, unit: '×', mode: 'backlog' },
    ({ backlog }) => backlog?.rows,
    ({ steps }) => {
      const [none, all] = [steps[0], steps.at(-1)].map((step) => step?.rounds[0]?.cpuUsPerRequest);
      return none === undefined || all === undefined || steps.length < 2 ? null : all / none;
    },
  ),
];

/** For a minute on a machine of which nothing is known: limits wide enough for its noise. */
export const shortBudgets: readonly Budget[] = [
  cpu('ours', floor, 2, 'the goal of 1.2, and room for noise'),
  cpu('ours', 'bun-kafkajs', 1, 'the goal'),
];

export function judge(results: Results, table: readonly Budget[]): Verdict[] {
  return table.map((budget) => {
    const value = budget.valueOf(results);
    if (value === null || !Number.isFinite(value)) return { budget, value: null, kept: null };
    const kept = budget.atLeast ? value >= budget.limit : value <= budget.limit;
    return { budget, value, kept };
  });
}
