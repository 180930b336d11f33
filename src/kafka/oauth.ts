// SASL OAUTHBEARER: a token by client credentials (RFC 6749, section 4.4), kept for most of its life,
// and the exchange with the broker (RFC 7628). kafkajs has the mechanism, but takes a refusal for a
// success: the broker refuses with a challenge, which kafkajs does not read, and closes afterwards.

const TOKEN_TIMEOUT_MS = 10_000;
/** A token is asked for anew at this part of its life, so before the session that it opened ends. */
const RENEW_AT = 0.8;
const SOH = '\x01';

export interface ClientCredentials {
  readonly tokenUrl: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Empty = none asked for. */
  readonly scope: string;
}

/** What kafkajs hands to a mechanism; messages carry their length in front. */
export interface SaslExchange {
  readonly saslAuthenticate: (exchange: {
    request: { encode(): Promise<Buffer> };
    response: { decode(bytes: Buffer): Promise<Buffer>; parse(challenge: Buffer): Promise<Buffer> };
  }) => Promise<Buffer>;
}

export class TokenSource {
  readonly #credentials: ClientCredentials;
  #token: Promise<string> | undefined;
  #renewAt = 0;

  constructor(credentials: ClientCredentials) {
    this.#credentials = credentials;
  }

  /** @throws the endpoint refuses, or does not answer */
  token(): Promise<string> {
    if (this.#token && performance.now() < this.#renewAt) return this.#token;
    this.#renewAt = performance.now() + TOKEN_TIMEOUT_MS; // connections that open meanwhile share it
    const asked = this.#ask();
    asked.catch(() => this.forget());
    this.#token = asked;
    return asked;
  }

  forget(): void {
    this.#token = undefined;
  }

  async #ask(): Promise<string> {
    const { tokenUrl, clientId, clientSecret, scope } = this.#credentials;
    const pair = [clientId, clientSecret].map(encodeURIComponent).join(':');
    const response = await fetch(tokenUrl, {
      method: 'POST',
      headers: { Authorization: `Basic ${btoa(pair)}`, Accept: 'application/json' },
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        ...(scope === '' ? {} : { scope }),
      }),
      redirect: 'error',
      signal: AbortSignal.timeout(TOKEN_TIMEOUT_MS),
    }).catch((error: Error) => {
      throw new Error(`the token endpoint ${tokenUrl} does not answer (${codeOf(error)})`);
    });
    const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>;
    const { access_token: token, expires_in: seconds } = answer;
    if (!response.ok || typeof token !== 'string') {
      // Nothing else of the answer: who knows what it repeats.
      const reason = /^\w{1,40}$/.exec(String(answer['error']))?.[0] ?? 'no token';
      throw new Error(`the token endpoint ${tokenUrl} answers ${response.status} (${reason})`);
    }
    this.#renewAt = performance.now() + (Number(seconds) || 0) * 1000 * RENEW_AT;
    return token;
  }
}

/** kafkajs's `sasl.authenticationProvider`. */
export function bearerMechanism(tokens: TokenSource) {
  return ({ saslAuthenticate }: SaslExchange) => ({
    async authenticate(): Promise<void> {
      const ask = (message: string): Promise<Buffer> =>
        saslAuthenticate({
          request: { encode: async () => withLength(message) },
          response: { decode: async (bytes) => bytes.subarray(4), parse: async (bytes) => bytes },
        });
      const token = await tokens.token();
      try {
        const challenge = await ask(`n,,${SOH}auth=Bearer ${token}${SOH}${SOH}`);
        if (challenge.length === 0) return;
        // A refusal: the broker ends the exchange with an error once this is acknowledged.
        await ask(SOH);
        throw new Error(`the broker refuses the token (${challenge.toString()})`);
      } catch (error) {
        tokens.forget();
        throw error;
      }
    },
  });
}

function codeOf(error: Error & { code?: unknown }): string {
  return typeof error.code === 'string' ? error.code : error.message;
}

function withLength(message: string): Buffer {
  const bytes = Buffer.from(message);
  const length = Buffer.alloc(4);
  length.writeInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
