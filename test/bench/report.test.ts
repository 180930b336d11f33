// What the benchmark makes of its figures, without measuring anything: ratios are taken round by round,
// budgets are judged, the page shows what failed or lost records, needs no other file, and lets nothing a
// program printed become HTML; what a rate takes is worked out as its formulas say.

import { describe, expect, test } from 'bun:test';
import type { BurstRow, Round } from '../../bench/bursts.ts';
import { budgets, judge, shortBudgets } from '../../bench/budgets.ts';
import { delivery } from '../../bench/delivery.ts';
import { page } from '../../bench/page.ts';
import { type OutageRow, phases } from '../../bench/outage.ts';
import type { Results } from '../../bench/results.ts';
import { assumed, measuredOf, scale } from '../../bench/scale.ts';
import { steps } from '../../bench/steps.ts';
import { pick } from '../../bench/variants.ts';
import { cpuDifference, cpuRatio, summarize, workerShares } from '../../bench/summary.ts';
import { allTables, asText } from '../../bench/tables.ts';

function round(cpuUsPerRequest: number, processCpuUs = [cpuUsPerRequest]): Round {
  return {
    requests: 1_000,
    requestsPerSecond: 100_000,
    cpuUsPerRequest,
    processCpuUs,
    busy: 0.95,
    flushed: true,
    anonMiB: 20,
    p50Us: 400,
    p99Us: 900,
  };
}

function burstRow(variant: string, rounds: BurstRow['rounds'], more: Partial<BurstRow> = {}) {
  return {
    variant,
    failure: null,
    peakMiB: 100,
    answered: 1_000,
    unknown: 64,
    records: 1_000,
    delivery: 'all',
    recordBytes: 115,
    rounds,
    ...more,
  } satisfies BurstRow;
}

function results(sections: Results['sections']): Results {
  const machine = {
    date: '2026-11-25T12:00:00.000Z',
    commit: 'abc1234',
    cpu: 'A processor',
    cores: 2,
    kernel: '6.1',
    loadAverage: 0.1,
    pinned: true,
    bun: '1.4.5',
    kafka: '4.3.1',
    kafkajs: '2.2.4',
    wrk: '4.1.0',
  };
  return { machine, sections };
}

function bursts(...rows: BurstRow[]): Results {
  return results({ bursts: { rounds: 2, seconds: 1, load: '64 connections', rows } });
}

const bare = burstRow('bare', [round(5), round(10)], { records: 0, delivery: 'no log' });

describe('ratios', () => {
  test('are those of each round, and their median: what slowed the machine slowed both', () => {
    const ours = burstRow('ours', [round(6), round(12)]);
    expect(cpuRatio([bare, ours], 'ours', 'bare')).toBeCloseTo(1.2);
    expect(summarize(ours, [bare, ours])?.cpuUs).toBe(9);
  });

  test('leave out rounds that one of the two has not', () => {
    const ours = burstRow('ours', [null, round(13)]);
    expect(cpuRatio([bare, ours], 'ours', 'bare')).toBeCloseTo(1.3);
    expect(cpuRatio([bare, ours], 'ours', 'nobody')).toBeNull();
  });

  test('differences too are those of each round', () => {
    const ours = burstRow('ours', [round(6), round(13)]);
    expect(cpuDifference([bare, ours], 'ours', 'bare')).toBeCloseTo(2);
    expect(cpuDifference([bare, ours], 'ours', 'nobody')).toBeNull();
  });

  test('of workers leave out their supervisor', () => {
    const two = burstRow('ours-2-workers', [round(10, [1, 3, 6]), round(10, [1, 3, 6])]);
    expect(workerShares(two)).toEqual([6 / 9, 3 / 9]);
    expect(workerShares(bare)).toEqual([]);
  });
});

describe('budgets', () => {
  const ours = burstRow('ours', [round(6.5), round(13)]);

  test('are kept, broken, or not measured', () => {
    const rival = burstRow('bun-kafkajs', [round(15), round(30)]);
    const verdicts = judge(bursts(bare, ours, rival), budgets);
    const keptOf = (measure: string) =>
      verdicts.find(({ budget }) => budget.variant === 'ours' && budget.measure === measure)?.kept;
    expect(keptOf('CPU a request ÷ bare')).toBe(false);
    expect(keptOf('CPU a request ÷ bun-kafkajs')).toBe(true);
    expect(keptOf('requests a second on a core')).toBe(true);
    expect(keptOf('CPU a request ÷ go-fasthttp')).toBeNull();
    expect(keptOf('CPU while idle')).toBeNull();
  });

  test('of the short form leave room for noise', () => {
    const rival = burstRow('bun-kafkajs', [round(15), round(30)]);
    const kept = judge(bursts(bare, ours, rival), shortBudgets).map((verdict) => verdict.kept);
    expect(kept).toEqual([true, true]);
  });
});

test('each step goes on from one that is measured with it, and has a server', () => {
  const names = steps.map(({ variant }) => variant);
  expect(pick(names)).toHaveLength(steps.length);
  for (const { after } of steps.slice(1)) expect(names).toContain(after!);
});

describe('the page', () => {
  const lossy = burstRow('bun-kafkajs', [round(15), round(30)], {
    records: 900,
    delivery: delivery(true, { answered: 1_000, unknown: 64 }, 900),
  });
  const failed = burstRow('go-fasthttp', [null, null], {
    failure: 'ended by itself: <script>alert(1)</script>',
    delivery: null,
    records: null,
    recordBytes: null,
  });
  const ours = burstRow('ours', [round(6), round(12)]);
  const html = page(bursts(bare, ours, lossy, failed));

  test('says what failed and what lost records, in chart and table', () => {
    expect(html).toContain('LOST 100 of 1000 records');
    expect(html).toContain('<td class="alarm">LOST</td>');
    expect(html).toContain('FAILED: ended by itself');
    expect(html).toContain('<td class="alarm">FAILED</td>');
    expect(html).toContain('1.20 ×');
  });

  test('takes nothing that a program printed for HTML', () => {
    expect(html).not.toContain('<script');
    expect(html).toContain('&lt;script&gt;');
  });

  test('needs no other file, and has no number that is none', () => {
    expect(html).not.toMatch(/\b(?:src|href)=|url\(|@import/);
    expect(html).not.toMatch(/NaN|Infinity|undefined/);
  });

  test('says in its head that a run of ours lost records', () => {
    const lost = burstRow('ours', [round(6), round(12)], { records: 10, delivery: 'lost' });
    expect(page(bursts(bare, lost))).toContain('runs of hoplog failed, lost or doubled');
    const step = burstRow('seed-captured', [round(7), round(7)], {
      records: 0,
      delivery: 'no log',
    });
    expect(page(bursts(bare, ours, step))).toContain('records of hoplog in Kafka, once');
    expect(html).toContain('records of hoplog in Kafka, once');
  });

  test('can be made of a run in which nothing was measured', () => {
    const nothing = burstRow('ours', [], { failure: 'cannot run here', delivery: null });
    expect(page(bursts(nothing))).not.toMatch(/NaN|Infinity|undefined/);
    expect(page(results({}))).toContain('</html>');
  });

  test('shows an outage second by second, and what it has cost whom', () => {
    const latencies = { requests: 10, requestsPerSecond: 10, p50Us: 40, p99Us: 90 };
    const all = { ...latencies, p999Us: 100, maxUs: 120 };
    const timeline = phases.map((phase) => ({ ...all, phase }));
    const { rounds: _, ...outcome } = ours;
    const row: OutageRow = { ...outcome, timeline, catchUp: null };
    const rows = [row, { ...row, variant: 'rust-hyper', records: 1, delivery: 'lost' as const }];
    const outage = page(results({ outage: { rate: 10, seconds: 5, rows } }));
    expect(outage).toContain('Kafka down');
    expect(outage).toContain('LOST 999 of 1000 records');
    expect(outage).not.toMatch(/NaN|Infinity|undefined/);
  });
});

describe('tables', () => {
  test('have a row for everybody, and a line for each that has something wrong', () => {
    const failed = burstRow('go-fasthttp', [null, null], { failure: 'no go', delivery: null });
    const [bursted] = allTables(bursts(bare, failed));
    const text = asText(bursted!.tables[0]!);
    expect(text).toContain('go-fasthttp failed: no go');
    expect(text).toMatch(/^bare +7\.50 /m);
  });
});

describe('scale', () => {
  const measured = { cpuUs: 12, recordBytes: 300 };

  test('follows its formulas', () => {
    const { cores, servers, kafkaMbps, partitions, journalGiB } = scale(measured);
    expect(cores).toBeCloseTo(12 / assumed.use);
    expect(servers).toBe(3);
    expect(kafkaMbps).toBe(300);
    expect(partitions).toBe(30);
    expect(journalGiB).toBeCloseTo((300e6 * 3_600) / 2 ** 30 / 3);
  });

  test('takes the default record where it was measured', () => {
    const ours = burstRow('ours', [round(6)]);
    const click = burstRow('ours-click', [round(9)], { recordBytes: 310 });
    expect(measuredOf(bursts(ours))?.variant).toBe('ours');
    expect(measuredOf(bursts(ours, click))).toMatchObject({ cpuUs: 9, recordBytes: 310 });
    expect(measuredOf(bursts(bare))).toBeNull();
  });
});
