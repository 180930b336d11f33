// The one way tests wait: ask again until the condition holds, never for a fixed time.
// A condition that throws counts as "not yet", so that a server still starting or an `expect` still
// failing can simply be asked again; the last error is in the message and is its `cause`.
// A condition that never settles (a frozen broker) times out all the same. On a machine that is overloaded
// everything takes longer, and so may the condition: `patience` times as long.

import { patience } from './patience.ts';

export interface WaitOptions {
  /** On a machine that is not overloaded. */
  readonly timeoutMs: number;
  /** Completes the sentence "timed out after N ms waiting for …". */
  readonly what: string;
  /** Pause between two questions. */
  readonly intervalMs?: number;
}

export class WaitTimedOut extends Error {
  override readonly name = 'WaitTimedOut';
}

type Truthy<T> = Exclude<T, false | 0 | 0n | '' | null | undefined>;

/** Resolves with the first truthy value of `condition`; throws `WaitTimedOut`. */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  { timeoutMs, what, intervalMs = 25 }: WaitOptions,
): Promise<Truthy<T>> {
  const startedAt = performance.now();
  const { promise: deadline, resolve: expire } = Promise.withResolvers<'expired'>();
  const expireOnceDue = (): void => {
    const leftMs = startedAt + timeoutMs * patience() - performance.now();
    if (leftMs > 0) timer = setTimeout(expireOnceDue, leftMs);
    else expire('expired');
  };
  let timer = setTimeout(expireOnceDue, timeoutMs);
  let lastError: unknown;
  try {
    for (;;) {
      const asked = await Promise.race([ask(condition), deadline]);
      if (asked === 'expired') break;
      if (asked.value) return asked.value as Truthy<T>;
      lastError = asked.error;
      if ((await Promise.race([Bun.sleep(intervalMs), deadline])) === 'expired') break;
    }
  } finally {
    clearTimeout(timer);
  }
  const reason = lastError instanceof Error ? `: ${lastError.message}` : '';
  const waitedMs = Math.round(performance.now() - startedAt);
  throw new WaitTimedOut(`timed out after ${waitedMs} ms waiting for ${what}${reason}`, {
    cause: lastError,
  });
}

/** Never rejects: an attempt still running when the time is up must not end as unhandled. */
async function ask<T>(condition: () => T | Promise<T>): Promise<{ value?: T; error?: unknown }> {
  try {
    return { value: await condition() };
  } catch (error) {
    return { error };
  }
}
