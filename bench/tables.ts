// Rows to plain text. Every row is printed, also the one that failed or lost records, and says so.
// Ratios are taken round by round against bare's burst of the same round, then their median: what
// slowed the machine in one round slowed both.

import type { BurstRow } from './bursts.ts';
import type { IdleRow } from './idle.ts';
import type { MemoryRow } from './memory.ts';
import { describe, type Machine } from './machine.ts';
import type { Memory } from './proc.ts';
import type { ShippingRow } from './shipping.ts';
import { median, quantile } from './statistics.ts';
import { type LatencyRow, loadShares } from './latency.ts';
import type { LoadShape } from './wrk.ts';

const floor = 'bare';
/** Below this share of its core the server waited for wrk, or somebody else had the core. */
const saturatedShare = 0.9;

export interface Summary {
  variant: string;
  cpuUs: number;
  cpuUsMin: number;
  cpuUsMax: number;
  cpuUsIqr: number;
  ratio: number | null;
  requestsPerSecond: number;
  busy: number;
  anonMiB: number;
}

/** Null when not one round was measured. */
export function summarize(row: BurstRow, rows: readonly BurstRow[]): Summary | null {
  const rounds = row.rounds.filter((round) => round !== null);
  if (rounds.length === 0) return null;
  const cpu = rounds.map((round) => round.cpuUsPerRequest);
  const bare = rows.find((row) => row.variant === floor)?.rounds ?? [];
  const ratios = row.rounds.flatMap((round, index) => {
    const reference = bare[index];
    return round && reference ? [round.cpuUsPerRequest / reference.cpuUsPerRequest] : [];
  });
  return {
    variant: row.variant,
    cpuUs: median(cpu),
    cpuUsMin: Math.min(...cpu),
    cpuUsMax: Math.max(...cpu),
    cpuUsIqr: quantile(cpu, 0.75) - quantile(cpu, 0.25),
    ratio: ratios.length > 0 ? median(ratios) : null,
    requestsPerSecond: median(rounds.map((round) => round.requestsPerSecond)),
    busy: median(rounds.map((round) => round.busy)),
    anonMiB: median(rounds.map((round) => round.anonMiB)),
  };
}

export function burstReport(
  rows: readonly BurstRow[],
  machine: Machine,
  options: { rounds: number; seconds: number; shape: LoadShape },
): string {
  const lines = table(
    ['variant', 'µs/req', 'min–max', 'IQR', '× bare', 'req/s', 'core', 'peak', 'anon'].concat([
      'answered',
      'in Kafka',
      'records',
    ]),
    rows.map((row) => burstCells(row, rows)),
  );
  const notes = rows.flatMap((row) => burstNotes(row, rows));
  return [
    describe(machine),
    `${options.rounds} bursts of ${options.seconds} s each in turn, ${options.shape.name}, acks=all`,
    '',
    ...lines,
    '',
    'µs/req: CPU of the server process, all threads, median of the bursts. core: share of its core',
    'during a burst. peak (VmHWM) and anon (RssAnon right after a burst): MiB.',
    ...notes,
  ].join('\n');
}

function burstCells(row: BurstRow, rows: readonly BurstRow[]): string[] {
  const summary = summarize(row, rows);
  const figures = summary
    ? [
        summary.cpuUs.toFixed(2),
        `${summary.cpuUsMin.toFixed(2)}–${summary.cpuUsMax.toFixed(2)}`,
        summary.cpuUsIqr.toFixed(2),
        summary.ratio?.toFixed(2) ?? '–',
        summary.requestsPerSecond.toFixed(0),
        `${(100 * summary.busy).toFixed(0)} %`,
      ]
    : ['–', '–', '–', '–', '–', '–'];
  return [
    row.variant,
    ...figures,
    row.peakMiB?.toFixed(0) ?? '–',
    summary?.anonMiB.toFixed(0) ?? '–',
    `${row.answered}`,
    `${row.records ?? '–'}`,
    verdict(row),
  ];
}

function verdict(row: BurstRow): string {
  const words = row.failure === null ? [] : ['FAILED'];
  if (row.delivery === 'lost' || row.delivery === 'doubled') {
    words.push(row.delivery.toUpperCase());
  } else if (row.delivery !== null) {
    words.push(row.delivery);
  }
  return words.join(', ');
}

function burstNotes(row: BurstRow, rows: readonly BurstRow[]): string[] {
  const notes = [];
  if (row.failure !== null) notes.push(`${row.variant} failed: ${row.failure}`);
  if (row.delivery === 'lost' || row.delivery === 'doubled') {
    notes.push(deliveryNote(row));
  }
  const busy = summarize(row, rows)?.busy ?? 1;
  if (busy < saturatedShare) {
    const percent = (100 * busy).toFixed(0);
    notes.push(
      `${row.variant}: had ${percent} % of its core: load or other programs bound its req/s`,
    );
  }
  const late = row.rounds.filter((round) => round?.flushed === false).length;
  if (late > 0) {
    notes.push(`${row.variant}: ${late} rounds ended before their last record was in Kafka`);
  }
  return notes;
}

function deliveryNote(row: {
  variant: string;
  answered: number;
  unknown: number;
  records: number | null;
}): string {
  return (
    `${row.variant}: ${row.records} records in Kafka for ${row.answered} answers seen ` +
    `and at most ${row.unknown} more not waited for`
  );
}

export function latencyReport(
  rows: readonly LatencyRow[],
  machine: Machine,
  options: { rounds: number; seconds: number },
): string {
  const shares = loadShares.map((share) => `${100 * share} %`);
  const lines = table(
    ['variant', 'req/s', ...shares.flatMap((share) => [`${share}: p50`, 'p99', 'p99.9']), '× bare'],
    rows.map((row) => [
      row.variant,
      row.capacity.toFixed(0),
      ...loadShares.flatMap((share) => {
        const rounds = row.rounds[share];
        return (['p50Us', 'p99Us', 'p999Us'] as const).map((key) =>
          rounds.length === 0 ? '–' : median(rounds.map((round) => round[key])).toFixed(0),
        );
      }),
      latencyRatio(row, rows)?.toFixed(2) ?? '–',
    ]),
  );
  const failed = rows.filter((row) => row.failure !== null);
  return [
    describe(machine),
    `${options.rounds} rounds of ${options.seconds} s at a fixed rate, in turn, ${100 * loadShares[0]} to ` +
      `${100 * (loadShares.at(-1) ?? 1)} % of each one's own capacity (req/s)`,
    '',
    ...lines,
    '',
    'µs from when a request was due to its answer, medians of the rounds. × bare: p99 at half load,',
    'round by round.',
    ...failed.map((row) => `${row.variant} failed: ${row.failure}`),
  ].join('\n');
}

/** p99 at half load against bare's in the same round, the median of that; null without either. */
export function latencyRatio(row: LatencyRow, rows: readonly LatencyRow[]): number | null {
  const reference = rows.find(({ variant }) => variant === floor)?.rounds[0.5] ?? [];
  const ratios = row.rounds[0.5].flatMap((round, index) => {
    const bare = reference[index];
    return bare ? [round.p99Us / bare.p99Us] : [];
  });
  return ratios.length > 0 ? median(ratios) : null;
}

export function memoryReport(rows: readonly MemoryRow[], machine: Machine): string {
  const lines = table(
    [
      'variant',
      'third',
      'resident',
      'anon',
      'file',
      'peak',
      'req/s',
      'answered',
      'in Kafka',
    ].concat(['records']),
    rows.flatMap((row) => [
      [row.variant, 'first', ...memoryCells(row.first), '', '', '', ''],
      [
        row.variant,
        'last',
        ...memoryCells(row.last),
        row.requestsPerSecond.toFixed(0),
        `${row.answered}`,
        `${row.records}`,
        row.delivery,
      ],
    ]),
  );
  const notes = rows.flatMap((row) => [
    ...(row.failure === null ? [] : [`${row.variant} failed: ${row.failure}`]),
    ...(row.delivery === 'lost' || row.delivery === 'doubled' ? [deliveryNote(row)] : []),
  ]);
  return [
    describe(machine),
    `full load, sampled each second (${rows[0]?.samples.length ?? 0} samples), medians, MiB`,
    '',
    ...lines,
    ...notes,
  ].join('\n');
}

function memoryCells(memory: Memory): string[] {
  const { residentMiB, anonMiB, fileMiB, peakMiB } = memory;
  return [residentMiB, anonMiB, fileMiB, peakMiB].map((value) => value.toFixed(1));
}

export function idleReport(rows: readonly IdleRow[], machine: Machine, seconds: number): string {
  const lines = table(
    ['variant', 'CPU', 'resident', 'anon'],
    rows.map((row) => [
      row.variant,
      `${row.cpuPercent.toFixed(2)} %`,
      `${row.memory.residentMiB.toFixed(0)} MiB`,
      `${row.memory.anonMiB.toFixed(0)} MiB`,
    ]),
  );
  const notes = rows.flatMap((row) =>
    row.failure === null ? [] : [`${row.variant} failed: ${row.failure}`],
  );
  const title = `idle for ${seconds} s, connected to Kafka, share of one core`;
  return [describe(machine), title, '', ...lines, ...notes].join('\n');
}

function table(head: string[], body: string[][]): string[] {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...body.map((cells) => cells[column]?.length ?? 0)),
  );
  return [head, ...body].map((cells) =>
    cells
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
}

export function shippingReport(
  rows: readonly ShippingRow[],
  machine: Machine,
  rounds: number,
): string {
  const lines = rows.map(
    (row) =>
      `${row.variant}: ${row.cpuUsPerRecord.toFixed(2)} µs CPU a record, ` +
      `${row.recordsPerSecond.toFixed(0)} records a second, ` +
      (row.delivered ? 'each once in Kafka' : 'NOT each once in Kafka'),
  );
  return [describe(machine), `${rounds} backlogs of 2 M seed records`, '', ...lines].join('\n');
}
