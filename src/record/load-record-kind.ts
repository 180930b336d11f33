// From the option RECORD to a record kind: a built-in one, or a user's module.

import { resolve } from 'node:path';
import { click } from './click.ts';
import type { RecordKind } from './record-kind.ts';
import { seed } from './seed.ts';

/** RECORD names no kind: the message says why and what to do. */
export class RecordKindUnusable extends Error {
  override readonly name = 'RecordKindUnusable';
}

/**
 * `click`, `seed`, or the path of a module that exports `capture` and `complete`.
 * @throws {RecordKindUnusable}
 */
export async function loadRecordKind(name: string): Promise<RecordKind<unknown>> {
  if (name === 'click') return click;
  if (name === 'seed') return seed;
  const path = resolve(name);
  const advice =
    'RECORD is click, seed, or the path of a module that exports the functions ' +
    'capture(request, context) and complete(captured); examples/record-campaign.ts is one';
  let module: Partial<RecordKind<unknown>>;
  try {
    module = (await import(path)) as Partial<RecordKind<unknown>>;
  } catch (error) {
    const [reason] = (error instanceof Error ? error.message : Bun.inspect(error)).split('\n');
    throw new RecordKindUnusable(`RECORD=${name} cannot be loaded (${reason}). ${advice}`);
  }
  const { capture, complete } = module;
  const missing = [
    typeof capture === 'function' ? '' : 'capture',
    typeof complete === 'function' ? '' : 'complete',
  ].filter(Boolean);
  if (!capture || !complete || missing.length > 0) {
    throw new RecordKindUnusable(
      `RECORD=${name} does not export ${missing.length > 1 ? 'the functions' : 'a function'} ` +
        `${missing.join(' and ')}. ${advice}`,
    );
  }
  return { capture, complete };
}
