// Proves that what is counted up to really collects: objects that nothing refers to are gone afterwards,
// young ones by requests, those that survived a collection before by batches.

import { expect, test } from 'bun:test';
import { edenGC } from 'bun:jsc';
import { collectAfterBatch, collectAfterRequest } from '../../src/garbage.ts';

const OBJECTS = 1000;

/** How many of them the engine still has. A few may lie on the stack. */
function alive(references: readonly WeakRef<object>[]): number {
  return references.filter((reference) => reference.deref() !== undefined).length;
}

/** Weak references hold what they refer to until the task ends in which they were made or asked. */
async function nextTask(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

async function expectGone(references: readonly WeakRef<object>[]): Promise<void> {
  await nextTask();
  expect(alive(references)).toBeLessThan(OBJECTS / 10);
}

test('1,024 requests collect young objects', async () => {
  const references = Array.from({ length: OBJECTS }, () => new WeakRef({}));
  await nextTask();
  collectAfterRequest(1023);
  await nextTask();
  expect(alive(references)).toBe(OBJECTS);
  await nextTask();
  collectAfterRequest(1024);
  await expectGone(references);
});

test('16,384 batches collect old objects, too', async () => {
  const objects: (object | undefined)[] = Array.from({ length: OBJECTS }, () => ({}));
  const references = objects.map((object) => new WeakRef(object!));
  await nextTask();
  edenGC();
  objects.fill(undefined);
  collectAfterBatch(2 ** 14);
  await expectGone(references);
});
