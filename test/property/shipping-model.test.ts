// For any history of appends, fdatasyncs, answers, refusals, cut connections, kills, power cuts and hours
// that pass: all that was answered is in Kafka or in the journal, nothing is invented, freed too early,
// out of order, altered when it is sent again, or there twice without being counted; a start ends and
// a second one finds the same. What each step does is in support/shipping-steps.ts, what each must
// leave true in support/shipping-model.ts. HOPLOG_SEED replays the history that failed.

import { expect, setDefaultTimeout, test } from 'bun:test';
import * as fc from 'fast-check';
import { segmentBytesFor } from '../../src/journal/segment-size.ts';
import { extent } from '../support/extent.ts';
import { PROPERTY_MAX_MS, runs } from '../support/properties.ts';
import { Model, Real } from '../support/shipping-model.ts';
import { heal, histories, PARTITIONS } from '../support/shipping-steps.ts';

setDefaultTimeout(extent(4, 20) * PROPERTY_MAX_MS);

const STEPS = extent(60, 200);
/** Enough is enough, on a busy machine too; what was found by then has been shrunk as far as it was. */
const TIME_MAX_MS = extent(10_000, 300_000);

const sizes = fc
  .record({ batchBytes: fc.constantFrom(1024, 4096), segments: fc.integer({ min: 3, max: 6 }) })
  .map(({ batchBytes, segments }) => ({
    batchBytes,
    journalBytes: segments * segmentBytesFor(2 ** 20, batchBytes),
  }));

test('any history keeps what was promised', async () => {
  const deadline = performance.now() + TIME_MAX_MS;
  let delivered = 0;
  await fc.assert(
    fc.asyncProperty(sizes, histories(STEPS), async (size, history) => {
      // Not fast-check's own limit: that leaves a history behind, and the fake clock with it.
      if (performance.now() > deadline) return;
      const model = new Model();
      await using real = new Real(model, size, PARTITIONS);
      await fc.asyncModelRun(() => ({ model, real }), history);
      await heal(real, model);
      delivered += model.delivered.size;
    }),
    runs(extent(25, 2000)),
  );
  expect(delivered).toBeGreaterThan(0);
});
