// The primitive types of Kafka's protocol, as kafka-wire.ts spells its requests with them: INT =
// big-endian, STRING = int16 length + UTF-8, ARRAY [..] = int32 count + items, BYTES = int32 length
// + bytes; a length of -1 means null. Made to be read, not to be fast: requests are tiny.

export class Writer {
  readonly #parts: Buffer[] = [];

  #number(bytes: number, write: (part: Buffer) => void): this {
    const part = Buffer.alloc(bytes);
    write(part);
    this.#parts.push(part);
    return this;
  }

  int8(value: number): this {
    return this.#number(1, (part) => part.writeInt8(value));
  }

  int16(value: number): this {
    return this.#number(2, (part) => part.writeInt16BE(value));
  }

  int32(value: number): this {
    return this.#number(4, (part) => part.writeInt32BE(value));
  }

  int64(value: number): this {
    return this.#number(8, (part) => part.writeBigInt64BE(BigInt(value)));
  }

  string(text: string): this {
    this.int16(Buffer.byteLength(text)).#parts.push(Buffer.from(text));
    return this;
  }

  array<Item>(items: readonly Item[], write: (out: this, item: Item) => void): this {
    this.int32(items.length);
    for (const item of items) write(this, item);
    return this;
  }

  done(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** Node's own bounds checks throw on an answer that is too short. */
export class Reader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  skip(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    return at;
  }

  int8(): number {
    return this.#buffer.readInt8(this.skip(1));
  }

  int16(): number {
    return this.#buffer.readInt16BE(this.skip(2));
  }

  int32(): number {
    return this.#buffer.readInt32BE(this.skip(4));
  }

  int64(): number {
    return Number(this.#buffer.readBigInt64BE(this.skip(8)));
  }

  /** Null reads as ''. */
  string(): string {
    const bytes = Math.max(0, this.int16());
    const at = this.skip(bytes);
    return this.#buffer.toString('utf8', at, at + bytes);
  }

  /** Null reads as empty. */
  bytes(): Buffer {
    const bytes = Math.max(0, this.int32());
    const at = this.skip(bytes);
    return this.#buffer.subarray(at, at + bytes);
  }

  array<Item>(item: () => Item): Item[] {
    const count = Math.max(0, this.int32());
    return Array.from({ length: count }, item);
  }
}
