// Results to tables, as text and for the page. Every row is in them, also the one that failed or lost
// records, and says so.

import type { BurstRow } from './bursts.ts';
import type { Outcome } from './entry.ts';
import { type ConnectionsRow, connectionCounts } from './growth.ts';
import { loadShares } from './latency.ts';
import { type OutageRow, phases } from './outage.ts';
import type { Memory } from './proc.ts';
import type { ModeName, Results, Sections } from './results.ts';
import { median } from './statistics.ts';
import { steps } from './steps.ts';
import {
  cpuDifference,
  cpuRatio,
  cpuWith,
  floor,
  latencyRatio,
  medianLatencies,
  outageRatio,
  phaseLatency,
  summarize,
  workerShares,
} from './summary.ts';

/** Below this share of its core the server waited for wrk, or somebody else had the core. */
const saturatedShare = 0.9;
const NONE = '–';

export interface Table {
  title: string;
  head: string[];
  rows: string[][];
  /** What the figures mean. */
  legend: string;
  /** What must not be overlooked. */
  warnings: string[];
}

const builders: { [Mode in ModeName]: (section: Sections[Mode]) => Table[] } = {
  bursts: (section) => [burstTable(section)],
  workers: (section) => [workersTable(section)],
  steps: (section) => [stepsTable(section)],
  latency: (section) => [latencyTable(section)],
  outage: (section) => [outageTable(section)],
  connections: (section) => [connectionsTable(section)],
  backlog: (section) => [backlogTable(section)],
  memory: (section) => [memoryTable(section)],
  idle: (section) => [idleTable(section)],
  shipping: (section) => [shippingTable(section)],
};

export function tablesOf<Mode extends ModeName>(mode: Mode, section: Sections[Mode]): Table[] {
  return builders[mode](section);
}

export function allTables({ sections }: Results): { mode: ModeName; tables: Table[] }[] {
  const modes = Object.keys(builders) as ModeName[];
  return modes.flatMap((mode) => {
    const section = sections[mode];
    return section === undefined ? [] : [{ mode, tables: tablesOf(mode, section as never) }];
  });
}

export function asText({ title, head, rows, legend, warnings }: Table): string {
  const widths = head.map((cell, column) =>
    Math.max(cell.length, ...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  const lines = [head, ...rows].map((cells) =>
    cells
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
  return [title, '', ...lines, ...(legend === '' ? [] : ['', legend]), ...warnings].join('\n');
}

function fixed(value: number | null | undefined, digits = 0): string {
  return value === null || value === undefined ? NONE : value.toFixed(digits);
}

/** What became of the records, in a word; in capitals what should not have been. */
export function verdict({ failure, delivery }: Pick<Outcome, 'failure' | 'delivery'>): string {
  const words = failure === null ? [] : ['FAILED'];
  if (delivery === 'lost' || delivery === 'doubled') words.push(delivery.toUpperCase());
  else if (delivery !== null) words.push(delivery);
  return words.join(', ');
}

function accountCells(row: Outcome): string[] {
  return [`${row.answered}`, `${row.records ?? NONE}`, verdict(row)];
}

function accountWarnings(rows: readonly Outcome[]): string[] {
  return rows.flatMap((row) => {
    const { variant, failure, delivery, records, answered, unknown } = row;
    return [
      ...(failure === null ? [] : [`${variant} failed: ${failure}`]),
      ...(delivery === 'lost' || delivery === 'doubled'
        ? [
            `${variant}: ${records} records for ${answered} answers seen and at most ${unknown} ` +
              'more not waited for',
          ]
        : []),
    ];
  });
}

type Bursts = Sections['bursts'];

function burstTable({ rounds, seconds, load, rows }: Bursts): Table {
  return {
    title: `${rounds} bursts of ${seconds} s each in turn, ${load}, acks=all`,
    head: ['variant', 'µs/req', 'min–max', 'IQR', '× bare', 'req/s', 'core', 'peak', 'anon'].concat(
      ['B/rec', 'answered', 'in Kafka', 'records'],
    ),
    rows: rows.map((row) => burstCells(row, rows)),
    legend:
      'µs/req: CPU of the server, all processes and threads, median of the bursts. core: share of its core ' +
      'during a burst. peak (VmHWM) and anon (RssAnon right after a burst): MiB. B/rec: bytes of a record ' +
      'in Kafka.',
    warnings: [...accountWarnings(rows), ...rows.flatMap((row) => burstWarnings(row, rows))],
  };
}

function burstCells(row: BurstRow, rows: readonly BurstRow[]): string[] {
  const summary = summarize(row, rows);
  return [
    row.variant,
    fixed(summary?.cpuUs, 2),
    summary ? `${summary.cpuUsMin.toFixed(2)}–${summary.cpuUsMax.toFixed(2)}` : NONE,
    fixed(summary?.cpuUsIqr, 2),
    fixed(summary?.ratio, 2),
    fixed(summary?.requestsPerSecond),
    summary ? `${(100 * summary.busy).toFixed(0)} %` : NONE,
    fixed(row.peakMiB),
    fixed(summary?.anonMiB),
    fixed(row.recordBytes),
    ...accountCells(row),
  ];
}

function burstWarnings(row: BurstRow, rows: readonly BurstRow[]): string[] {
  const warnings = [];
  const busy = summarize(row, rows)?.busy ?? 1;
  if (busy < saturatedShare) {
    const percent = (100 * busy).toFixed(0);
    warnings.push(
      `${row.variant}: had ${percent} % of its core: load or other programs bound its req/s`,
    );
  }
  const late = row.rounds.filter((round) => round?.flushed === false).length;
  if (late > 0) {
    warnings.push(`${row.variant}: ${late} rounds ended before their last record was in Kafka`);
  }
  return warnings;
}

function workersTable({ rounds, seconds, rows }: Sections['workers']): Table {
  return {
    title: `Several processes on the same core, ${rounds} bursts of ${seconds} s each in turn`,
    head: [
      'variant',
      'µs/req',
      '× one process',
      'req/s',
      'load of each worker',
      'answered',
      'in Kafka',
    ].concat(['records']),
    rows: rows.map((row) => {
      const summary = summarize(row, rows);
      const shares = workerShares(row).map((share) => `${(100 * share).toFixed(0)} %`);
      return [
        row.variant,
        fixed(summary?.cpuUs, 2),
        fixed(cpuRatio(rows, row.variant, row.variant.replace('-2-workers', '')), 2),
        fixed(summary?.requestsPerSecond),
        shares.length === 0 ? 'one process' : shares.join(' + '),
        ...accountCells(row),
      ];
    }),
    legend:
      'µs/req is that of all processes together; the load of a worker is its share of their CPU.',
    warnings: accountWarnings(rows),
  };
}

function stepsTable({ rounds, seconds, load, rows }: Sections['steps']): Table {
  return {
    title: `Step by step, ${rounds} bursts of ${seconds} s each in turn, ${load}`,
    head: ['variant', 'µs/req', '× bare', 'more', 'than', 'for', 'records'],
    rows: rows.map((row) => {
      const step = steps.find(({ variant }) => variant === row.variant);
      const summary = summarize(row, rows);
      return [
        row.variant,
        fixed(summary?.cpuUs, 2),
        fixed(summary?.ratio, 2),
        fixed(step?.after == null ? null : cpuDifference(rows, row.variant, step.after), 2),
        step?.after ?? NONE,
        step?.adds ?? NONE,
        verdict(row),
      ];
    }),
    legend:
      'more: µs a request beyond the step before, round by round, their median. From captured on the young ' +
      'objects are collected every 1,024 requests, which pays more than it costs.',
    warnings: accountWarnings(rows),
  };
}

function latencyTable({ rounds, seconds, rows }: Sections['latency']): Table {
  const shares = loadShares.map((share) => `${100 * share} %`);
  return {
    title:
      `${rounds} rounds of ${seconds} s at a fixed rate, in turn, ${shares[0]} to ${shares.at(-1)} ` +
      'of each one’s own capacity (req/s)',
    head: [
      'variant',
      'req/s',
      ...shares.flatMap((share) => [`${share}: p50`, 'p99', 'p99.9']),
    ].concat(['× bare']),
    rows: rows.map((row) => [
      row.variant,
      fixed(row.capacity),
      ...loadShares.flatMap((share) =>
        (['p50Us', 'p99Us', 'p999Us'] as const).map((key) =>
          fixed(medianLatencies(row.rounds[share], key)),
        ),
      ),
      fixed(latencyRatio(row, rows), 2),
    ]),
    legend:
      'µs from when a request was due to its answer, medians of the rounds. × bare: p99 at half load, ' +
      'round by round.',
    warnings: accountWarnings(rows),
  };
}

function outageTable({ rate, seconds, rows }: Sections['outage']): Table {
  const labels = { before: 'before', down: 'Kafka down', restart: 'starting', after: 'after' };
  return {
    title: `Kafka killed under ${rate} requests a second and started again; ${seconds} s for each phase`,
    head: [
      'variant',
      ...phases.flatMap((phase) => [`${labels[phase]}: p50`, 'p99', 'p99.9']),
      '× bare',
      'backlog',
      'waited',
      'caught up at',
      'answered',
      'in Kafka',
      'records',
    ],
    rows: rows.map((row) => [
      row.variant,
      ...phases.flatMap((phase) =>
        (['p50Us', 'p99Us', 'p999Us'] as const).map((key) => fixed(phaseLatency(row, phase, key))),
      ),
      fixed(outageRatio(row, rows, 'down'), 2),
      ...catchUpCells(row),
      ...accountCells(row),
    ]),
    legend:
      'µs from when a request was due to its answer, medians of the seconds of a phase: one in which the ' +
      'machine slept decides nothing. starting: Kafka’s start shares the core of the load ' +
      'generator, which delays all alike. × bare: p99 while Kafka is down. backlog: records not in Kafka ' +
      'when it was back; waited: until the first of them came; caught up at: records a second from then on.',
    warnings: accountWarnings(rows),
  };
}

function catchUpCells({ catchUp }: OutageRow): string[] {
  if (catchUp === null) return [NONE, NONE, NONE];
  const { backlog, waitedMs, tookMs } = catchUp;
  const speed = tookMs === null ? 'never' : `${((1_000 * backlog) / tookMs).toFixed(0)} /s`;
  return [`${backlog}`, `${waitedMs.toFixed(0)} ms`, speed];
}

function connectionsTable({ rounds, seconds, rows }: Sections['connections']): Table {
  const skipped = rows[0]?.counts.filter((count) => count.skipped !== null) ?? [];
  return {
    title: `More connections: µs a request, medians of ${rounds} bursts of ${seconds} s`,
    head: [
      'variant',
      ...connectionCounts.flatMap((count) => [count.toLocaleString('en'), '× bare']),
      'answered',
      'in Kafka',
      'records',
    ],
    rows: rows.map((row) => [
      row.variant,
      ...connectionCounts.flatMap((count) => {
        const own = cpuWith(row, count);
        const bareRow = rows.find(({ variant }) => variant === floor);
        const bare = bareRow ? cpuWith(bareRow, count) : null;
        return [fixed(own, 2), fixed(own !== null && bare !== null ? own / bare : null, 2)];
      }),
      ...accountCells(row),
    ]),
    legend:
      'Each burst opens its connections, so accepting them is in the figure. Links, which will grow too, do ' +
      'not exist yet.',
    warnings: [
      ...accountWarnings(rows),
      ...skipped.map(
        ({ connections, skipped: why }) => `${connections} connections left out: ${why}`,
      ),
      ...rows.flatMap(noFigures),
    ],
  };
}

function noFigures({ variant, counts }: ConnectionsRow): string[] {
  const missing = counts.filter(({ rounds, skipped }) => skipped === null && rounds.length === 0);
  return missing.map(({ connections }) => `${variant}: no figure with ${connections} connections`);
}

function backlogTable({ rounds, seconds, rows }: Sections['backlog']): Table {
  return {
    title: `A growing backlog, Kafka away: medians of ${rounds} bursts of ${seconds} s`,
    head: ['variant', 'backlog', 'µs/req', 'req/s', 'p99', 'answered', 'in Kafka', 'records'],
    rows: rows.flatMap((row) =>
      row.steps.map((step, at) => {
        const of = (figureOf: (round: (typeof step.rounds)[number]) => number) =>
          step.rounds.length === 0 ? null : median(step.rounds.map(figureOf));
        return [
          row.variant,
          `${step.backlogMiB.toFixed(0)} MiB`,
          fixed(
            of((round) => round.cpuUsPerRequest),
            2,
          ),
          fixed(of((round) => round.requestsPerSecond)),
          fixed(of((round) => round.p99Us)),
          ...(at === row.steps.length - 1 ? accountCells(row) : ['', '', '']),
        ];
      }),
    ),
    legend: rows
      .flatMap(({ variant, servingMs, drain }) => [
        ...(servingMs === null
          ? []
          : [
              `${variant}, killed with all of it and started again, answers after ${servingMs.toFixed(0)} ms.`,
            ]),
        ...(drain === null
          ? []
          : [
              `Its ${drain.backlogMiB.toFixed(0)} MiB are in Kafka ${drain.seconds.toFixed(1)} s after that is back.`,
            ]),
      ])
      .join(' '),
    warnings: accountWarnings(rows),
  };
}

function memoryTable({ seconds, rows }: Sections['memory']): Table {
  return {
    title: `Full load for ${seconds} s, memory sampled each second, medians, MiB`,
    head: ['variant', 'third', 'resident', 'anon', 'file', 'peak', 'req/s', 'answered'].concat([
      'in Kafka',
      'records',
    ]),
    rows: rows.flatMap((row) => [
      [row.variant, 'first', ...memoryCells(row.first), '', '', '', ''],
      [
        row.variant,
        'last',
        ...memoryCells(row.last),
        row.requestsPerSecond.toFixed(0),
        ...accountCells(row),
      ],
    ]),
    legend:
      'anon: heap and stacks, where a leak shows. file: the mapped journal, the kernel’s to take back.',
    warnings: accountWarnings(rows),
  };
}

function memoryCells(memory: Memory): string[] {
  const { residentMiB, anonMiB, fileMiB, peakMiB } = memory;
  return [residentMiB, anonMiB, fileMiB, peakMiB].map((value) => value.toFixed(1));
}

function idleTable({ seconds, rows }: Sections['idle']): Table {
  return {
    title: `Idle for ${seconds} s, connected to Kafka, share of one core`,
    head: ['variant', 'CPU', 'resident', 'anon'],
    rows: rows.map((row) => [
      row.variant,
      `${row.cpuPercent.toFixed(2)} %`,
      `${row.memory.residentMiB.toFixed(0)} MiB`,
      `${row.memory.anonMiB.toFixed(0)} MiB`,
    ]),
    legend: '',
    warnings: rows.flatMap((row) =>
      row.failure === null ? [] : [`${row.variant} failed: ${row.failure}`],
    ),
  };
}

function shippingTable({ rounds, rows }: Sections['shipping']): Table {
  return {
    title: `Journal to Kafka without HTTP: ${rounds} backlogs of 2 M seed records`,
    head: ['variant', 'µs/record', 'records/s', 'records'],
    rows: rows.map((row) => [
      row.variant,
      row.cpuUsPerRecord.toFixed(2),
      row.recordsPerSecond.toFixed(0),
      row.delivered ? 'all' : 'NOT ALL ONCE',
    ]),
    legend: '',
    warnings: [],
  };
}
