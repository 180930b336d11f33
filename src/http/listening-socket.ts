// What only the kernel knows of a port that several sockets listen on (SO_REUSEPORT, Linux), and how one
// of them leaves it without a connection being reset. They are of several processes, or two of one.
//
// Each socket has a queue of its own; the kernel spreads new connections over the sockets.
// A socket that closes resets what is in its queue, so it has to be kept out of the choice first: a BPF
// program of one instruction, "choose socket number K", attached by the process that shall get all of
// them meanwhile (needs no privilege). Sockets are numbered in the order they began to listen, so the
// newest is the last. When another one closes, K is out of range and the kernel spreads as before.

import { dlopen, ptr } from 'bun:ffi';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

const SOL_SOCKET = 1;
const SO_ATTACH_REUSEPORT_CBPF = 51;
const SO_DETACH_REUSEPORT_BPF = 68;
const BPF_RETURN_CONSTANT = 0x06;
const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];
const ESTABLISHED = '01';
const LISTEN = '0A';
const LIBC_NAMES = [
  'libc.so.6',
  `libc.musl-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}.so.1`,
];

/** A line of the kernel's table. */
interface Entry {
  /** Address and port, in hex. */
  readonly local: string;
  readonly state: string;
  /** Of a listening socket: connections that wait to be accepted. */
  readonly queued: number;
  readonly inode: string;
}

export class ListeningSocket {
  readonly #libc = openLibc();
  readonly #descriptor: number;
  readonly #entry: Entry;

  /**
   * `beside`: the other one that this process has on the port.
   * @throws where the kernel tells nothing about a socket of this process on the port
   */
  constructor(port: number, beside?: ListeningSocket) {
    const own = ownSockets();
    const other = beside && beside.#entry.inode;
    const entry = readEntries(port).find(
      ({ state, inode }) => state === LISTEN && own.has(inode) && inode !== other,
    );
    const descriptor = entry && own.get(entry.inode);
    if (!entry || descriptor === undefined) {
      throw new Error(`no listening socket of this process on port ${port} in ${TABLES[0]}`);
    }
    this.#entry = entry;
    this.#descriptor = descriptor;
  }

  get port(): number {
    return portOf(this.#entry);
  }

  /** Connections that are complete and not yet accepted. */
  get queued(): number {
    const { inode } = this.#entry;
    return this.#entries().find((entry) => entry.inode === inode)?.queued ?? 0;
  }

  /** Connections that this process has accepted and nobody has closed. */
  get connections(): number {
    const own = ownSockets();
    return this.#entries().filter(({ state, inode }) => state === ESTABLISHED && own.has(inode))
      .length;
  }

  /** All new connections come here: this socket must be the last one that began to listen. */
  takeAll(): void {
    const { local } = this.#entry;
    const sockets = this.#entries().filter(
      (entry) => entry.state === LISTEN && entry.local === local,
    );
    const instruction = new Uint8Array(8);
    const code = new DataView(instruction.buffer);
    code.setUint16(0, BPF_RETURN_CONSTANT, true);
    code.setUint32(4, sockets.length - 1, true);
    const program = new Uint8Array(16);
    const header = new DataView(program.buffer);
    header.setUint16(0, 1, true);
    header.setBigUint64(8, BigInt(ptr(instruction)), true);
    this.#setOption(SO_ATTACH_REUSEPORT_CBPF, program);
  }

  /** New connections are spread over all sockets again. */
  share(): void {
    this.#setOption(SO_DETACH_REUSEPORT_BPF, new Uint8Array(4));
  }

  /**
   * Ends listening and nothing else. Bun's stop() would also cut keep-alive connections between two
   * requests; so the socket is replaced under its number by a file on which nothing ever happens.
   */
  close(): void {
    const nothing = openSync('/dev/null', 'r');
    const result = this.#libc.dup2(nothing, this.#descriptor);
    closeSync(nothing);
    if (result < 0) throw new Error('dup2 failed');
  }

  #setOption(option: number, value: Uint8Array): void {
    const result = this.#libc.setsockopt(
      this.#descriptor,
      SOL_SOCKET,
      option,
      ptr(value),
      value.length,
    );
    if (result !== 0) throw new Error(`setsockopt ${option} failed`);
  }

  #entries(): Entry[] {
    return readEntries(portOf(this.#entry));
  }
}

function openLibc() {
  const symbols = {
    setsockopt: { args: ['i32', 'i32', 'i32', 'ptr', 'u32'], returns: 'i32' },
    dup2: { args: ['i32', 'i32'], returns: 'i32' },
  } as const;
  for (const name of LIBC_NAMES) {
    try {
      return dlopen(name, symbols).symbols;
    } catch {
      // The next name.
    }
  }
  throw new Error(`none of ${LIBC_NAMES.join(', ')} can be opened`);
}

function portOf({ local }: Pick<Entry, 'local'>): number {
  return Number.parseInt(local.slice(local.indexOf(':') + 1), 16);
}

function readEntries(port: number): Entry[] {
  return TABLES.flatMap(readTable)
    .map((line) => line.trim().split(/\s+/))
    .map(([, local = '', , state = '', queues = '', , , , , inode = '']) => ({
      local,
      state,
      queued: Number.parseInt(queues.slice(queues.indexOf(':') + 1), 16),
      inode,
    }))
    .filter((entry) => portOf(entry) === port);
}

/** Without its heading. A kernel without IPv6 has no table of it. */
function readTable(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(1);
  } catch {
    return [];
  }
}

/** Inode → descriptor. */
function ownSockets(): Map<string, number> {
  const sockets = new Map<string, number>();
  for (const name of readdirSync('/proc/self/fd')) {
    const inode = inodeOf(name);
    if (inode !== undefined) sockets.set(inode, Number(name));
  }
  return sockets;
}

function inodeOf(descriptor: string): string | undefined {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${descriptor}`))?.[1];
  } catch {
    return undefined; // closed meanwhile
  }
}
