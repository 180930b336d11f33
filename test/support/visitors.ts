// Load as browsers make it: connections are opened again and again, for one request each or until the
// server says `Connection: close`. What a visitor would notice (a refused or reset connection, one that
// ends without an answer) is noted as broken. Requests are the oracle's, sent once each.

import { connect, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Oracle } from './oracle.ts';
import { waitFor } from './wait-for.ts';

const END_MAX_MS = 10_000;

export interface VisitorsOptions {
  readonly visitors?: number;
  /** Requests a connection is used for, if the server lets it. */
  readonly perConnection?: number;
  /** Pause between two requests of a visitor, ms. */
  readonly pauseMs?: number;
  /** Of an https address: PEM of whom visitors trust. */
  readonly ca?: string;
}

interface Target {
  readonly host: string;
  readonly port: number;
  readonly ca: string | undefined;
}

export class Visitors implements AsyncDisposable {
  /** What visitors noticed, with the number of times. */
  readonly broken = new Map<string, number>();
  /** Answers that said `Connection: close`. */
  closes = 0;
  /** Common names of the certificates that connections were shown, with their number. */
  readonly certificates = new Map<string, number>();
  readonly #oracle: Oracle;
  readonly #target: Target;
  readonly #options: Required<Omit<VisitorsOptions, 'ca'>>;
  #present = 0;
  #stopped = false;

  constructor(url: string, oracle: Oracle, { ca, ...options }: VisitorsOptions = {}) {
    const { hostname, port } = new URL(url);
    this.#target = { host: hostname, port: Number(port), ca };
    this.#oracle = oracle;
    this.#options = { visitors: 8, perConnection: 1, pauseMs: 0, ...options };
    for (let visitor = 0; visitor < this.#options.visitors; visitor++) this.#visit();
  }

  /** Waits for the answers that are due. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const what = 'the last visitors to leave';
    await waitFor(() => this.#present === 0, { timeoutMs: END_MAX_MS, what });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #visit(): void {
    this.#present++;
    Visit.begin(this.#target, this.#oracle, {
      left: this.#options.perConnection,
      pauseMs: this.#options.pauseMs,
      isLast: () => this.#stopped,
      onCertificate: (name) => {
        this.certificates.set(name, (this.certificates.get(name) ?? 0) + 1);
      },
      onClose: () => {
        this.closes++;
      },
      onEnd: (broken) => {
        this.#present--;
        if (broken !== undefined) this.broken.set(broken, (this.broken.get(broken) ?? 0) + 1);
        if (!this.#stopped) setImmediate(() => this.#visit());
      },
    });
  }
}

interface Manners {
  left: number;
  readonly pauseMs: number;
  readonly isLast: () => boolean;
  readonly onCertificate: (name: string) => void;
  readonly onClose: () => void;
  /** `broken`: how it ended, if not as it should. */
  readonly onEnd: (broken: string | undefined) => void;
}

/** One connection. */
class Visit {
  readonly #socket: Socket;
  readonly #oracle: Oracle;
  readonly #manners: Manners;
  #waitingFor: number | undefined;
  #received = '';
  #ended = false;

  static begin(...visit: ConstructorParameters<typeof Visit>): Visit {
    return new Visit(...visit);
  }

  constructor({ ca, ...target }: Target, oracle: Oracle, manners: Manners) {
    this.#oracle = oracle;
    this.#manners = manners;
    this.#socket = ca === undefined ? connect(target) : connectTls({ ...target, ca });
    this.#socket.setNoDelay(true);
    this.#socket.on(ca === undefined ? 'connect' : 'secureConnect', () => {
      if (ca !== undefined) this.#noteCertificate(this.#socket as TLSSocket);
      this.#ask();
    });
    this.#socket.on('data', (bytes) => this.#read(bytes.toString('latin1')));
    this.#socket.on('error', (error: NodeJS.ErrnoException) =>
      this.#end(error.code ?? error.message),
    );
    this.#socket.on('close', () => this.#end('closed'));
  }

  #noteCertificate(socket: TLSSocket): void {
    this.#manners.onCertificate(String(socket.getPeerCertificate().subject.CN));
  }

  #ask(): void {
    const { number, head } = this.#oracle.issue(this.#socket.localPort ?? 0);
    this.#waitingFor = number;
    this.#manners.left--;
    this.#socket.write(head);
  }

  #read(text: string): void {
    this.#received += text;
    const number = this.#waitingFor;
    if (number === undefined || !this.#received.includes('\r\n\r\n')) return;
    const closes = /\r\nconnection: close\r\n/i.test(this.#received);
    this.#oracle.noteAnswer(number, Number(this.#received.slice(9, 12)));
    this.#waitingFor = undefined;
    this.#received = '';
    if (closes) this.#manners.onClose();
    if (closes || this.#manners.left === 0 || this.#manners.isLast()) this.#end(undefined);
    else if (this.#manners.pauseMs === 0) this.#ask();
    else setTimeout(() => this.#askIfOpen(), this.#manners.pauseMs);
  }

  #askIfOpen(): void {
    if (!this.#ended) this.#ask();
  }

  #end(broken: string | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.destroy();
    const when = this.#waitingFor === undefined ? 'between two requests' : 'while waiting';
    this.#manners.onEnd(broken === undefined ? undefined : `${broken} ${when}`);
  }
}
