// `verify`: reads the whole topic and says which records are missing, duplicate or late, by boot id
// and sequence. What it counts is what tally.ts defines; what it cannot know it says.

import { type Config, ConfigError } from '../config.ts';
import { Cluster } from '../kafka/cluster.ts';
import { TopicReader, TopicUnreadable } from '../kafka/topic-reader.ts';
import { recordIdOf } from '../record/decode.ts';
import { isProbe } from '../record/probe.ts';
import { type BootReport, countOf, type Place, type Range, Tally } from './tally.ts';

const EXIT_COMPLETE = 0;
const EXIT_INCOMPLETE = 1;
/** The text names so many ranges of a kind; `--json` names all. */
const RANGES_MAX = 100;

interface Report {
  readonly topic: string;
  readonly partitions: number;
  readonly records: number;
  /** Records that say no boot id and sequence: not judged. */
  readonly withoutId: number;
  /** Records that were written while the topic was read. */
  readonly arrived: number;
  /** Partitions whose beginning retention has removed. */
  readonly trimmed: readonly number[];
  readonly boots: readonly BootReport[];
}

/** Returns the exit code. @throws {ConfigError} {TopicUnreadable} */
export async function verify(config: Config, json: boolean): Promise<number> {
  const { KAFKA_BROKERS: brokers, KAFKA_TOPIC: topic } = config;
  if (brokers.length === 0) throw new ConfigError('verify reads a topic: set KAFKA_BROKERS');
  const report = await read(new TopicReader(Cluster.of(config), topic), topic);
  await Bun.write(Bun.stdout, json ? `${JSON.stringify(forMachines(report))}\n` : inWords(report));
  return isComplete(report) ? EXIT_COMPLETE : EXIT_INCOMPLETE;
}

async function read(reader: TopicReader, topic: string): Promise<Report> {
  const tally = new Tally();
  let withoutId = 0;
  /** By partition: when its first record was received. */
  const firstTimes = new Map<number, number>();
  const readRound = async (): Promise<void> => {
    for await (const records of reader.read()) {
      for (const { partition, offset, timestamp, value } of records) {
        if (!firstTimes.has(partition)) firstTimes.set(partition, timestamp);
        const id = recordIdOf(value);
        if (id) tally.add(id.bootId, id.sequence, { partition, offset }, timestamp);
        else if (!isProbe(value)) withoutId++;
      }
    }
    const [leaderless] = reader.leaderless;
    if (leaderless === undefined) return;
    throw new TopicUnreadable(
      `partition ${leaderless} of topic ${topic} has no leader: its records cannot be read now`,
    );
  };
  await readRound();
  tally.settle();
  const before = tally.records + withoutId;
  await readRound();
  const records = tally.records + withoutId;
  refuseUnjudgeable(topic, records, withoutId);
  const partitions = [...reader.begins];
  const trimmed = partitions.filter(([, begin]) => begin > 0).map(([partition]) => partition);
  return {
    topic,
    partitions: partitions.length,
    records,
    withoutId,
    arrived: records - before,
    trimmed,
    boots: tally.report(
      new Map(trimmed.map((partition) => [partition, firstTimes.get(partition) ?? Infinity])),
    ),
  };
}

function refuseUnjudgeable(topic: string, records: number, withoutId: number): void {
  if (records === 0) throw new TopicUnreadable(`topic ${topic} is empty: nothing to verify`);
  if (withoutId < records) return;
  throw new TopicUnreadable(
    `no record of topic ${topic} has an id, so none can be missed. RECORD=seed writes none; ` +
      'RECORD=click does, and a module of your own if its records keep the field id',
  );
}

function isComplete({ boots }: Report): boolean {
  return boots.every(
    ({ missing, duplicate, late }) => missing.length + duplicate.length + late.length === 0,
  );
}

function totalsOf({ boots }: Report) {
  const total = (kind: 'missing' | 'duplicate' | 'late' | 'trimmed'): number =>
    boots.reduce((sum, boot) => sum + countOf(boot[kind]), 0);
  return {
    missing: total('missing'),
    duplicate: total('duplicate'),
    late: total('late'),
    trimmed: total('trimmed'),
  };
}

function forMachines(report: Report) {
  const withCount = (ranges: readonly Range[]) => ({ count: countOf(ranges), ranges });
  const boots = report.boots.map((boot) => ({
    ...boot,
    from: new Date(boot.from).toISOString(),
    to: new Date(boot.to).toISOString(),
    missing: withCount(boot.missing),
    duplicate: withCount(boot.duplicate),
    late: withCount(boot.late),
    trimmed: withCount(boot.trimmed),
  }));
  return {
    ...report,
    complete: isComplete(report),
    total: totalsOf(report),
    boots,
    unknown: unknowns(report),
  };
}

function inWords(report: Report): string {
  const { topic, partitions, records, boots } = report;
  const { missing, duplicate, late } = totalsOf(report);
  const lines = [
    `topic ${topic}: ${counted(records, 'record')} of ${counted(boots.length, 'boot')} ` +
      `in ${counted(partitions, 'partition')}`,
    '',
    ...tableOf(boots),
    ...section('missing', boots, 'missing', () => ''),
    ...section(
      'duplicate',
      boots,
      'duplicate',
      ({ place, again }) => ` at ${spell(place)} and again at ${spell(again)}`,
    ),
    ...section(
      'late',
      boots,
      'late',
      ({ place, behind }) => ` at ${spell(place)}, behind ${behind}`,
    ),
    '',
    ...unknowns(report).map((line) => `not known: ${line}`),
    '',
    `${isComplete(report) ? 'complete' : 'NOT COMPLETE'}: ` +
      `${missing} missing, ${duplicate} duplicate, ${late} late`,
  ];
  return `${lines.join('\n')}\n`;
}

function tableOf(boots: readonly BootReport[]): string[] {
  const columns: readonly (readonly [head: string, cell: (boot: BootReport) => unknown])[] = [
    ['boot', ({ bootId }) => bootId],
    ['first', ({ first }) => first],
    ['last', ({ last }) => last],
    ['records', ({ records }) => records],
    ['missing', ({ missing }) => countOf(missing)],
    ['duplicate', ({ duplicate }) => countOf(duplicate)],
    ['late', ({ late }) => countOf(late)],
    ['from', ({ from }) => new Date(from).toISOString()],
    ['to', ({ to }) => new Date(to).toISOString()],
  ];
  const padded = columns.map(([head, cell]) => {
    const cells = [head, ...boots.map((boot) => String(cell(boot)))];
    const width = Math.max(...cells.map(({ length }) => length));
    return cells.map((text) => text.padStart(width));
  });
  return ['head', ...boots].map((_, row) => padded.map((column) => column[row]).join('  '));
}

/** The ranges of one kind, each with its boot. */
function section<Kind extends 'missing' | 'duplicate' | 'late'>(
  title: string,
  boots: readonly BootReport[],
  kind: Kind,
  detail: (range: BootReport[Kind][number]) => string,
): string[] {
  const lines = boots.flatMap((boot) =>
    boot[kind].map((range) => `  ${boot.bootId} ${spellRange(range)}${detail(range)}`),
  );
  if (lines.length === 0) return [];
  const shown = lines.slice(0, RANGES_MAX);
  const more = lines.length - shown.length;
  return ['', title, ...shown, ...(more > 0 ? [`  … and ${more} more ranges: see --json`] : [])];
}

/** What reading the topic cannot tell. */
function unknowns(report: Report): string[] {
  const { withoutId, arrived, trimmed, boots } = report;
  const { trimmed: trimmedRecords } = totalsOf(report);
  const lines = [
    'how each boot ended: what it recorded behind its last record here is not counted as missing',
  ];
  if (trimmed.length > 0) {
    lines.push(
      `what retention removed: partition ${trimmed.join(', ')} does not begin at offset 0, and ` +
        `${trimmedRecords} sequences that may have been there are not counted as missing` +
        boots
          .filter((boot) => boot.trimmed.length > 0)
          .slice(0, RANGES_MAX)
          .map((boot) => `; ${boot.bootId} below ${(boot.trimmed.at(-1)?.last ?? 0) + 1}`)
          .join(''),
    );
  }
  if (withoutId > 0) lines.push(`${withoutId} records without an id: not judged`);
  if (arrived > 0) {
    lines.push(
      `what is still on its way: ${arrived} records arrived meanwhile; what is missing now may be ` +
        'in a journal, so look again when hoplog_journal_backlog_bytes is 0',
    );
  }
  return lines;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function spell({ partition, offset }: Place): string {
  return `${partition}:${offset}`;
}

function spellRange({ first, last }: Range): string {
  return `${first}–${last} (${last - first + 1})`;
}
