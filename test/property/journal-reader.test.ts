// For any order of appends, seals, restarts and reads: two readers, one that reads often and one that
// reads seldom, see each record once and in order.

import { expect, setDefaultTimeout, test } from 'bun:test';
import * as fc from 'fast-check';
import { JournalReader } from '../../src/journal/journal-reader.ts';
import { openJournal, SEGMENT_BYTES } from '../support/journals.ts';
import { PROPERTY_MAX_MS, runs } from '../support/properties.ts';
import { tempDir } from '../support/temp-dir.ts';

setDefaultTimeout(PROPERTY_MAX_MS);

type Step =
  | { readonly do: 'append'; readonly count: number; readonly bytes: number }
  | { readonly do: 'seal' | 'restart' | 'read' | 'read seldom' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      count: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 50, max: 300 })),
      bytes: fc.integer({ min: 0, max: 700 }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ do: 'seal' as const }) },
  { weight: 5, arbitrary: fc.constant({ do: 'read' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'read seldom' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
);

/** Reads what is new. */
class Witness {
  readonly seen: string[] = [];
  readonly #reader: JournalReader;

  constructor(directory: string) {
    this.#reader = new JournalReader(directory);
  }

  look(): void {
    for (const value of this.#reader.read()) this.seen.push(Buffer.from(value).toString());
  }
}

test('any history is read record by record, without a gap or a double', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30 }), async (steps) => {
      using dir = tempDir();
      const options = { recycleOldest: true, journalBytes: 40 * SEGMENT_BYTES };
      let open = openJournal(dir.path, options);
      const [often, seldom] = [new Witness(dir.path), new Witness(dir.path)];
      const appended: string[] = [];
      for (const next of steps) {
        switch (next.do) {
          case 'append':
            for (let index = 0; index < next.count; index++) {
              const value = `${appended.length} `.padEnd(next.bytes, '漢');
              if (open.journal.append(value, 0) === 'appended') appended.push(value);
            }
            break;
          case 'seal':
            open.journal.seal();
            break;
          case 'restart':
            await open.journal.close();
            open = openJournal(dir.path, options);
            break;
          case 'read seldom':
            seldom.look();
            break;
          case 'read':
            often.look();
            expect(often.seen).toHaveLength(appended.length);
        }
      }
      for (const witness of [often, seldom]) {
        witness.look();
        expect(witness.seen.every((value, index) => value === appended[index])).toBe(true);
        expect(witness.seen).toHaveLength(appended.length);
      }
      await open.journal.close();
    }),
    runs(80),
  );
});
