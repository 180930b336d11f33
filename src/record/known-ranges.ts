// Which records are meant, said as short as it can be: runs of sequence numbers within a boot.

import { type RecordId, recordIdOf } from './decode.ts';

/** Records of one boot whose sequence numbers follow each other; seed records have no id. */
export interface KnownRange {
  readonly bootId?: string;
  readonly firstSequence?: number;
  readonly lastSequence?: number;
  readonly count: number;
}

/** The runs among the encoded records of a batch: in the order of their sequences, of one kind. */
export function knownRanges(values: readonly Uint8Array[]): KnownRange[] {
  const whole = rangeOf(values);
  // Nearly always; then 2 records were decoded instead of thousands.
  if (whole) return [whole];
  const ids = values.map((value) => recordIdOf(value));
  const ranges: KnownRange[] = [];
  for (let from = 0; from < ids.length;) {
    let to = from + 1;
    while (to < ids.length && follows(ids[to - 1], ids[to])) to++;
    ranges.push(described(ids[from], to - from));
    from = to;
  }
  return ranges;
}

/** All in one, if the first and the last one are of a boot and as far apart as there are records. */
function rangeOf(values: readonly Uint8Array[]): KnownRange | undefined {
  const [first, last] = [values[0], values.at(-1)].map((value) => value && recordIdOf(value));
  if (!first || !last || first.bootId !== last.bootId) return undefined;
  const count = last.sequence - first.sequence + 1;
  return count === values.length ? described(first, count) : undefined;
}

function follows(before: RecordId | undefined, id: RecordId | undefined): boolean {
  if (!before || !id) return before === id;
  return id.bootId === before.bootId && id.sequence === before.sequence + 1;
}

function described(first: RecordId | undefined, count: number): KnownRange {
  if (!first) return { count };
  const { bootId, sequence } = first;
  return { bootId, firstSequence: sequence, lastSequence: sequence + count - 1, count };
}
