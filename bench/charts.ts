// Charts as SVG text: horizontal bars with their spread, and lines. Colours are CSS classes of the page
// (`v-ours`, `v-go`, …), so that light and dark are its matter alone. Numbers stand at what they belong to.

export interface Bar {
  name: string;
  kind: string;
  /** Null = there is none, and `note` says why. */
  value: number | null;
  min?: number;
  max?: number;
  label: string;
  /** What must not be overlooked about it. */
  alarm: string | null;
}

export interface Series {
  name: string;
  kind: string;
  points: readonly (readonly [number, number])[];
  dashed?: boolean;
}

export interface Axis {
  label: string;
  log: boolean;
  /** Of the x axis, where it has values of its own. */
  ticks?: readonly { at: number; label: string }[];
}

export interface Band {
  from: number;
  to: number;
  kind: string;
  label: string;
}

const CHARACTER = 6.6;
const ALARM_CHARACTERS_MAX = 64;

export function escapeText(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')

    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

function text(x: number, y: number, content: string, kind = '', anchor = 'start'): string {
  return `<text x="${at(x)}" y="${at(y)}" class="${kind}" text-anchor="${anchor}">${escapeText(content)}</text>`;
}

function line(x1: number, y1: number, x2: number, y2: number, kind: string): string {
  return `<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" class="${kind}"/>`;
}

function at(value: number): string {
  return `${Math.round(value * 10) / 10}`;
}

function svg(width: number, height: number, title: string, parts: readonly string[]): string {
  return (
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeText(title)}">` +
    `${parts.join('')}</svg>`
  );
}

/** Smallest first; those without a value last. */
export function barChart(title: string, bars: readonly Bar[]): string {
  const [width, row, top] = [1_000, 27, 6];
  const left = 16 + CHARACTER * 1.1 * Math.max(...bars.map(({ name }) => name.length));
  const right = 150;
  const greatest = Math.max(...bars.map(({ value, max }) => max ?? value ?? 0), Number.MIN_VALUE);
  const x = (value: number) => left + ((width - left - right) * value) / greatest;
  const sorted = bars.toSorted((a, b) => (a.value ?? Infinity) - (b.value ?? Infinity));
  const parts = sorted.flatMap((bar, index) => {
    const y = top + index * row;
    const middle = y + row / 2;
    const own = bar.kind === 'ours' ? 'name own' : 'name';
    const name = text(left - 8, middle + 4, bar.name, own, 'end');
    const alarm = bar.alarm === null ? '' : shorten(bar.alarm);
    if (bar.value === null) return [name, text(left, middle + 4, alarm, 'alarm')];
    const { min = bar.value, max = bar.value } = bar;
    const end = x(Math.max(max, bar.value)) + 8;
    return [
      name,
      `<rect x="${at(left)}" y="${at(y + 4)}" width="${at(x(bar.value) - left)}" height="${row - 8}" rx="2" class="bar v-${bar.kind}${alarm === '' ? '' : ' broken'}"/>`,
      line(x(min), middle, x(max), middle, 'spread'),
      line(x(min), middle - 4, x(min), middle + 4, 'spread'),
      line(x(max), middle - 4, x(max), middle + 4, 'spread'),
      text(end, middle + 4, bar.label, bar.kind === 'ours' ? 'value own' : 'value'),
      ...(alarm === '' ? [] : [text(left + 8, middle + 4, alarm, 'alarm inside')]),
    ];
  });
  return svg(width, top + bars.length * row + 6, title, parts);
}

function shorten(alarm: string): string {
  return alarm.length > ALARM_CHARACTERS_MAX ? `${alarm.slice(0, ALARM_CHARACTERS_MAX)}…` : alarm;
}

export interface LineChart {
  title: string;
  x: Axis;
  y: Axis;
  series: readonly Series[];
  bands?: readonly Band[];
  /** Of the y axis; what the series have if not given, so that charts side by side can share one. */
  yRange?: readonly [number, number];
  width?: number;
  height?: number;
}

export function lineChart(chart: LineChart): string {
  const { title, series, bands = [], width = 480, height = 280 } = chart;
  const drawn = series.filter(({ points }) => points.length > 0);
  const named = drawn.some(({ name }) => name !== '');
  const longest = Math.max(0, ...drawn.map(({ name }) => name.length));
  const box = {
    left: 52,
    right: width - (named ? 14 + CHARACTER * longest : 12),
    top: 28,
    bottom: height - 40,
  };
  const xs = drawn.flatMap(({ points }) => points.map(([x]) => x));
  const ys = drawn.flatMap(({ points }) => points.map(([, y]) => y));
  const yScale = scaleOf(chart.y.log, chart.yRange ?? rangeOf(ys, chart.y.log), [
    box.bottom,
    box.top,
  ]);
  const xScale = scaleOf(chart.x.log, [Math.min(...xs), Math.max(...xs)], [box.left, box.right]);
  const parts = [
    text(box.left, 16, title, 'title'),
    ...bands.flatMap(({ from, to, kind, label }) => [
      `<rect x="${at(xScale(from))}" y="${box.top}" width="${at(xScale(to) - xScale(from))}" height="${box.bottom - box.top}" class="band ${kind}"/>`,
      text((xScale(from) + xScale(to)) / 2, box.top + 12, label, 'band-label', 'middle'),
    ]),
    ...yTicks(chart.y.log, chart.yRange ?? rangeOf(ys, chart.y.log)).flatMap((value) => [
      line(box.left, yScale(value), box.right, yScale(value), 'grid'),
      text(box.left - 6, yScale(value) + 4, compact(value), 'tick', 'end'),
    ]),
    ...(chart.x.ticks ?? []).map(({ at: value, label }) =>
      text(xScale(value), box.bottom + 16, label, 'tick', 'middle'),
    ),
    text((box.left + box.right) / 2, height - 6, chart.x.label, 'tick', 'middle'),
    ...[...drawn].sort(ownLast).map(({ points, kind, dashed }) => {
      const path = points.map(([x, y]) => `${at(xScale(x))},${at(yScale(y))}`).join(' ');
      return `<polyline points="${path}" class="line l-${kind}${dashed ? ' dashed' : ''}"/>`;
    }),
    ...(named ? endLabels(drawn, yScale, box) : []),
  ];
  return svg(width, height, title, parts);
}

function ownLast(a: Series, b: Series): number {
  return Number(a.kind === 'ours') - Number(b.kind === 'ours');
}

/** Names at the ends of their lines, pushed apart where they would lie on each other. */
function endLabels(
  series: readonly Series[],
  yScale: (value: number) => number,
  box: { right: number; top: number; bottom: number },
): string[] {
  const gap = 12;
  const labels = series
    .map(({ name, kind, points }) => ({ name, kind, y: yScale(points.at(-1)![1]) }))
    .toSorted((a, b) => a.y - b.y);
  let last = box.top - gap;
  for (const label of labels) {
    label.y = Math.max(label.y, last + gap);
    last = label.y;
  }
  // Too low now: back up again from the bottom.
  let next = box.bottom + gap;
  for (const label of labels.toReversed()) {
    label.y = Math.min(label.y, next - gap);
    next = label.y;
  }
  return labels.map(({ name, kind, y }) => text(box.right + 6, y + 4, name, `end t-${kind}`));
}

function scaleOf(
  log: boolean,
  [low, high]: readonly [number, number],
  [from, to]: readonly [number, number],
): (value: number) => number {
  const turn = (value: number) => (log ? Math.log10(Math.max(value, Number.MIN_VALUE)) : value);
  const span = turn(high) - turn(low) || 1;
  return (value) => from + ((to - from) * (turn(value) - turn(low))) / span;
}

/** Of one or several charts: whole decades, or from 0. */
export function rangeOf(values: readonly number[], log: boolean): [number, number] {
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (!Number.isFinite(low)) return log ? [1, 10] : [0, 1];
  if (!log) return [0, high * 1.05 || 1];
  return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high * 1.01))];
}

function yTicks(log: boolean, [low, high]: readonly [number, number]): number[] {
  if (log) {
    const decades = Math.round(Math.log10(high / low));
    return Array.from({ length: decades + 1 }, (_, index) => low * 10 ** index);
  }
  const rough = high / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough)!;
  return Array.from({ length: Math.floor(high / step) + 1 }, (_, index) => index * step);
}

export function compact(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))} M`;
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))} k`;
  return `${Number(value.toPrecision(3))}`;
}
