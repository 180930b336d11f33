// A RECORD module: hoplog's own click, but on SIGUSR2 the next record blocks the event loop for BLOCK_MS.

import { click } from '../../src/record/click.ts';
import type { RequestContext } from '../../src/record/record-kind.ts';

const BLOCK_MS = Number(process.env['BLOCK_MS']);

let isBlockDue = false;
process.on('SIGUSR2', () => {
  isBlockDue = true;
});

type Captured = ReturnType<typeof click.capture>;

export function capture(request: Request, context: RequestContext): Captured {
  return click.capture(request, context);
}

export function complete(captured: Captured): unknown {
  if (isBlockDue) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BLOCK_MS);
  isBlockDue = false;
  return click.complete(captured);
}
