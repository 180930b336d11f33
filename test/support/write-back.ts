// The kernel writes dirty pages to the disk when it likes and in any order. Here a test chooses which
// ones, without an fdatasync: sync_file_range(2). Linux only.

import { closeSync, openSync, statSync } from 'node:fs';
import { dlopen, FFIType } from 'bun:ffi';
import type { Random } from './seed.ts';

const PAGE_BYTES = 4096;
/** Wait for writes under way, start those of dirty pages, wait for them. */
const WAIT_WRITE_WAIT = 7;

/** Loaded when it is asked for: elsewhere there is none. */
function syncFileRange() {
  const { i32, i64, u32 } = FFIType;
  const { symbols } = dlopen('libc.so.6', {
    sync_file_range: { args: [i32, i64, i64, u32], returns: i32 },
  });
  return symbols.sync_file_range;
}

/** Lets the device have some of the dirty pages of the file: none, all, or about half of them. */
export function writeBackSome(path: string, random: Random): void {
  const share = random.pick([0, 0.5, 0.5, 1]);
  const sync = syncFileRange();
  const descriptor = openSync(path, 'r');
  try {
    for (let at = 0; at < statSync(path).size; at += PAGE_BYTES) {
      if (random.next() >= share) continue;
      if (sync(descriptor, at, PAGE_BYTES, WAIT_WRITE_WAIT) !== 0) {
        throw new Error(`sync_file_range on ${path} failed`);
      }
    }
  } finally {
    closeSync(descriptor);
  }
}
