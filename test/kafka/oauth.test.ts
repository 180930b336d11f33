// Tokens by client credentials, against a token endpoint of the test's own: kept for most of their life
// and shared by connections that open together, refused in words without the secret; and the exchange
// with a broker, whose refusal is a challenge.

import { describe, expect, test } from 'bun:test';
import { bearerMechanism, TokenSource } from '../../src/kafka/oauth.ts';
import { failureOf } from '../support/failure-of.ts';
import { timePasses } from '../support/short-sleeps.ts';
import { TokenServer } from '../support/token-server.ts';

const CLIENT = { clientId: 'otto', clientSecret: 'hunter2' };

function sourceFor(server: TokenServer, changes: Partial<typeof CLIENT> = {}): TokenSource {
  return new TokenSource({ tokenUrl: server.tokenUrl, scope: '', ...CLIENT, ...changes });
}

describe('a token', () => {
  test('is asked for once, however many connections open', async () => {
    using server = new TokenServer(CLIENT);
    const source = sourceFor(server);
    const tokens = await Promise.all([source.token(), source.token(), source.token()]);
    expect(new Set(tokens)).toEqual(new Set(server.issued));
    expect(await source.token()).toBe(tokens[0]);
    expect(server.issued).toHaveLength(1);
  });

  test('is asked for anew at 80 % of its life', async () => {
    using server = new TokenServer({ ...CLIENT, seconds: 100 });
    const source = sourceFor(server);
    const first = await source.token();
    {
      using _ = timePasses(79_000);
      expect(await source.token()).toBe(first);
    }
    using _ = timePasses(81_000);
    await source.token();
    expect(server.issued).toHaveLength(2);
  });

  test('is asked for anew after it was forgotten', async () => {
    using server = new TokenServer(CLIENT);
    const source = sourceFor(server);
    await source.token();
    source.forget();
    await source.token();
    expect(server.issued).toHaveLength(2);
  });

  test('of an id and a secret with characters of their own is asked for in their encoded form', async () => {
    const strange = { clientId: 'a:b c', clientSecret: 'p%ä+ö' };
    const encoded = { clientId: 'a%3Ab%20c', clientSecret: 'p%25%C3%A4%2B%C3%B6' };
    using server = new TokenServer(encoded);
    await sourceFor(server, strange).token();
    expect(server.issued).toHaveLength(1);
  });
});

describe('no token', () => {
  test('for a wrong secret: the status and the OAuth error, never the secret', async () => {
    using server = new TokenServer(CLIENT);
    const { message } = await failureOf(sourceFor(server, { clientSecret: 'wr0ng' }).token());
    expect(message).toBe(`the token endpoint ${server.tokenUrl} answers 401 (invalid_client)`);
  });

  test('from an endpoint that is not there', async () => {
    const source = new TokenSource({ tokenUrl: 'http://127.0.0.1:1/', scope: '', ...CLIENT });
    const { message } = await failureOf(source.token());
    expect(message).toBe('the token endpoint http://127.0.0.1:1/ does not answer (ECONNREFUSED)');
  });

  test('from one that answers something else: what it says is not repeated', async () => {
    using server = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      fetch: () => Response.json({ error: 'hunter2 is wrong', access_token: 7 }),
    });
    const tokenUrl = server.url.href;
    const source = new TokenSource({ tokenUrl, scope: '', ...CLIENT });
    const { message } = await failureOf(source.token());
    expect(message).toBe(`the token endpoint ${tokenUrl} answers 200 (no token)`);
  });

  test('is asked for again the next time', async () => {
    using server = new TokenServer(CLIENT);
    const source = sourceFor(server, { clientSecret: 'wr0ng' });
    await failureOf(source.token());
    await failureOf(source.token());
    expect(server.refused).toBe(2);
  });
});

describe('the exchange with a broker', () => {
  function exchangeWith(source: TokenSource, answers: readonly (string | Error)[]) {
    const messages: string[] = [];
    const mechanism = bearerMechanism(source)({
      saslAuthenticate: async ({ request, response }) => {
        const bytes = await request.encode();
        expect(bytes.readInt32BE(0)).toBe(bytes.length - 4);
        messages.push(bytes.toString('utf8', 4));
        const answer = answers[messages.length - 1];
        if (answer instanceof Error) throw answer;
        const framed = Buffer.concat([Buffer.alloc(4), Buffer.from(answer ?? '')]);
        return await response.parse(await response.decode(framed));
      },
    });
    return { messages, authenticate: () => mechanism.authenticate() };
  }

  test('is one message where the broker takes the token', async () => {
    using server = new TokenServer(CLIENT);
    const { messages, authenticate } = exchangeWith(sourceFor(server), ['']);
    await authenticate();
    expect(messages).toEqual([`n,,\x01auth=Bearer ${server.issued[0]!}\x01\x01`]);
  });

  test('ends with the broker’s word where it does not, and the token is not used again', async () => {
    using server = new TokenServer(CLIENT);
    const source = sourceFor(server);
    const refusal = '{"status":"invalid_token"}';
    const { messages, authenticate } = exchangeWith(source, [refusal, new Error(refusal)]);
    expect((await failureOf(authenticate())).message).toBe(refusal);
    expect(messages[1]).toBe('\x01');
    await source.token();
    expect(server.issued).toHaveLength(2);
  });

  test('fails also where a broker refuses and then says nothing', async () => {
    using server = new TokenServer(CLIENT);
    const { authenticate } = exchangeWith(sourceFor(server), ['{"status":"invalid_token"}', '']);
    expect((await failureOf(authenticate())).message).toContain('invalid_token');
  });
});
