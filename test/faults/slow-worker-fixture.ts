// A RECORD module: hoplog's own click, but worker 2 is not done with loading it before there is a file named
// `open` in GATE. Each worker leaves its pid there.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { click } from '../../src/record/click.ts';
import type { RequestContext } from '../../src/record/record-kind.ts';
import { waitFor } from '../support/wait-for.ts';

const GATE = process.env['GATE'] ?? '.';
const { worker } = JSON.parse(process.env['HOPLOG_SEAT'] ?? '{}') as { worker?: number };

writeFileSync(join(GATE, `worker-${worker}`), String(process.pid));
if (worker === 2) {
  await waitFor(() => existsSync(join(GATE, 'open')), { timeoutMs: 60_000, what: 'the gate' });
}

type Captured = ReturnType<typeof click.capture>;

export function capture(request: Request, context: RequestContext): Captured {
  return click.capture(request, context);
}

export function complete(captured: Captured): unknown {
  return click.complete(captured);
}
