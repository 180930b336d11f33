// Proves on the kernel itself that one process can take all new connections of a shared port, give them
// back, and leave the port while the clients it has stay connected. Needs Linux.

import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { ListeningSocket } from '../../src/http/listening-socket.ts';
import { waitFor } from '../support/wait-for.ts';

const PROGRAM = join(import.meta.dir, 'listening-socket-fixture.ts');
const TRIES = 40;

interface Counts {
  readonly queued: number;
  readonly connections: number;
}

class Sharer implements Disposable {
  readonly #child: Bun.Subprocess;
  readonly #said: (Counts & { readonly port: number })[] = [];

  private constructor(port: number, name: string) {
    this.#child = Bun.spawn([process.execPath, PROGRAM, String(port), name], {
      stdio: ['ignore', 'inherit', 'inherit'],
      ipc: (message: Counts & { port: number }) => void this.#said.push(message),
    });
  }

  static async start(port: number, name: string): Promise<{ sharer: Sharer; port: number }> {
    const sharer = new Sharer(port, name);
    return { sharer, port: (await sharer.#hear()).port };
  }

  async tell(what: 'takeAll' | 'share' | 'close' | 'counts'): Promise<Counts> {
    this.#child.send(what);
    return this.#hear();
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }

  #hear() {
    return waitFor(() => this.#said.shift(), { timeoutMs: 5000, what: 'a word', intervalMs: 1 });
  }
}

/** Who answers new connections, and how often. */
async function answers(port: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let index = 0; index < TRIES; index++) {
    const response = await fetch(`http://127.0.0.1:${port}`, { keepalive: false });
    const name = await response.text();
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

test('the newest takes all, shares again, and the one that left gets nothing', async () => {
  const { sharer: a, port } = await Sharer.start(0, 'a');
  using _a = a;
  using b = (await Sharer.start(port, 'b')).sharer;
  expect(Object.keys(await answers(port)).toSorted()).toEqual(['a', 'b']);
  using c = (await Sharer.start(port, 'c')).sharer;
  await c.tell('takeAll');
  expect(await answers(port)).toEqual({ c: TRIES });
  await a.tell('close');
  // The number of c is out of range now: the kernel spreads by itself.
  expect(Object.keys(await answers(port)).toSorted()).toEqual(['b', 'c']);
  await c.tell('share');
  expect(Object.keys(await answers(port)).toSorted()).toEqual(['b', 'c']);
  expect(await b.tell('counts')).toMatchObject({ queued: 0 });
});

test('after the end of listening a client that is connected is still answered', async () => {
  const { sharer: a, port } = await Sharer.start(0, 'a');
  using _a = a;
  let received = '';
  const client = await Bun.connect({
    hostname: '127.0.0.1',
    port,
    socket: { data: (_, bytes) => void (received += bytes.toString()) },
  });
  const answered = (times: number) => () => received.split('HTTP/1.1 200').length - 1 === times;
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await waitFor(answered(1), { timeoutMs: 3000, what: 'an answer' });
  expect(await a.tell('counts')).toEqual({ queued: 0, connections: 1 });
  await a.tell('close');
  const refusal = await fetch(`http://127.0.0.1:${port}`).catch((error: Error) => error);
  expect(refusal).toBeInstanceOf(Error);
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await waitFor(answered(2), { timeoutMs: 3000, what: 'a second answer' });
  client.end();
  const gone = async () => (await a.tell('counts')).connections === 0;
  await waitFor(gone, { timeoutMs: 3000, what: 'the client to be gone' });
});

test('a port on which this process does not listen is refused', () => {
  expect(() => new ListeningSocket(1)).toThrow('no listening socket of this process on port 1');
});
