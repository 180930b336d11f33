// The second port: alive, ready or why not, and metrics as Prometheus reads them; nothing else is
// served there, to nobody without the token if there is one, and a scrape that fails hurts nobody but
// itself.

import { describe, expect, test } from 'bun:test';
import { listenAdmin } from '../../src/http/admin.ts';
import { ListenerUnusable } from '../../src/http/listener.ts';
import { exposition, readMetrics } from '../../src/exposition.ts';
import { processMetrics } from '../../src/metrics.ts';
import { readExposition } from '../support/exposition.ts';
import { Listening } from '../support/listening.ts';

interface Administered extends AsyncDisposable {
  readonly origin: string;
  troubles: string[];
  token: string;
}

function administer(metrics: () => Promise<string> = async () => ''): Administered {
  const administered = {
    origin: '',
    troubles: [] as string[],
    token: '',
    [Symbol.asyncDispose]: async () => server.stop(true),
  };
  const server = listenAdmin({
    hostname: '127.0.0.1',
    port: 0,
    token: () => administered.token,
    troubles: () => administered.troubles,
    metrics,
  });
  administered.origin = server.url.origin;
  return administered;
}

describe('/live', () => {
  test('is 200 as long as the process answers, ready or not', async () => {
    await using admin = administer();
    admin.troubles = ['no broker has answered yet'];
    const response = await fetch(`${admin.origin}/live`);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ live: true });
  });
});

describe('/ready', () => {
  test('is 200 when nothing is wrong', async () => {
    await using admin = administer();
    const response = await fetch(`${admin.origin}/ready`);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ ready: true });
  });

  test('is 503 with the reasons when something is, and 200 again afterwards', async () => {
    await using admin = administer();
    admin.troubles = ['shutting down', 'topic log: UNKNOWN_TOPIC_OR_PARTITION'];
    const response = await fetch(`${admin.origin}/ready`);
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({
      ready: false,
      reasons: ['shutting down', 'topic log: UNKNOWN_TOPIC_OR_PARTITION'],
    });
    admin.troubles = [];
    expect((await fetch(`${admin.origin}/ready`)).status).toBe(200);
  });
});

describe('/metrics', () => {
  test('is Prometheus text with the numbers of the moment', async () => {
    await using listening = new Listening();
    const { listener, batcher } = listening;
    const { journal } = listening.open;
    const families = processMetrics({ listener, batcher, journal });
    await using admin = administer(() => exposition([readMetrics(families)]));
    const scrape = async () => {
      const response = await fetch(`${admin.origin}/metrics`);
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
      return readExposition(await response.text());
    };
    const total = async (series: string) =>
      (await scrape()).get(series.replace(/\{.*/, ''))?.samples.get(series);
    expect(await total('hoplog_http_requests_total{status="301",outcome="default"}')).toBe(0);
    await fetch(`${listening.url}/x`, { redirect: 'manual' });
    await fetch(`${listening.url}/x`, { method: 'POST' });
    expect(await total('hoplog_http_requests_total{status="301",outcome="default"}')).toBe(1);
    expect(await total('hoplog_records_appended_total')).toBe(1);
    expect(
      await total('hoplog_http_requests_total{status="405",outcome="method not allowed"}'),
    ).toBe(1);
    expect(await total('hoplog_journal_backlog_bytes')).toBeGreaterThan(200);
  });

  test('a scrape that fails is an error of that scrape alone', async () => {
    await using admin = administer(async () => {
      throw new Error('broken');
    });
    expect((await fetch(`${admin.origin}/metrics`)).status).toBe(500);
    expect((await fetch(`${admin.origin}/live`)).status).toBe(200);
  });
});

describe('with a token', () => {
  const TOKEN = 'a-long.one_~+/==';

  async function statusOf(origin: string, path: string, authorization?: string): Promise<number> {
    const headers = authorization === undefined ? {} : { Authorization: authorization };
    return (await fetch(`${origin}${path}`, { headers })).status;
  }

  test('all but /live is for whoever has it', async () => {
    await using admin = administer();
    admin.token = TOKEN;
    expect(await statusOf(admin.origin, '/live')).toBe(200);
    for (const [path, status] of Object.entries({ '/ready': 200, '/metrics': 200, '/x': 404 })) {
      expect(await statusOf(admin.origin, path)).toBe(401);
      expect(await statusOf(admin.origin, path, `Bearer ${TOKEN}`)).toBe(status);
      expect(await statusOf(admin.origin, path, `bearer  ${TOKEN}`)).toBe(status);
    }
  });

  test('anything else is 401, says which scheme, and nothing more', async () => {
    await using admin = administer();
    admin.token = TOKEN;
    admin.troubles = ['the reason'];
    const wrong = [
      '',
      'x',
      TOKEN.slice(0, -1),
      `${TOKEN}=`,
      TOKEN.toUpperCase(),
      `${TOKEN} ${TOKEN}`,
    ];
    const schemes = [...wrong.map((token) => `Bearer ${token}`), `Basic ${TOKEN}`, TOKEN, ''];
    for (const Authorization of schemes) {
      const response = await fetch(`${admin.origin}/ready`, { headers: { Authorization } });
      expect([Authorization, response.status]).toEqual([Authorization, 401]);
      expect(response.headers.get('www-authenticate')).toStartWith('Bearer realm=');
      expect(await response.text()).not.toMatch(/the reason|a-long/);
    }
  });

  test('a new one is asked for at once', async () => {
    await using admin = administer();
    admin.token = TOKEN;
    expect(await statusOf(admin.origin, '/ready', 'Bearer new')).toBe(401);
    admin.token = 'new';
    expect(await statusOf(admin.origin, '/ready', 'Bearer new')).toBe(200);
    expect(await statusOf(admin.origin, '/ready', `Bearer ${TOKEN}`)).toBe(401);
  });
});

describe('anything else', () => {
  for (const path of ['/', '/live/', '/livex', '/metrics/x', '/..%2flive']) {
    test(`${path} is 404 and says what there is`, async () => {
      await using admin = administer();
      const response = await fetch(`${admin.origin}${path}`);
      expect(response.status).toBe(404);
      expect(await response.text()).toContain('/live, /ready, /metrics');
    });
  }

  test('other methods change nothing and are not served', async () => {
    await using admin = administer();
    for (const method of ['POST', 'PUT', 'DELETE']) {
      expect((await fetch(`${admin.origin}/ready`, { method })).status).toBeWithin(400, 500);
    }
  });
});

test('a port in use is one line that names ADMIN_PORT', async () => {
  await using admin = administer();
  const port = Number(new URL(admin.origin).port);
  const listenAgain = (): unknown =>
    listenAdmin({
      hostname: '127.0.0.1',
      port,
      token: () => '',
      troubles: () => [],
      metrics: async () => '',
    });
  expect(listenAgain).toThrow(ListenerUnusable);
  expect(listenAgain).toThrow(/^listening on 127\.0\.0\.1:\d+ for admin failed .*ADMIN_PORT=off$/);
});
