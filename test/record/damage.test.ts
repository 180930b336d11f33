// What the log says of a damaged place in the journal: exactly the records that are missing where their
// neighbours tell, and no more than is known where they do not.

import { expect, test } from 'bun:test';
import { idOf, reportDamage, reportGap } from '../../src/record/damage.ts';

const BOOT = '0123456789abcdef';
const OTHER = 'fedcba9876543210';

function record(id: string): Uint8Array {
  return Buffer.from(JSON.stringify({ id, query: '' }));
}

test('between two records of a boot it is the sequences in between', () => {
  const hole = { before: record(`${BOOT}-7`), after: record(`${BOOT}-12`), bytes: 4711 };
  expect(reportDamage(hole)).toEqual({
    cause: 'journal damaged',
    bytes: 4711,
    behind: `${BOOT}-7`,
    inFrontOf: `${BOOT}-12`,
    bootId: BOOT,
    firstSequence: 8,
    lastSequence: 11,
    count: 4,
  });
});

test.each([
  [
    'two boots',
    record(`${BOOT}-7`),
    record(`${OTHER}-2`),
    { behind: `${BOOT}-7`, inFrontOf: `${OTHER}-2` },
  ],
  ['nothing in front', undefined, record(`${BOOT}-3`), { inFrontOf: `${BOOT}-3` }],
  ['nothing behind', record(`${BOOT}-3`), undefined, { behind: `${BOOT}-3` }],
  ['records without id', Buffer.from('{"a":1}'), Buffer.from('x'), {}],
])('with %s it claims no range', (_name, before, after, beside) => {
  expect(reportDamage({ before, after, bytes: 1 })).toEqual({
    cause: 'journal damaged',
    bytes: 1,
    ...beside,
  });
});

test.each([
  [
    'two records of a boot',
    `${BOOT}-7`,
    `${BOOT}-12`,
    { bootId: BOOT, firstSequence: 8, count: 4 },
  ],
  ['a record and the second one of another boot', `${BOOT}-7`, `${OTHER}-2`, {}],
])('a gap between %s is one', (_name, behind, inFrontOf, range) => {
  const report = reportGap({ before: record(behind), after: record(inFrontOf) });
  expect(report).toMatchObject({ cause: 'journal gap', behind, inFrontOf, ...range });
});

test.each([
  ['neighbours', record(`${BOOT}-7`), record(`${BOOT}-8`)],
  ['a record and the first one of another boot', record(`${BOOT}-7`), record(`${OTHER}-1`)],
  ['a record and nothing', record(`${BOOT}-7`), undefined],
  ['records without id', Buffer.from('{}'), Buffer.from('{}')],
])('between %s nothing is missing', (_name, before, after) => {
  expect(reportGap({ before, after })).toBeUndefined();
});

test('an id is spelled as in the record', () => {
  expect(idOf(record(`${BOOT}-3`))).toBe(`${BOOT}-3`);
  expect(idOf(Buffer.from('{}'))).toBeUndefined();
});
