// The socket under a broker connection, plain or TLS, and what its failures mean in words. Knows of
// Kafka what its frames begin with.
//
// kafkajs listens for `data`, `end` and `error` alone. So that none of its promises waits for ever, a
// connection that is reset (and may only `close`) ends with `end`, and one that ends before it was
// open with `error`.

import { connect, isIP, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { FrameGuard } from './frame-guard.ts';

const KEEP_ALIVE_MS = 60_000;
/** An alert (21) of TLS (3), which answers a plain request; as a Kafka frame it would be of 352 MB. */
const TLS_ALERT = [21, 3];

export interface SocketRequest {
  readonly host: string;
  readonly port: number;
  /** None = plain; kafkajs says null. */
  readonly ssl?: ConnectionOptions | null | undefined;
  readonly onConnect: () => void;
}

export function openSocket({ host, port, ssl, onConnect }: SocketRequest): Socket {
  let open = false;
  const opened = (): void => {
    open = true;
    onConnect();
  };
  const family = isIP(host);
  const target = { host, port, ...(family === 0 ? {} : { family }) };
  const socket = ssl
    ? connectTls({ ...target, ...(family === 0 ? { servername: host } : {}), ...ssl }, opened)
    : connect(target, opened);
  socket.setKeepAlive(true, KEEP_ALIVE_MS);
  socket.setNoDelay(true);
  let over = false;
  socket.once('error', () => {
    over = true;
  });
  socket.once('end', () => {
    over ||= open;
  });
  socket.once('close', () => {
    if (over) return;
    if (open) socket.emit('end');
    else socket.emit('error', new Error('closed before it was open'));
  });
  const failure = (error: Error): Error => (ssl ? tlsFailure(error, ssl) : error);
  interpose(socket, { failure, isOpen: () => open, isPlain: !ssl });
  return socket;
}

interface Interposed {
  readonly failure: (error: Error) => Error;
  readonly isOpen: () => boolean;
  readonly isPlain: boolean;
}

/** Between the socket and kafkajs's listeners, which are added with `on`. */
function interpose(socket: Socket, { failure, isOpen, isPlain }: Interposed): void {
  const on = socket.on.bind(socket);
  socket.on = (event: string, listener: Parameters<typeof on>[1]): Socket => {
    switch (event) {
      case 'data':
        return on('data', guardData(socket, listener, isPlain));
      case 'error':
        return on('error', (error: Error) => listener(failure(error)));
      case 'end':
        // Before the connection is open kafkajs would stop its time-out on this, and wait for ever.
        return on('end', () => isOpen() && listener());
      default:
        return on(event, listener);
    }
  };
}

/**
 * kafkajs throws out of its `data` listener on a frame that makes no sense, or waits for one that will
 * never be whole: end the connection.
 */
function guardData(socket: Socket, listener: (chunk: Buffer) => void, isPlain: boolean) {
  const guard = new FrameGuard();
  let mayBeAlert = isPlain;
  return (chunk: Buffer): void => {
    try {
      if (mayBeAlert && TLS_ALERT.every((byte, index) => chunk[index] === byte)) {
        throw new Error('this port speaks TLS: set KAFKA_TLS=on, or name a plain port');
      }
      mayBeAlert = false;
      guard.check(chunk);
      listener(chunk);
    } catch (error) {
      socket.destroy(error as Error);
    }
  };
}

const UNKNOWN_AUTHORITY =
  'its certificate is signed by an unknown authority: name the CA file in KAFKA_TLS_CA';

/** By Node's and BoringSSL's codes. */
const TLS_FAILURES: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its certificate has expired: renew it on the broker',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet: compare the clocks',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_AUTHORITY,
};

function tlsFailure(error: Error, { cert }: ConnectionOptions): Error {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return new Error(TLS_FAILURES[code] ?? otherTlsFailure(code, message, cert !== undefined));
}

function otherTlsFailure(code: string, message: string, hasCertificate: boolean): string {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return 'its certificate is for another host name: use that one in KAFKA_BROKERS and in the advertised listeners, or renew it';
  }
  // Java says `bad certificate` to none at all, too.
  const alert = /ALERT_((?:\w+_)?(?:CERTIFICATE\w*|CA)|HANDSHAKE_FAILURE)/.exec(code)?.[1];
  if (alert !== undefined) {
    return hasCertificate
      ? `the broker refuses the certificate in KAFKA_TLS_CERT (${alert.toLowerCase().replaceAll('_', ' ')})`
      : 'the broker wants a client certificate: set KAFKA_TLS_CERT and KAFKA_TLS_KEY';
  }
  if (/secure TLS connection|closed before|WRONG_VERSION_NUMBER|ECONNRESET/.test(code + message)) {
    return 'no TLS on this port, or the handshake was cut off: KAFKA_TLS=off is for plain ports';
  }
  return message;
}
