// A reader of plain MessagePack, written apart from msgpackr as the check of it: strict UTF-8, and no
// extension types, which other readers would not know.

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** @throws where the bytes are not exactly one plain value */
export function readMsgpack(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (!reader.atEnd) throw new Error('bytes behind the value');
  return value;
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  value(): unknown {
    const type = this.#uint(1);
    if (type < 0x80) return type;
    if (type < 0x90) return this.#map(type & 0x0f);
    if (type < 0xa0) return this.#array(type & 0x0f);
    if (type < 0xc0) return this.#text(type & 0x1f);
    if (type >= 0xe0) return type - 0x100;
    return this.#longer(type);
  }

  #longer(type: number): unknown {
    const readers: Record<number, () => unknown> = {
      0xc0: () => null,
      0xc2: () => false,
      0xc3: () => true,
      0xca: () => this.#bytes.readFloatBE(this.#skip(4)),
      0xcb: () => this.#bytes.readDoubleBE(this.#skip(8)),
      0xcc: () => this.#uint(1),
      0xcd: () => this.#uint(2),
      0xce: () => this.#uint(4),
      0xd0: () => this.#bytes.readIntBE(this.#skip(1), 1),
      0xd1: () => this.#bytes.readIntBE(this.#skip(2), 2),
      0xd2: () => this.#bytes.readIntBE(this.#skip(4), 4),
      0xd9: () => this.#text(this.#uint(1)),
      0xda: () => this.#text(this.#uint(2)),
      0xdb: () => this.#text(this.#uint(4)),
      0xdc: () => this.#array(this.#uint(2)),
      0xdd: () => this.#array(this.#uint(4)),
      0xde: () => this.#map(this.#uint(2)),
      0xdf: () => this.#map(this.#uint(4)),
    };
    const read = readers[type];
    if (!read) throw new Error(`type 0x${type.toString(16)} is none of plain MessagePack`);
    return read();
  }

  #map(count: number): unknown {
    const entries: [unknown, unknown][] = [];
    while (entries.length < count) entries.push([this.value(), this.value()]);
    return Object.fromEntries(entries);
  }

  #array(count: number): unknown {
    const items: unknown[] = [];
    while (items.length < count) items.push(this.value());
    return items;
  }

  #text(bytes: number): string {
    const from = this.#skip(bytes);
    return utf8.decode(this.#bytes.subarray(from, from + bytes));
  }

  #uint(bytes: 1 | 2 | 4): number {
    return this.#bytes.readUIntBE(this.#skip(bytes), bytes);
  }

  #skip(bytes: number): number {
    const from = this.#at;
    this.#at += bytes;
    if (this.#at > this.#bytes.length) throw new Error('the value ends early');
    return from;
  }
}
