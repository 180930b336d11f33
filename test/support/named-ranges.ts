// The records that log lines name by boot and sequences: one entry a record, as their `id` has it.

import type { LogLine } from './server.ts';

export function namedIn(lines: readonly LogLine[]): string[] {
  return lines.flatMap(({ bootId, firstSequence, lastSequence, count }) => {
    const [first, last] = [Number(firstSequence), Number(lastSequence)];
    if (last - first + 1 !== count) throw new Error(`${first} to ${last} are not ${String(count)}`);
    return Array.from(
      { length: last - first + 1 },
      (_, index) => `${String(bootId)}-${first + index}`,
    );
  });
}
