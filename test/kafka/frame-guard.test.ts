// The guard in front of kafkajs's reader: lets whole frames pass however they are cut into chunks, and
// stops at the first length that is none, in whatever chunk it is complete.

import { expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { FrameGuard } from '../../src/kafka/frame-guard.ts';
import { runs } from '../support/properties.ts';

function frame(bytes: number): Buffer {
  const frame = Buffer.alloc(4 + bytes, 0xff);
  frame.writeInt32BE(bytes, 0);
  return frame;
}

function length(bytes: number): Buffer {
  const announced = Buffer.alloc(4);
  announced.writeInt32BE(bytes);
  return announced;
}

/** Cut at these positions. */
function* chunksOf(stream: Buffer, cuts: readonly number[]): Generator<Buffer> {
  let from = 0;
  for (const cut of [...cuts.map((at) => at % (stream.length + 1)), stream.length].toSorted(
    (a, b) => a - b,
  )) {
    yield stream.subarray(from, cut);
    from = cut;
  }
}

const CUTS = fc.array(fc.nat(), { maxLength: 20 });

test('frames pass, however they are cut', () => {
  const frames = fc.array(fc.integer({ min: 4, max: 300 }), { maxLength: 6 });
  fc.assert(
    fc.property(frames, CUTS, (lengths, cuts) => {
      const guard = new FrameGuard();
      const stream = Buffer.concat(lengths.map(frame));
      for (const chunk of chunksOf(stream, cuts)) guard.check(chunk);
    }),
    runs(200),
  );
});

for (const bytes of [-1, 0, 3, -(2 ** 31), 2 ** 31 - 1, 100 * 2 ** 20 + 1]) {
  test(`an answer of ${bytes} bytes is none`, () => {
    fc.assert(
      fc.property(CUTS, (cuts) => {
        const guard = new FrameGuard();
        const stream = Buffer.concat([frame(50), length(bytes)]);
        expect(() => {
          for (const chunk of chunksOf(stream, cuts)) guard.check(chunk);
        }).toThrow(String(bytes));
      }),
      runs(20),
    );
  });
}
