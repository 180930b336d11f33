// Where the two functions of a record come from: built-in kinds by name, a user's module by its path,
// in TypeScript or JavaScript; and one line that says what to do where there is none.

import { describe, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { click } from '../../src/record/click.ts';
import { loadRecordKind, RecordKindUnusable } from '../../src/record/load-record-kind.ts';
import { seed } from '../../src/record/seed.ts';
import { failureOf } from '../support/failure-of.ts';
import { contextOf, requestTo } from '../support/requests.ts';
import { tempDir } from '../support/temp-dir.ts';

/** The one-line message of the refusal of a module with this text. */
async function refusalOf(text: string | undefined, name = 'module.ts'): Promise<string> {
  using dir = tempDir();
  const path = join(dir.path, name);
  if (text !== undefined) writeFileSync(path, text);
  const error = await failureOf(loadRecordKind(path));
  expect(error).toBeInstanceOf(RecordKindUnusable);
  expect(error.message).not.toContain('\n');
  expect(error.message).toStartWith(`RECORD=${path} `);
  expect(error.message).toContain('examples/record-campaign.ts');
  return error.message;
}

test('click and seed are known by name', async () => {
  expect(await loadRecordKind('click')).toBe(click);
  expect(await loadRecordKind('seed')).toBe(seed);
});

for (const name of ['module.ts', 'module.js', 'module.mjs']) {
  test(`a module's functions are used: ${name}`, async () => {
    using dir = tempDir();
    const path = join(dir.path, name);
    writeFileSync(
      path,
      'export function capture(request, context) { return [request.method, context.id]; }\n' +
        'export const complete = ([method, id]) => ({ method, id, done: true });\n' +
        'export const somethingElse = 1;\n',
    );
    const kind = await loadRecordKind(path);
    const captured = kind.capture(requestTo(), contextOf());
    expect(kind.complete(captured)).toEqual({
      method: 'GET',
      id: '00000000000000aa-1',
      done: true,
    });
  });
}

test('a relative path is relative to where hoplog was started', async () => {
  using dir = tempDir();
  const path = join(dir.path, 'kind.ts');
  writeFileSync(path, 'export const capture = () => 1;\nexport const complete = (n) => n + 1;\n');
  const kind = await loadRecordKind(relative(process.cwd(), path));
  expect(kind.complete(1)).toBe(2);
});

describe('one line for', () => {
  test('a file that is not there', async () => {
    expect(await refusalOf(undefined)).toContain('cannot be loaded');
  });

  test('a directory', async () => {
    using dir = tempDir();
    const error = await failureOf(loadRecordKind(dir.path));
    expect(error).toBeInstanceOf(RecordKindUnusable);
  });

  test('a module without complete', async () => {
    const message = await refusalOf('export const capture = () => 1;\n');
    expect(message).toContain('does not export a function complete');
    expect(message).not.toContain('function capture and');
  });

  test('a module without capture', async () => {
    const message = await refusalOf('export const complete = () => 1;\n');
    expect(message).toContain('does not export a function capture.');
  });

  test('a module without either', async () => {
    const message = await refusalOf('export const x = 1;\n');
    expect(message).toContain('does not export the functions capture and complete');
  });

  test('an empty module', async () => {
    expect(await refusalOf('')).toContain('capture and complete');
  });

  test('functions that are none', async () => {
    const message = await refusalOf('export const capture = 1;\nexport const complete = {};\n');
    expect(message).toContain('does not export the functions capture and complete');
  });

  test('functions of a default export only', async () => {
    const text = 'export default { capture: () => 1, complete: () => 1 };\n';
    expect(await refusalOf(text)).toContain('capture and complete');
  });

  test('a syntax error', async () => {
    const message = await refusalOf('export const capture = (;\n');
    expect(message).toContain('cannot be loaded');
  });

  test('several syntax errors', async () => {
    await refusalOf('export const capture = (;\nexport const complete = );\nlet 1 = 2;\n');
  });

  test('an import that is not there', async () => {
    const text = "import { x } from 'no-such-package';\nexport const capture = x;\n";
    expect(await refusalOf(text)).toContain('no-such-package');
  });

  test('a module that throws while it is loaded', async () => {
    const message = await refusalOf("throw new Error('no database\\nat all');\n");
    expect(message).toContain('no database');
  });

  test('a module that throws something that is no Error', async () => {
    for (const thrown of ["'just text'", 'undefined', 'null', '42', '{}']) {
      await refusalOf(`throw ${thrown};\n`);
    }
  });
});
