// Kafka's primitive types as bytes. Numbers are big-endian; STRING = int16 length + UTF-8, BYTES and
// ARRAY = int32 length or count. The compact forms of flexible versions give length + 1 as an unsigned
// varint, and structures there end with a tag section: hoplog writes none and skips those it reads.
// Answers come from the network, so every read is checked against the end.

export class ResponseMalformed extends Error {
  override readonly name = 'ResponseMalformed';
}

/** Writes into a buffer of a size known beforehand. */
export class WireWriter {
  readonly buffer: Buffer;
  position = 0;

  constructor(bytesMax: number) {
    this.buffer = Buffer.allocUnsafe(bytesMax);
  }

  int8(value: number): this {
    this.position = this.buffer.writeInt8(value, this.position);
    return this;
  }

  int16(value: number): this {
    this.position = this.buffer.writeInt16BE(value, this.position);
    return this;
  }

  int32(value: number): this {
    this.position = this.buffer.writeInt32BE(value, this.position);
    return this;
  }

  int64(value: bigint): this {
    this.position = this.buffer.writeBigInt64BE(value, this.position);
    return this;
  }

  uvarint(value: number): this {
    let rest = value;
    for (; rest >= 0x80; rest >>>= 7) this.buffer[this.position++] = (rest & 0x7f) | 0x80;
    this.buffer[this.position++] = rest;
    return this;
  }

  string(text: string): this {
    this.int16(Buffer.byteLength(text));
    this.position += this.buffer.write(text, this.position);
    return this;
  }

  compactString(text: string): this {
    this.uvarint(Buffer.byteLength(text) + 1);
    this.position += this.buffer.write(text, this.position);
    return this;
  }

  raw(bytes: Uint8Array): this {
    this.buffer.set(bytes, this.position);
    this.position += bytes.length;
    return this;
  }

  done(): Buffer {
    return this.buffer.subarray(0, this.position);
  }
}

/** @throws {ResponseMalformed} from every method, where the bytes end too early */
export class WireReader {
  readonly #buffer: Buffer;
  #position = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  skip(bytes: number): number {
    const at = this.#position;
    if (bytes < 0 || at + bytes > this.#buffer.length) {
      throw new ResponseMalformed(
        `answer ends at byte ${this.#buffer.length}, needs ${bytes} more`,
      );
    }
    this.#position += bytes;
    return at;
  }

  int16(): number {
    return this.#buffer.readInt16BE(this.skip(2));
  }

  int32(): number {
    return this.#buffer.readInt32BE(this.skip(4));
  }

  int64(): bigint {
    return this.#buffer.readBigInt64BE(this.skip(8));
  }

  uvarint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#buffer[this.skip(1)] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new ResponseMalformed('varint longer than five bytes');
  }

  /** Nullable strings read as ''. */
  string(): string {
    const bytes = Math.max(0, this.int16());
    const at = this.skip(bytes);
    return this.#buffer.toString('utf8', at, at + bytes);
  }

  bytes(): Buffer {
    const bytes = Math.max(0, this.int32());
    const at = this.skip(bytes);
    return this.#buffer.subarray(at, at + bytes);
  }

  compactString(): string {
    const bytes = Math.max(0, this.uvarint() - 1);
    const at = this.skip(bytes);
    return this.#buffer.toString('utf8', at, at + bytes);
  }

  array<Item>(item: () => Item): Item[] {
    return this.#items(this.int32(), item);
  }

  compactArray<Item>(item: () => Item): Item[] {
    return this.#items(this.uvarint() - 1, item);
  }

  tags(): void {
    for (let left = this.uvarint(); left > 0; left--) {
      this.uvarint();
      this.skip(this.uvarint());
    }
  }

  #items<Item>(count: number, item: () => Item): Item[] {
    // Every item takes a byte or more: a larger count is garbage, and must not be allocated.
    if (count > this.#buffer.length) throw new ResponseMalformed(`array of ${count} items`);
    const items: Item[] = [];
    for (let index = 0; index < count; index++) items.push(item());
    return items;
  }
}
