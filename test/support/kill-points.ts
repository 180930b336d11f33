// Every state the memory of a segment goes through while something writes to it: what a kill at that
// moment leaves behind. Writes are noticed one by one, by method or by index, and taken apart into bytes.

import type { Segment } from '../../src/journal/segment.ts';

/** A view of `memory` that calls `onWrite` after whatever may have written to it. */
function watched<Memory extends Buffer | Int32Array>(memory: Memory, onWrite: () => void): Memory {
  return new Proxy(memory, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        const result: unknown = Reflect.apply(value, target, args);
        onWrite();
        return result;
      };
    },
    set: (target, name, value) => {
      const done = Reflect.set(target, name, value, target);
      onWrite();
      return done;
    },
  });
}

/**
 * Runs `write`, which writes to `segment`. The first state is before it, the last one after it; those
 * between two writes have the bytes of the later one one by one.
 */
export function statesDuring(segment: Segment, write: () => void): Uint8Array[] {
  const { buffer, words } = segment;
  const snapshots = [new Uint8Array(buffer)];
  const onWrite = (): void => {
    if (!buffer.equals(snapshots.at(-1)!)) snapshots.push(new Uint8Array(buffer));
  };
  const replace = (views: { buffer: Buffer; words: Int32Array }): void => {
    Object.assign(segment, views);
  };
  replace({ buffer: watched(buffer, onWrite), words: watched(words, onWrite) });
  try {
    write();
  } finally {
    replace({ buffer, words });
  }
  if (!buffer.equals(snapshots.at(-1)!)) throw new Error('something was written unseen');
  return snapshots.flatMap((after, index) => stepsBetween(snapshots[index - 1] ?? after, after));
}

function stepsBetween(before: Uint8Array, after: Uint8Array): Uint8Array[] {
  if (before === after) return [before];
  const steps: Uint8Array[] = [];
  let state = before;
  for (const [at, byte] of after.entries()) {
    if (state[at] === byte) continue;
    state = new Uint8Array(state);
    state[at] = byte;
    steps.push(state);
  }
  return steps;
}
