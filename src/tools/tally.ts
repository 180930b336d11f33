// Which sequences of each boot are in a topic, and so which are missing, there more than once, or
// behind a later one. Pure: knows neither Kafka nor how a record says who it is.
//
//   run        sequences that follow each other, in the log too: what one batch holds, or several
//   missing    a sequence below the highest one of its boot that is nowhere
//   duplicate  a copy of a sequence beyond its first one
//   late       a record behind one with a higher sequence of its boot in its partition; a copy may be both
//
// Takes memory per run, not per record: the batcher numbers in order and batches are delivered whole.

/** `first` to `last`, both included. */
export interface Range {
  readonly first: number;
  readonly last: number;
}

export interface Place {
  readonly partition: number;
  readonly offset: number;
}

/** Sequences found twice: the first of them at `place`, and in a later offset or partition at `again`. */
export interface DuplicateRange extends Range {
  readonly place: Place;
  readonly again: Place;
}

/** Sequences from `place` on that stand behind sequence `behind`. */
export interface LateRange extends Range {
  readonly place: Place;
  readonly behind: number;
}

export interface BootReport {
  readonly bootId: string;
  /** Lowest and highest sequence found. */
  readonly first: number;
  readonly last: number;
  readonly records: number;
  /** Times of the oldest and the newest record, ms since 1970. */
  readonly from: number;
  readonly to: number;
  readonly missing: readonly Range[];
  readonly duplicate: readonly DuplicateRange[];
  readonly late: readonly LateRange[];
  /** Not found, and perhaps removed by retention: see `Trimmed`. */
  readonly trimmed: readonly Range[];
}

/**
 * Partitions whose beginning is gone, each with the time of the oldest record that is left, ms since 1970;
 * Infinity where none is left.
 */
export type Trimmed = ReadonlyMap<number, number>;

/** Behind a record that is so much older than a boot nothing of the boot has been removed. */
const DAY_MS = 24 * 60 * 60 * 1000;

export function countOf(ranges: readonly Range[]): number {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

interface Run extends Place {
  readonly first: number;
  last: number;
}

export class Tally {
  records = 0;
  readonly #boots = new Map<string, Boot>();
  #isSettled = false;

  /** Records must come partition by partition in the order of their offsets. Called for each one. */
  add(bootId: string, sequence: number, place: Place, timestamp: number): void {
    this.records++;
    let boot = this.#boots.get(bootId);
    if (!boot) {
      boot = new Boot(this.#isSettled ? 0 : Infinity);
      this.#boots.set(bootId, boot);
    }
    boot.add(sequence, place, timestamp);
  }

  /**
   * All partitions were read to their ends. One was read before the other, so of what is being written
   * a later batch may have been seen and an earlier one not: what is added from here on may fill
   * holes, but opens none.
   */
  settle(): void {
    this.#isSettled = true;
    for (const boot of this.#boots.values()) boot.judgedTo = boot.last;
  }

  /** Boots by their oldest record. */
  report(trimmed: Trimmed = new Map()): BootReport[] {
    const reports = [...this.#boots].map(([bootId, boot]) => boot.report(bootId, trimmed));
    return reports.toSorted((a, b) => a.from - b.from);
  }
}

class Boot {
  judgedTo: number;
  last = 0;
  #records = 0;
  #from = Infinity;
  #to = -Infinity;
  readonly #runs: Run[] = [];
  readonly #late: LateRange[] = [];
  /** Per partition: the sequence found first, and the highest one in front of the run that grows. */
  readonly #partitions = new Map<number, { readonly first: number; highest: number }>();
  #growing: Run | undefined;

  constructor(judgedTo: number) {
    this.judgedTo = judgedTo;
  }

  add(sequence: number, { partition, offset }: Place, timestamp: number): void {
    this.#records++;
    if (timestamp < this.#from) this.#from = timestamp;
    if (timestamp > this.#to) this.#to = timestamp;
    if (sequence > this.last) this.last = sequence;
    const run = this.#growing;
    const grows =
      run?.partition === partition &&
      sequence === run.last + 1 &&
      offset - run.offset === sequence - run.first;
    if (grows) {
      run.last = sequence;
      return;
    }
    this.#endRun();
    this.#growing = { first: sequence, last: sequence, partition, offset };
  }

  report(bootId: string, trimmed: Trimmed): BootReport {
    this.#endRun();
    this.#runs.sort((a, b) => a.first - b.first);
    const { holes, duplicate } = this.#sweep();
    const horizon = this.#horizon(trimmed);
    return {
      bootId,
      first: this.#runs[0]?.first ?? 0,
      last: this.last,
      records: this.#records,
      from: this.#from,
      to: this.#to,
      missing: holes.flatMap((hole) => within(hole, horizon, this.judgedTo)),
      trimmed: holes.flatMap((hole) => within(hole, 1, horizon - 1)),
      duplicate,
      late: this.#late,
    };
  }

  #endRun(): void {
    const run = this.#growing;
    if (!run) return;
    this.#growing = undefined;
    this.#runs.push(run);
    const { first, last, partition, offset } = run;
    const seen = this.#partitions.get(partition);
    if (!seen) {
      this.#partitions.set(partition, { first, highest: last });
      return;
    }
    if (first < seen.highest) {
      const place = { partition, offset };
      const lateTo = Math.min(last, seen.highest - 1);
      this.#late.push({ first, last: lateTo, place, behind: seen.highest });
    }
    seen.highest = Math.max(seen.highest, last);
  }

  /** Runs by their first sequence: what no run covers, and what more than one does. */
  #sweep(): { holes: Range[]; duplicate: DuplicateRange[] } {
    const holes: Range[] = [];
    const duplicate: DuplicateRange[] = [];
    /** The run that reaches farthest: it covers all from the next run's first sequence to its end. */
    let reach: Run = { first: 0, last: 0, partition: -1, offset: 0 };
    for (const run of this.#runs) {
      if (run.first > reach.last + 1) holes.push({ first: reach.last + 1, last: run.first - 1 });
      if (run.first <= reach.last) {
        const places = [placeIn(reach, run.first), placeIn(run, run.first)] as const;
        const [place, again] = isBehind(...places) ? places.toReversed() : places;
        duplicate.push({ first: run.first, last: Math.min(run.last, reach.last), place, again });
      }
      if (run.last > reach.last) reach = run;
    }
    return { holes, duplicate };
  }

  /**
   * Below it a sequence may have been in the part of a partition that is gone: what stood in front of
   * the first record found there, or anything where nothing of this boot was found. Where a much older
   * record is left, the part behind it is whole: only what was numbered before all that was found may be gone.
   */
  #horizon(trimmed: Trimmed): number {
    const first = this.#runs[0]?.first ?? 0;
    const bounds = [...trimmed].map(([partition, time]) =>
      time < this.#from - DAY_MS ? first : (this.#partitions.get(partition)?.first ?? Infinity),
    );
    return Math.max(1, ...bounds);
  }
}

/** The part of a range between `from` and `to`, both included; none where there is nothing left. */
function within({ first, last }: Range, from: number, to: number): Range[] {
  const part = { first: Math.max(first, from), last: Math.min(last, to) };
  return part.first <= part.last ? [part] : [];
}

function placeIn(run: Run, sequence: number): Place {
  return { partition: run.partition, offset: run.offset + sequence - run.first };
}

function isBehind(a: Place, b: Place): boolean {
  return a.partition > b.partition || (a.partition === b.partition && a.offset > b.offset);
}
