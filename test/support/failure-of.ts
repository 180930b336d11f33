// What an attempt failed with, to be looked at like any other value. (The types of bun:test say that
// `expect(promise).rejects` is nothing to wait for, so the linter refuses the `await` it needs.)

/** The error that `attempt` rejects with, or that it throws; an attempt that succeeds is the failure. */
export async function failureOf(attempt: Promise<unknown> | (() => unknown)): Promise<Error> {
  try {
    await (typeof attempt === 'function' ? attempt() : attempt);
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a failure');
}
