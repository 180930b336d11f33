// For any order of appends, seals, takes, placements, acknowledgements, kills and restarts, in a
// journal so small that it is full now and then: what comes out is what a plain list would give. The
// commands and what each compares are in support/journal-model.ts.

import { expect, setDefaultTimeout, test } from 'bun:test';
import * as fc from 'fast-check';
import {
  acknowledge,
  acknowledgeOne,
  append,
  appendOversize,
  deliver,
  kill,
  Model,
  place,
  Real,
  reopen,
  seal,
  settle,
  take,
  takeOne,
} from '../support/journal-model.ts';
import { PROPERTY_MAX_MS, runs } from '../support/properties.ts';
import { waitFor } from '../support/wait-for.ts';

setDefaultTimeout(PROPERTY_MAX_MS);

const placement = fc.record({
  partition: fc.nat(50),
  producerId: fc.bigInt({ min: 0n, max: 10n ** 6n }),
  producerEpoch: fc.nat(3),
  baseSequence: fc.nat(2 ** 31 - 1),
});

const few = fc.tuple(fc.integer({ min: 1, max: 10 }), fc.nat(300));
const many = fc.tuple(fc.integer({ min: 100, max: 400 }), fc.integer({ min: 100, max: 300 }));

const commands = [
  few.map(([count, bytes]) => append(count, bytes)),
  few.map(([count, bytes]) => append(count, bytes)),
  many.map(([count, bytes]) => append(count, bytes)),
  fc.constant(appendOversize()),
  fc.constant(seal()),
  fc.constant(take()),
  fc.constant(take()),
  fc.tuple(fc.nat(20), placement).map(([which, where]) => place(which, where)),
  fc.nat(20).map((which) => acknowledge(which)),
  fc.constant(deliver()),
  fc.constant(settle()),
  fc.constant(kill()),
  fc.constant(reopen()),
];

const sizes = fc
  .tuple(fc.constantFrom(1024, 2048, 4096), fc.integer({ min: 3, max: 6 }))
  .map(([batchBytes, segments]) => {
    const segmentBytes = Math.ceil((4099 + batchBytes + 65_536) / 4096) * 4096;
    return { batchBytes, journalBytes: segments * segmentBytes };
  });

/** Whatever came before: all can be delivered, and then there is room again. */
async function drain(model: Model, real: Real): Promise<void> {
  real.journal.seal();
  while (takeOne(model, real)) acknowledgeOne(model, real, 0);
  while (real.taken.length > 0) acknowledgeOne(model, real, real.taken.length - 1);
  takeOne(model, real);
  expect(model.acknowledged.size).toBe(model.appended.length);
  expect([real.journal.backlogBytes, real.journal.oldestTimestamp]).toEqual([0, undefined]);
  await waitFor(() => !real.journal.full, { timeoutMs: 3000, what: 'room', intervalMs: 1 });
  expect(real.journal.append('room again', 0)).toBe('appended');
}

test('any history gives what a plain list gives', async () => {
  let timesFull = 0;
  await fc.assert(
    fc.asyncProperty(
      sizes,
      fc.commands(commands, { maxCommands: 60, size: '+1' }),
      async (size, history) => {
        const model = new Model();
        await using real = new Real(size);
        await fc.asyncModelRun(() => ({ model, real }), history);
        if (real.journal.full) timesFull++;
        await drain(model, real);
      },
    ),
    runs(100),
  );
  expect(timesFull).toBeGreaterThan(0);
});
