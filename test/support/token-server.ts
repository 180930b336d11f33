// An OAuth token endpoint as hoplog and Kafka need one: client credentials for a signed JWT, and the key
// set that Kafka verifies it with. Counts what it was asked.

import { generateKeyPairSync, sign } from 'node:crypto';

const KEY_ID = 'test-key';
export const AUDIENCE = 'kafka';

export interface TokenServerOptions {
  readonly clientId: string;
  readonly clientSecret: string;
  /** Life of a token. */
  readonly seconds?: number;
}

export class TokenServer implements Disposable {
  /** Tokens handed out. */
  readonly issued: string[] = [];
  refused = 0;
  /** Until it is true again, tokens are for somebody else's cluster. */
  audienceIsRight = true;
  seconds: number;
  readonly #server: Bun.Server<undefined>;
  readonly #keys = generateKeyPairSync('rsa', { modulusLength: 2048 });

  constructor({ clientId, clientSecret, seconds = 3_600 }: TokenServerOptions) {
    this.seconds = seconds;
    const expected = `Basic ${btoa(`${clientId}:${clientSecret}`)}`;
    this.#server = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      routes: {
        '/keys': () => Response.json({ keys: [this.#publicKey()] }),
        '/token': {
          POST: async (request) => {
            const form = new URLSearchParams(await request.text());
            const known = request.headers.get('Authorization') === expected;
            if (known && form.get('grant_type') === 'client_credentials') {
              return Response.json(this.#issue(clientId, form.get('scope') ?? ''));
            }
            this.refused++;
            return Response.json({ error: 'invalid_client' }, { status: 401 });
          },
        },
      },
    });
  }

  get tokenUrl(): string {
    return `http://127.0.0.1:${this.#server.port}/token`;
  }

  get keysUrl(): string {
    return `http://127.0.0.1:${this.#server.port}/keys`;
  }

  [Symbol.dispose](): void {
    void this.#server.stop(true);
  }

  #publicKey(): Record<string, unknown> {
    const key = this.#keys.publicKey.export({ format: 'jwk' });
    return { ...key, kid: KEY_ID, alg: 'RS256', use: 'sig' };
  }

  #issue(subject: string, scope: string): Record<string, unknown> {
    const now = Date.now() / 1000;
    const claims = {
      sub: subject,
      aud: this.audienceIsRight ? AUDIENCE : 'somebody-else',
      iat: Math.floor(now),
      exp: Math.ceil(now + this.seconds),
      ...(scope === '' ? {} : { scope }),
    };
    const text = [{ alg: 'RS256', typ: 'JWT', kid: KEY_ID }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    const signature = sign('sha256', Buffer.from(text), this.#keys.privateKey);
    const token = `${text}.${signature.toString('base64url')}`;
    this.issued.push(token);
    return { access_token: token, token_type: 'Bearer', expires_in: this.seconds };
  }
}
