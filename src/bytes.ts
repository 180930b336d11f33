// Byte arithmetic the log path stands on: zigzag varints as Kafka's record format spells them, and
// the word hash that tells an intact run of records from a torn one. Pure; knows no format.
//
// Two checksums, because they answer different questions: CRC32C is Kafka's, covers a finished
// batch and costs 66 µs a MB natively, but 160 ns a call (bench/micro): too much per record.
// `foldWords` is ours, runs incrementally at 0.5 ns a word and so can follow every append.

export { crc32c } from '@node-rs/crc32';

/** FNV-1a parameters (32 bit), applied to 32-bit words instead of bytes. */
export const HASH_SEED = 0x811c9dc5 | 0;
const HASH_PRIME = 0x01000193;

/** Mixes one 32-bit word into a running hash; hashes are signed, as Math.imul's results are. */
export function foldWord(hash: number, word: number): number {
  return Math.imul(hash ^ word, HASH_PRIME);
}

/**
 * Mixes `words[from, to)` (indices, not bytes) into a running hash. Signed words, because unsigned
 * ones above 2^31 are doubles to the JIT: it compiled this loop six times before it gave up on that.
 */
export function foldWords(hash: number, words: Int32Array, from: number, to: number): number {
  let folded = hash;
  for (let index = from; index < to; index++) {
    folded = Math.imul(folded ^ words[index]!, HASH_PRIME);
  }
  return folded;
}

/** Mixes single bytes `[from, to)` into a running hash: for short, unaligned headers. */
export function foldBytes(hash: number, bytes: Uint8Array, from: number, to: number): number {
  let folded = hash;
  for (let index = from; index < to; index++)
    folded = Math.imul(folded ^ bytes[index]!, HASH_PRIME);
  return folded;
}

function zigzag(value: number): number {
  return ((value << 1) ^ (value >> 31)) >>> 0;
}

/** Bytes a 32-bit zigzag varint takes: 1 to 5. */
export function varintBytes(value: number): number {
  const encoded = zigzag(value);
  if (encoded < 0x80) return 1;
  if (encoded < 0x4000) return 2;
  if (encoded < 0x200000) return 3;
  return encoded < 0x10000000 ? 4 : 5;
}

/** Writes a 32-bit zigzag varint and returns the position behind it. */
export function writeVarint(target: Uint8Array, position: number, value: number): number {
  let encoded = zigzag(value);
  let at = position;
  while (encoded >= 0x80) {
    target[at++] = (encoded & 0x7f) | 0x80;
    encoded >>>= 7;
  }
  target[at++] = encoded;
  return at;
}

/**
 * Reads varints one after the other. A value that runs past `end` or past five bytes leaves the
 * reader `torn` and reads as 0: recovery meets arbitrary bytes, and a throw there would lose a
 * journal over one bad bit.
 */
export class VarintReader {
  position: number;
  torn = false;
  readonly #bytes: Uint8Array;
  readonly #end: number;

  constructor(bytes: Uint8Array, position: number, end: number) {
    this.#bytes = bytes;
    this.position = position;
    this.#end = end;
  }

  read(): number {
    let encoded = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      if (this.position >= this.#end) break;
      const byte = this.#bytes[this.position++]!;
      encoded |= (byte & 0x7f) << shift;
      if (byte < 0x80) return (encoded >>> 1) ^ -(encoded & 1);
    }
    this.torn = true;
    return 0;
  }
}
