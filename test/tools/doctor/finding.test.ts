// How doctor's findings are printed: one line where all is well or skipped, three where there is
// something to do, and a count in the end that says whether anything failed.

import { expect, test } from 'bun:test';
import {
  failed,
  inWords,
  ok,
  skipped,
  summary,
  warning,
} from '../../../src/tools/doctor/finding.ts';

const complaint = { what: 'W', meaning: 'M', advice: 'A' };

test('each state has its sign, and a complaint its three lines', () => {
  expect(inWords(ok('TCP a:1', 'open'))).toBe('✓ TCP a:1: open\n');
  expect(inWords(skipped('TLS a:1', 'TCP a:1 failed'))).toBe(
    '– TLS a:1: skipped: TCP a:1 failed\n',
  );
  expect(inWords(warning('s', complaint))).toBe('! s: W\n    that means: M\n    to do: A\n');
  expect(inWords(failed('s', complaint))).toBe('✗ s: W\n    that means: M\n    to do: A\n');
});

test('only what failed makes it unwell', () => {
  const fine = [ok('a', ''), warning('b', complaint), skipped('c', '')];
  expect(summary(fine)).toBe('well: 1 ok, 1 warnings, 0 failed, 1 skipped\n');
  expect(summary([...fine, failed('d', complaint)])).toStartWith('NOT WELL: ');
});
