// The few figures that a result comes down to. Ratios are taken round by round against the burst of the
// reference in the same round, then their median: what slowed the machine in one round slowed both.

import type { BurstRow, Round } from './bursts.ts';
import type { ConnectionsRow } from './growth.ts';
import type { LatencyRow } from './latency.ts';
import type { Latencies } from './open-loop.ts';
import type { OutageRow, Phase } from './outage.ts';
import { median, quantile } from './statistics.ts';

export const floor = 'bare';

export interface Summary {
  variant: string;
  cpuUs: number;
  cpuUsMin: number;
  cpuUsMax: number;
  cpuUsIqr: number;
  /** Against bare. */
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
  return {
    variant: row.variant,
    cpuUs: median(cpu),
    cpuUsMin: Math.min(...cpu),
    cpuUsMax: Math.max(...cpu),
    cpuUsIqr: quantile(cpu, 0.75) - quantile(cpu, 0.25),
    ratio: cpuRatio(rows, row.variant, floor),
    requestsPerSecond: median(rounds.map((round) => round.requestsPerSecond)),
    busy: median(rounds.map((round) => round.busy)),
    anonMiB: median(rounds.map((round) => round.anonMiB)),
  };
}

/** CPU a request of one variant against another's; null without either. */
export function cpuRatio(
  rows: readonly BurstRow[],
  variant: string,
  reference: string,
): number | null {
  return ratio(roundsOf(rows, variant), roundsOf(rows, reference), (round) =>
    round === null ? undefined : round.cpuUsPerRequest,
  );
}

/** µs a request of one variant beyond another's; null without either. */
export function cpuDifference(
  rows: readonly BurstRow[],
  variant: string,
  reference: string,
): number | null {
  const others = roundsOf(rows, reference);
  const differences = roundsOf(rows, variant).flatMap((round, index) => {
    const other = others[index];
    return round && other ? [round.cpuUsPerRequest - other.cpuUsPerRequest] : [];
  });
  return differences.length > 0 ? median(differences) : null;
}

function roundsOf(rows: readonly BurstRow[], variant: string): readonly (Round | null)[] {
  return rows.find((row) => row.variant === variant)?.rounds ?? [];
}

/** p99 at half load against bare's; null without either. */
export function latencyRatio(row: LatencyRow, rows: readonly LatencyRow[]): number | null {
  const reference = rows.find(({ variant }) => variant === floor)?.rounds[0.5] ?? [];
  return ratio(row.rounds[0.5], reference, ({ p99Us }) => p99Us);
}

/** p99 in a phase against bare's in the same; null without either. */
export function outageRatio(
  row: OutageRow,
  rows: readonly OutageRow[],
  phase: Phase,
): number | null {
  const reference = rows.find(({ variant }) => variant === floor);
  const bare = reference ? phaseLatency(reference, phase, 'p99Us') : null;
  const own = phaseLatency(row, phase, 'p99Us');
  return own !== null && bare !== null ? own / bare : null;
}

/** Median of the phase's seconds; null where it was never reached. */
export function phaseLatency(
  { timeline }: OutageRow,
  phase: Phase,
  key: 'p50Us' | 'p99Us' | 'p999Us',
): number | null {
  return medianLatencies(
    timeline.filter((second) => second.phase === phase),
    key,
  );
}

function ratio<Round>(
  own: readonly Round[],
  reference: readonly Round[],
  figureOf: (round: Round) => number | undefined,
): number | null {
  const ratios = own.flatMap((round, index) => {
    const other = reference[index];
    const figures = [figureOf(round), other === undefined ? undefined : figureOf(other)];
    const [numerator, denominator] = figures;
    return numerator === undefined || denominator === undefined ? [] : [numerator / denominator];
  });
  return ratios.length > 0 ? median(ratios) : null;
}

export function medianLatencies(
  rounds: readonly Latencies[],
  key: 'p50Us' | 'p99Us' | 'p999Us',
): number | null {
  return rounds.length === 0 ? null : median(rounds.map((round) => round[key]));
}

/** Median CPU a request with so many connections; null where it was not measured. */
export function cpuWith(row: ConnectionsRow, connections: number): number | null {
  const rounds = row.counts.find((count) => count.connections === connections)?.rounds ?? [];
  return rounds.length === 0 ? null : median(rounds.map((round) => round.cpuUsPerRequest));
}

/** Share of a server's CPU that each of its workers had, largest first; the supervisor left out. */
export function workerShares(row: BurstRow): number[] {
  const rounds = row.rounds.filter((round) => round !== null);
  const [first] = rounds;
  if (!first || first.processCpuUs.length < 2) return [];
  const each = first.processCpuUs.map((_, at) =>
    median(rounds.map((round) => round.processCpuUs[at] ?? 0)),
  );
  const workers = each.slice(1);
  const sum = workers.reduce((total, us) => total + us, 0);
  return workers.map((us) => us / sum).toSorted((a, b) => b - a);
}
