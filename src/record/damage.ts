// Which records a damaged place in a journal has cost, told by the records that are left beside it.

import { type RecordId, recordIdOf } from './decode.ts';

/** As journal/recovery.ts finds it. */
interface Hole {
  readonly before: Uint8Array | undefined;
  readonly after: Uint8Array | undefined;
  readonly bytes: number;
}

/** For the log; `behind` and `inFrontOf` are left out where nothing readable, or no id, is there. */
export interface DamageReport {
  readonly cause: 'journal damaged';
  readonly bytes: number;
  /** Ids of the records on either side: they are not lost. */
  readonly behind?: string;
  readonly inFrontOf?: string;
  /** As a LostRange says it, where one boot wrote both. `count`: at most, dropped ones are in it. */
  readonly bootId?: string;
  readonly firstSequence?: number;
  readonly lastSequence?: number;
  readonly count?: number;
}

/** The same for what may be damage, and may be Kafka's. */
export type GapReport = Omit<DamageReport, 'cause' | 'bytes'> & { readonly cause: 'journal gap' };

export function reportDamage({ before, after, bytes }: Hole): DamageReport {
  const behind = before && recordIdOf(before);
  const inFrontOf = after && recordIdOf(after);
  return {
    cause: 'journal damaged',
    bytes,
    ...(behind && { behind: idText(behind) }),
    ...(inFrontOf && { inFrontOf: idText(inFrontOf) }),
    ...(behind && inFrontOf?.bootId === behind.bootId && between(behind, inFrontOf)),
  };
}

/**
 * Which records a segment had that is not there any more. Undefined = none is missing between its
 * neighbours, or they have no ids.
 */
export function reportGap(gap: Pick<Hole, 'before' | 'after'>): GapReport | undefined {
  const { cause: _, bytes: __, ...beside } = reportDamage({ ...gap, bytes: 0 });
  const next = gap.after && recordIdOf(gap.after);
  // The first record of another boot follows whatever was there.
  const isMissing = beside.count === undefined ? next && next.sequence > 1 : beside.count > 0;
  return isMissing ? { cause: 'journal gap', ...beside } : undefined;
}

/** `bootId-sequence` as in the record; undefined where it has none. */
export function idOf(value: Uint8Array): string | undefined {
  const id = recordIdOf(value);
  return id && idText(id);
}

function idText({ bootId, sequence }: RecordId): string {
  return `${bootId}-${sequence}`;
}

/** The records of a boot stand in a journal in the order of their sequences. */
function between({ bootId, sequence: last }: RecordId, { sequence: next }: RecordId) {
  return { bootId, firstSequence: last + 1, lastSequence: next - 1, count: next - 1 - last };
}
