// Prometheus' text exposition format 0.0.4, read as strictly as its description allows: every line is
// HELP, TYPE, a sample or empty; HELP and TYPE stand once, before the samples of their metric, which
// stand together; histograms are cumulative and complete. Throws on anything else.

export interface Metric {
  readonly type: string;
  readonly help: string;
  /** `name{labels}` → value. */
  readonly samples: Map<string, number>;
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"';
const HELP_LINE = new RegExp(`^# HELP (${NAME}) (.+)$`);
const TYPE_LINE = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram)$`);
const SAMPLE_LINE = new RegExp(`^((${NAME})(?:\\{${LABEL}(?:,${LABEL})*,?\\})?) (\\S+)$`);
const NUMBER = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]Inf|NaN)$/i;

export function readExposition(text: string): Map<string, Metric> {
  if (!text.endsWith('\n')) throw new Error('the last line does not end');
  const metrics = new Map<string, Metric>();
  const helps = new Map<string, string>();
  let current = '';
  for (const line of text.split('\n').filter(Boolean)) {
    const [, helped, help] = HELP_LINE.exec(line) ?? [];
    const [, typed, type] = TYPE_LINE.exec(line) ?? [];
    if (helped !== undefined) addOnce(helps, helped, help ?? '');
    else if (typed !== undefined) {
      current = typed;
      const help = helps.get(typed) ?? '';
      addOnce(metrics, typed, { type: type ?? '', help, samples: new Map() });
    } else addSample(line, current, metrics.get(current));
  }
  for (const [name, metric] of metrics) check(name, metric);
  return metrics;
}

function addOnce<Value>(map: Map<string, Value>, name: string, value: Value): void {
  if (map.has(name)) throw new Error(`a second HELP, TYPE or value of ${name}`);
  map.set(name, value);
}

function addSample(line: string, current: string, metric: Metric | undefined): void {
  const [, series, name, value] = SAMPLE_LINE.exec(line) ?? [];
  if (series === undefined || name === undefined || value === undefined || !NUMBER.test(value)) {
    throw new Error(`no line of an exposition: ${line}`);
  }
  const belongs = name === current || (metric?.type === 'histogram' && name.startsWith(current));
  if (!metric || !belongs) throw new Error(`${name} has no TYPE in front of it`);
  addOnce(metric.samples, series, Number(value.replace('Inf', 'Infinity')));
}

function check(name: string, { type, help, samples }: Metric): void {
  if (help === '') throw new Error(`${name} has no HELP`);
  if ((type === 'counter') !== name.endsWith('_total')) {
    throw new Error(`${name} is a ${type}: counters, and they alone, end in _total`);
  }
  if (type === 'counter' && [...samples.values()].some((value) => !(value >= 0))) {
    throw new Error(`${name} counts below 0`);
  }
  if (type === 'histogram') checkHistogram(name, samples);
}

function checkHistogram(name: string, samples: ReadonlyMap<string, number>): void {
  const bounds: number[] = [];
  const counts: number[] = [];
  for (const [series, count] of samples) {
    const bound = /_bucket\{le="([^"]+)"\}$/.exec(series)?.[1];
    if (bound === undefined) continue;
    bounds.push(Number(bound.replace('Inf', 'Infinity')));
    counts.push(count);
  }
  const ascending = (numbers: readonly number[]): boolean =>
    numbers.every((number, index) => index === 0 || number >= numbers[index - 1]!);
  if (!ascending(bounds) || !ascending(counts)) throw new Error(`${name} is not cumulative`);
  if (bounds.at(-1) !== Infinity) throw new Error(`${name} has no bucket +Inf`);
  if (samples.get(`${name}_count`) !== counts.at(-1)) throw new Error(`${name}: count ≠ +Inf`);
  if (!samples.has(`${name}_sum`)) throw new Error(`${name} has no sum`);
}
