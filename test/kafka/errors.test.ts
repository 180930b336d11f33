// The table of broker codes: each says what is known of the batch and what to do next, none drops a
// record, what is unknown is held; and the back-off that keeps a thousand servers from retrying in step.

import { describe, expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { backOffMs, HOLD_MS, NO_ANSWER, RECOVERED, verdictOf } from '../../src/kafka/errors.ts';
import { runs } from '../support/properties.ts';

/** Kafka 4.3 has codes from -1 (UNKNOWN_SERVER_ERROR) to below this. */
const CODES_END = 140;
const ALL_CODES = Array.from({ length: CODES_END + 1 }, (_, index) => index - 1);

describe('verdicts', () => {
  test('only success and a duplicate end the matter: no other code can drop a record', () => {
    const done = ALL_CODES.filter((code) => verdictOf(code).action === 'done');
    expect(done).toEqual([0, 46]);
    const persisted = ALL_CODES.filter((code) => verdictOf(code).persistence === 'persisted');
    expect(persisted).toEqual([0, 46]);
  });

  test('a code that the table does not know is held, and named by its number', () => {
    for (const code of [-1, 1, 4, 99, 130, 32_767, -32_768]) {
      expect(verdictOf(code)).toEqual({
        name: `error code ${code}`,
        action: 'hold',
        persistence: 'unknown',
      });
    }
  });

  test('any number at all has a verdict', () => {
    fc.assert(
      fc.property(fc.integer(), (code) => {
        const { name, action, persistence } = verdictOf(code);
        expect(name.length).toBeGreaterThan(0);
        expect(action === 'done').toBe(persistence === 'persisted');
      }),
      runs(200),
    );
  });

  test('names are unique, so that a metric counts one thing', () => {
    const names = ALL_CODES.map((code) => verdictOf(code).name);
    expect(new Set(names).size).toBe(names.length);
  });

  // Written from Kafka's protocol guide, not from the table.
  const EXPECTED = {
    'new leader': [3, 5, 6, 9, 56, 72, 74, 75],
    retry: [7, 14, 15, 16, 19, 20, 51, 89],
    inquire: [45, 59],
    'new id': [47, 49, 90],
    recut: [10, 18],
    reencode: [2],
    redate: [32],
    hold: [17, 21, 29, 31, 35, 43, 44, 58, 76, 87],
  } as const;
  for (const [action, codes] of Object.entries(EXPECTED)) {
    test(`"${action}" answers the codes ${codes.join(', ')}`, () => {
      for (const code of codes) expect<string>(verdictOf(code).action).toBe(action);
    });
  }

  test('what may have been appended is never taken for not persisted', () => {
    // REQUEST_TIMED_OUT, _AFTER_APPEND, KAFKA_STORAGE_ERROR, NETWORK_EXCEPTION
    for (const code of [7, 20, 56, 13]) expect(verdictOf(code).persistence).toBe('unknown');
    expect(NO_ANSWER.persistence).toBe('unknown');
    expect(RECOVERED.persistence).toBe('unknown');
  });
});

describe('back-off', () => {
  test('doubles from 100 ms to its bound, half of it jitter', () => {
    fc.assert(
      fc.property(fc.nat({ max: 1000 }), fc.integer({ min: 100, max: 60_000 }), (attempt, max) => {
        const ceiling = Math.min(max, 100 * 2 ** Math.min(attempt, 30));
        const ms = backOffMs(attempt, max);
        expect(ms).toBeGreaterThanOrEqual(ceiling / 2);
        expect(ms).toBeLessThanOrEqual(ceiling);
      }),
      runs(500),
    );
  });

  test('never exceeds two seconds if not told otherwise', () => {
    for (let attempt = 0; attempt < 2000; attempt++) {
      expect(backOffMs(attempt)).toBeLessThanOrEqual(2000);
    }
    expect(backOffMs(1e9)).toBeGreaterThanOrEqual(1000);
  });

  test('two servers that fail together do not retry together', () => {
    const tries = new Set(Array.from({ length: 50 }, () => backOffMs(4)));
    expect(tries.size).toBeGreaterThan(25);
  });

  test('a hold is long enough that no account gets locked out', () => {
    expect(HOLD_MS).toBeGreaterThanOrEqual(5000);
  });
});
