// A result as one HTML page that needs nothing else: a pure function of what --json wrote. What failed or
// lost records stands in the charts and in the tables, in red, and above all of them.

import { budgets, judge, type Verdict } from './budgets.ts';
import { barChart, type Band, escapeText, lineChart, rangeOf, type Series } from './charts.ts';
import { connectionCounts } from './growth.ts';
import { loadShares } from './latency.ts';
import { describe, type Machine } from './machine.ts';
import type { OutageRow } from './outage.ts';
import { style } from './page-style.ts';
import type { ModeName, Results, Sections } from './results.ts';
import { measuredOf, scaleTable } from './scale.ts';
import { median } from './statistics.ts';
import { cpuWith, medianLatencies, summarize } from './summary.ts';
import { headline } from './headline.ts';
import { kindOf, kinds } from './kinds.ts';
import { allTables, type Table, verdict } from './tables.ts';

/** Above this many programs that wanted a core, the machine was not ours alone. */
const busyLoad = 1;

const titles: Record<ModeName, string> = {
  bursts: 'CPU of a request',
  workers: 'Two processes',
  steps: 'Where each microsecond goes',
  latency: 'Latency at a fixed rate',
  outage: 'Kafka killed, and back',
  connections: 'More connections',
  backlog: 'More backlog',
  memory: 'Memory',
  idle: 'Idle',
  shipping: 'Shipping',
};

export function page(results: Results): string {
  const { machine } = results;
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>hoplog bench ${escapeText(machine.commit)}</title><style>${style}</style></head><body>`,
    '<h1>What a redirect with a log costs</h1>',
    ...head(machine),
    tiles(results),
    ...allTables(results).flatMap(({ mode, tables }) => [
      `<h2>${titles[mode]}</h2>`,
      chartsOf(mode, results.sections),
      ...tables.map(tableHtml),
    ]),
    ...closing(results),
    '</body></html>\n',
  ].join('\n');
}

function head(machine: Machine): string[] {
  const lines = describe(machine).split('\n');
  const { loadAverage } = machine;
  return [
    ...lines.map((line) => `<p class="soft">${escapeText(line)}</p>`),
    ...(loadAverage > busyLoad
      ? [
          `<p class="warning">Other programs were at work (load average ${loadAverage.toFixed(2)} before the run): figures are disturbed.</p>`,
        ]
      : []),
  ];
}

function tiles(results: Results): string {
  const html = headline(results).map(
    ({ figure, what, broken }) =>
      `<div class="tile${broken ? ' broken' : ''}"><b>${figure}</b>${what}</div>`,
  );
  return `<div class="tiles">${html.join('')}</div>`;
}

function closing(results: Results): string[] {
  const verdicts = judge(results, budgets);
  const measured = measuredOf(results);
  return [
    ...(verdicts.some(({ value }) => value !== null)
      ? ['<h2>Budgets</h2>', tableHtml(budgetTable(verdicts))]
      : []),
    ...(measured ? ['<h2>Scale, on paper</h2>', tableHtml(scaleTable(measured))] : []),
  ];
}

export function budgetTable(verdicts: readonly Verdict[]): Table {
  return {
    title: 'What must hold',
    head: ['variant', 'measure', 'limit', 'measured', 'verdict', 'asked for by'],
    rows: verdicts.map(({ budget, value, kept }) => [
      budget.variant,
      budget.measure,
      `${budget.atLeast ? '≥' : '≤'} ${budget.limit} ${budget.unit}`,
      value === null ? '–' : Number(value.toPrecision(3)).toString(),
      kept === null ? 'not measured' : kept ? 'kept' : 'BROKEN',
      budget.source,
    ]),
    legend: '',
    warnings: [],
  };
}

const drawings: { [Mode in ModeName]?: (section: Sections[Mode]) => string } = {
  bursts: burstBars,
  workers: burstBars,
  steps: burstBars,
  latency: latencyLines,
  outage: outageLines,
  connections: connectionLines,
  backlog: backlogLines,
  memory: memoryLines,
};

function chartsOf(mode: ModeName, sections: Partial<Sections>): string {
  const section = sections[mode];
  const draw = drawings[mode] as ((section: unknown) => string) | undefined;
  return section && draw ? draw(section) : '';
}

function keys(variants: readonly string[]): string {
  const present = new Set(variants.map(kindOf));
  const html = Object.entries(kinds)
    .filter(([kind]) => present.has(kind as keyof typeof kinds))
    .map(([kind, name]) => `<span class="key t-${kind}"><i></i>${name}</span>`);
  return `<div class="keys">${html.join('')}</div>`;
}

function cards(charts: readonly { svg: string; broken?: boolean; note?: string }[]): string {
  const html = charts.map(
    ({ svg, broken, note }) =>
      `<div class="card${broken ? ' broken' : ''}">${svg}${note === undefined ? '' : `<p class="${broken ? 'alarm' : 'soft'}">${escapeText(note)}</p>`}</div>`,
  );
  return `<div class="charts">${html.join('')}</div>`;
}

/** What is wrong with a row, for its place in a chart. */
function alarmOf(
  row: Parameters<typeof verdict>[0] & { answered: number; records: number | null },
) {
  if (row.failure !== null) return `FAILED: ${row.failure}`;
  const { delivery, answered, records } = row;
  if (delivery === 'lost') return `LOST ${answered - (records ?? 0)} of ${answered} records`;
  if (delivery === 'doubled') return `DOUBLED ${(records ?? 0) - answered} of ${answered} records`;
  return null;
}

function burstBars({ rows }: Sections['bursts']): string {
  const bars = rows.map((row) => {
    const summary = summarize(row, rows);
    const ratio = summary?.ratio ? ` · ${summary.ratio.toFixed(2)} × bare` : '';
    return {
      name: row.variant,
      kind: kindOf(row.variant),
      value: summary?.cpuUs ?? null,
      ...(summary ? { min: summary.cpuUsMin, max: summary.cpuUsMax } : {}),
      label: summary ? `${summary.cpuUs.toFixed(2)} µs${ratio}` : '',
      alarm: alarmOf(row),
    };
  });
  const names = rows.map(({ variant }) => variant);
  return `${keys(names)}<div class="card">${barChart('CPU µs a request', bars)}</div><p class="soft">CPU µs a request, median and the spread from the cheapest burst to the dearest.</p>`;
}

function latencyLines({ rows }: Sections['latency']): string {
  const quantiles = { p50Us: 'p50', p99Us: 'p99', p999Us: 'p99.9' } as const;
  const charts = (Object.keys(quantiles) as (keyof typeof quantiles)[]).map((key) => {
    const series = rows.map((row): Series => {
      const points = loadShares.flatMap((share) => {
        const value = medianLatencies(row.rounds[share], key);
        return value === null ? [] : [[100 * share, value] as const];
      });
      return { name: row.variant, kind: kindOf(row.variant), points };
    });
    const svg = lineChart({
      title: `${quantiles[key]}, µs`,
      x: {
        label: 'share of its own capacity',
        log: false,
        ticks: loadShares.map((share) => ({ at: 100 * share, label: `${100 * share} %` })),
      },
      y: { label: 'µs', log: true },
      series,
      height: 320,
    });
    return { svg };
  });
  return keys(rows.map(({ variant }) => variant)) + cards(charts);
}

function outageLines({ seconds, rows }: Sections['outage']): string {
  const values = rows.flatMap((row) => row.timeline.flatMap(({ p50Us, p99Us }) => [p50Us, p99Us]));
  const yRange = rangeOf(values, true);
  const charts = rows.map((row) => {
    const kind = kindOf(row.variant);
    const pointsOf = (key: 'p50Us' | 'p99Us') =>
      row.timeline.map((second, at) => [at, second[key]] as const);
    const svg = lineChart({
      title: row.variant,
      x: { label: 'second', log: false, ticks: secondTicks(row.timeline.length) },
      y: { label: 'µs', log: true },
      yRange,
      series: [
        { name: 'p99', kind, points: pointsOf('p99Us') },
        { name: 'p50', kind, points: pointsOf('p50Us'), dashed: true },
      ],
      bands: outageBands(row, seconds),
      width: 380,
      height: 230,
    });
    const alarm = alarmOf(row);
    return { svg, broken: alarm !== null, note: alarm ?? arrival(row) };
  });
  return cards(charts);
}

function outageBands({ timeline }: OutageRow, seconds: number): Band[] {
  const labels = { down: 'Kafka down', restart: 'starting' } as const;
  return (Object.keys(labels) as (keyof typeof labels)[]).flatMap((phase) => {
    const from = timeline.findIndex((second) => second.phase === phase);
    const to = timeline.findLastIndex((second) => second.phase === phase) + 1;
    const end = Math.min(to, timeline.length - 1);
    return from < 0 || end <= from
      ? []
      : [{ from, to: end, kind: phase, label: seconds > 2 ? labels[phase] : '' }];
  });
}

function arrival({ catchUp, delivery }: OutageRow): string {
  if (delivery === 'no log') return 'no log';
  if (catchUp === null) return 'all records there';
  const { backlog, waitedMs, tookMs } = catchUp;
  const wait = `all records there; ${backlog.toLocaleString('en')} waited for Kafka, the first came ${waitedMs.toFixed(0)} ms after it`;
  return tookMs === null ? wait : `${wait}, the last ${tookMs.toFixed(0)} ms later`;
}

function secondTicks(length: number): { at: number; label: string }[] {
  const step = Math.max(1, 5 * Math.ceil(length / 40));
  return Array.from({ length: Math.ceil(length / step) }, (_, index) => ({
    at: index * step,
    label: `${index * step}`,
  }));
}

function connectionLines({ rows }: Sections['connections']): string {
  const series = rows.map((row): Series => ({
    name: row.variant,
    kind: kindOf(row.variant),
    points: connectionCounts.flatMap((count) => {
      const value = cpuWith(row, count);
      return value === null ? [] : [[count, value] as const];
    }),
  }));
  const ticks = connectionCounts.map((at) => ({ at, label: at.toLocaleString('en') }));
  const x = { label: 'connections', log: true, ticks };
  const y = { label: 'µs', log: false };
  return cards([{ svg: lineChart({ title: 'µs a request', x, y, series }) }]);
}

function backlogLines({ rows }: Sections['backlog']): string {
  const figures = { cpuUsPerRequest: 'µs a request', p99Us: 'p99 at full load, µs' } as const;
  const charts = (Object.keys(figures) as (keyof typeof figures)[]).map((key) => {
    const series = rows.map(({ variant, steps }): Series => ({
      name: variant,
      kind: kindOf(variant),
      points: steps
        .filter(({ rounds }) => rounds.length > 0)
        .map(({ backlogMiB, rounds }) => [backlogMiB, median(rounds.map((round) => round[key]))]),
    }));
    const ticks = (rows[0]?.steps ?? []).map(({ backlogMiB: at }) => ({
      at,
      label: at.toFixed(0),
    }));
    const x = { label: 'MiB in the journal, Kafka away', log: false, ticks };
    return { svg: lineChart({ title: figures[key], x, y: { label: 'µs', log: false }, series }) };
  });
  return cards(charts);
}

function memoryLines({ rows }: Sections['memory']): string {
  const charts = rows.map(({ variant, samples }) => {
    const kind = kindOf(variant);
    const pointsOf = (key: 'anonMiB' | 'fileMiB') =>
      samples.map((sample, second) => [second, sample[key]] as const);
    return {
      svg: lineChart({
        title: `${variant}, MiB`,
        x: { label: 'second of full load', log: false, ticks: secondTicks(samples.length) },
        y: { label: 'MiB', log: false },
        series: [
          { name: 'anonymous', kind, points: pointsOf('anonMiB') },
          { name: 'journal, mapped', kind, points: pointsOf('fileMiB'), dashed: true },
        ],
      }),
    };
  });
  return cards(charts);
}

function tableHtml({ title, head, rows, legend, warnings }: Table): string {
  const isOwn = rows.map(([variant = '']) => kindOf(variant) === 'ours');
  const body = rows.map((cells, at) => {
    // Among others only.
    const own = isOwn[at] && isOwn.includes(false) ? ' class="own"' : '';
    return `<tr${own}>${cells.map(cellHtml).join('')}</tr>`;
  });
  return [
    `<h3>${escapeText(title)}</h3><div class="scroll"><table><thead><tr>`,
    head.map((cell, column) => headHtml(cell, rows[0]?.[column] ?? '')).join(''),
    `</tr></thead><tbody>${body.join('\n')}</tbody></table></div>`,
    legend === '' ? '' : `<p class="soft">${escapeText(legend)}</p>`,
    ...warnings.map((warning) => `<p class="warning">${escapeText(warning)}</p>`),
  ].join('');
}

/** Aligned as the column is. */
function headHtml(cell: string, below: string): string {
  return `<th${isNumber(below) ? '' : ' class="words"'}>${escapeText(cell)}</th>`;
}

function isNumber(cell: string): boolean {
  return /^[\d–≤≥-]/.test(cell);
}

function cellHtml(cell: string): string {
  const broken = /\b(?:FAILED|LOST|DOUBLED|BROKEN|NOT ALL|never)\b/.test(cell);
  const kind = broken ? 'alarm' : cell === 'kept' ? 'kept' : isNumber(cell) ? '' : 'words';
  return `<td${kind === '' ? '' : ` class="${kind}"`}>${escapeText(cell)}</td>`;
}
