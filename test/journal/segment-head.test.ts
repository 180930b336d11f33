// Proves that the first page of a file says the same of a segment as the segment does when it is mapped, and
// that a file too short for a page, or of anything else, is no segment.

import { expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readHead } from '../../src/journal/segment-head.ts';
import { memorySegment, Scribe } from '../support/segments.ts';
import { tempDir } from '../support/temp-dir.ts';

const BYTES = 16_384;

test('a spare and a segment with a record are told apart', () => {
  using dir = tempDir();
  const path = join(dir.path, 'segment');
  const segment = memorySegment(BYTES, 7);
  writeFileSync(path, segment.buffer);
  expect(readHead(path)).toEqual({ bytes: BYTES, generation: 7, untouched: true });
  new Scribe(segment).write('one');
  writeFileSync(path, segment.buffer);
  expect(readHead(path)).toEqual({ bytes: BYTES, generation: 7, untouched: false });
});

test.each([0, 20, 4095, BYTES])('%d bytes of something else are no segment', (bytes) => {
  using dir = tempDir();
  const path = join(dir.path, 'segment');
  writeFileSync(path, new Uint8Array(bytes).fill(7));
  expect(readHead(path)).toMatchObject({ bytes, generation: 0 });
});

test('a segment that was cut short is none', () => {
  using dir = tempDir();
  const path = join(dir.path, 'segment');
  writeFileSync(path, memorySegment(BYTES, 7).buffer.subarray(0, BYTES / 2));
  expect(readHead(path)).toMatchObject({ bytes: BYTES / 2, generation: 0 });
});
