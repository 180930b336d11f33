// How property tests run: HOPLOG_RUNS multiplies the runs of all of them, HOPLOG_SEED replays the one
// that failed (fast-check prints its seed).

const { HOPLOG_RUNS = '1', HOPLOG_SEED } = process.env;
const TIMES = Number(HOPLOG_RUNS);

/** For `setDefaultTimeout`: far more than a property takes, a shrink included. */
export const PROPERTY_MAX_MS = 240_000 * Math.max(1, TIMES);

/** Parameters for `fc.assert`. */
export function runs(numRuns: number): { numRuns: number; seed?: number } {
  const times = { numRuns: Math.ceil(numRuns * TIMES) };
  return HOPLOG_SEED === undefined ? times : { ...times, seed: Number(HOPLOG_SEED) };
}
