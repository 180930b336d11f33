// HTTP as bytes: requests that no client library would send, and answers exactly as they came. Waits
// for what it was told to expect, never for a time; a connection that stays silent fails the test.

import type { Socket } from 'bun';
import { waitFor } from './wait-for.ts';

const ANSWER_MAX_MS = 3000;

export interface RawAnswer {
  readonly status: number;
  /** Lower-case names; a header that came twice is joined with a comma. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export class RawConnection implements Disposable {
  received = '';
  ended = false;
  readonly #socket: Socket;

  static async open(url: string): Promise<RawConnection> {
    const { hostname, port } = new URL(url);
    let connection: RawConnection | undefined;
    const socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data: (_socket, bytes) => {
          if (connection) connection.received += bytes.toString('latin1');
        },
        close: () => {
          if (connection) connection.ended = true;
        },
        end: () => {
          if (connection) connection.ended = true;
        },
        error: () => {},
      },
    });
    connection = new RawConnection(socket);
    return connection;
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** `bytes`: one character each. */
  send(bytes: string): void {
    this.#socket.write(Buffer.from(bytes, 'latin1'));
  }

  /** The first `count` answers; fewer only when the connection ended before. */
  async answers(count: number): Promise<RawAnswer[]> {
    return await waitFor(
      () => {
        const answers = readAnswers(this.received);
        return answers.length >= count || this.ended ? answers : undefined;
      },
      { timeoutMs: ANSWER_MAX_MS, what: `${count} answers`, intervalMs: 5 },
    );
  }

  async end(): Promise<void> {
    await waitFor(() => this.ended, { timeoutMs: ANSWER_MAX_MS, what: 'the end', intervalMs: 5 });
  }

  [Symbol.dispose](): void {
    this.#socket.terminate();
  }
}

/** One connection, one piece of bytes, its answers. */
export async function exchange(url: string, bytes: string, count = 1): Promise<RawAnswer[]> {
  using connection = await RawConnection.open(url);
  connection.send(bytes);
  return await connection.answers(count);
}

/** Whole answers at the head of `text`; their bodies by Content-Length. */
function readAnswers(text: string): RawAnswer[] {
  const answers: RawAnswer[] = [];
  for (let rest = text; ;) {
    const headEnd = rest.indexOf('\r\n\r\n');
    if (headEnd < 0) return answers;
    const [statusLine = '', ...lines] = rest.slice(0, headEnd).split('\r\n');
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1]);
    const headers: Record<string, string> = {};
    for (const line of lines) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon).toLowerCase();
      const value = line.slice(colon + 1).trim();
      headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
    }
    const bodyEnd = headEnd + 4 + (status < 200 ? 0 : Number(headers['content-length'] ?? 0));
    if (rest.length < bodyEnd) return answers;
    if (status >= 200) answers.push({ status, headers, body: rest.slice(headEnd + 4, bodyEnd) });
    rest = rest.slice(bodyEnd);
  }
}
