// How much longer than on a quiet machine everything may take now. Limits of time are meant for a machine
// that has a core for us; where many wait for a core, a limit that is met says something of the machine
// and not of hoplog. So limits that end a wait or judge a time are multiplied by this, here and nowhere else.

import { readFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';

/** Processes that want a core, for each there is: from here on the machine is slow, not hoplog. */
const OVERLOAD = 1;
const PATIENCE_MAX = 10;

/** 1 where the machine keeps up; the number of those that wait for each core where it does not. */
export function patience(): number {
  const crowd = Math.max(loadavg()[0]!, wantingNow()) / availableParallelism();
  return crowd > OVERLOAD ? Math.min(crowd, PATIENCE_MAX) : 1;
}

/** The load average is of the last minute: it knows nothing yet of what began a moment ago. */
function wantingNow(): number {
  try {
    return Number(/ (\d+)\/\d+ /.exec(readFileSync('/proc/loadavg', 'utf8'))?.[1] ?? 0);
  } catch {
    return 0; // Linux alone has it
  }
}
