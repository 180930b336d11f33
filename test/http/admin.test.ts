// The second port: alive, ready or why not, and metrics as Prometheus reads them; nothing else is
// served there, and a scrape that fails hurts nobody but itself.

import { describe, expect, test } from 'bun:test';
import { listenAdmin } from '../../src/http/admin.ts';
import { ListenerUnusable } from '../../src/http/listener.ts';
import { Metrics, metricSource } from '../../src/metrics.ts';
import { readExposition } from '../support/exposition.ts';
import { Listening } from '../support/listening.ts';

interface Administered extends AsyncDisposable {
  readonly origin: string;
  trouble: string | undefined;
}

function administer(metrics: () => Promise<string> = async () => ''): Administered {
  const administered = {
    origin: '',
    trouble: undefined as string | undefined,
    [Symbol.asyncDispose]: async () => server.stop(true),
  };
  const trouble = (): string | undefined => administered.trouble;
  const server = listenAdmin({ hostname: '127.0.0.1', port: 0, trouble, metrics });
  administered.origin = server.url.origin;
  return administered;
}

describe('/live', () => {
  test('is 200 as long as the process answers, ready or not', async () => {
    await using admin = administer();
    admin.trouble = 'no broker has answered yet';
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

  test('is 503 with the reason when something is, and 200 again afterwards', async () => {
    await using admin = administer();
    admin.trouble = 'topic log: UNKNOWN_TOPIC_OR_PARTITION';
    const response = await fetch(`${admin.origin}/ready`);
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({
      ready: false,
      reason: 'topic log: UNKNOWN_TOPIC_OR_PARTITION',
    });
    admin.trouble = undefined;
    expect((await fetch(`${admin.origin}/ready`)).status).toBe(200);
  });
});

describe('/metrics', () => {
  test('is Prometheus text with the numbers of the moment', async () => {
    await using listening = new Listening();
    const { listener, batcher } = listening;
    const { journal } = listening.open;
    const metrics = new Metrics(metricSource({ listener, batcher, journal }));
    await using admin = administer(() => metrics.exposition());
    const scrape = async () => {
      const response = await fetch(`${admin.origin}/metrics`);
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
      return readExposition(await response.text());
    };
    const total = async (name: string) => (await scrape()).get(name)?.samples.get(name);
    expect(await total('hoplog_redirects_total')).toBe(0);
    await fetch(`${listening.url}/x`, { redirect: 'manual' });
    await fetch(`${listening.url}/x`, { method: 'POST' });
    expect(await total('hoplog_redirects_total')).toBe(1);
    expect(await total('hoplog_appended_total')).toBe(1);
    expect(await total('hoplog_method_not_allowed_total')).toBe(1);
    expect(await total('hoplog_backlog_bytes')).toBeGreaterThan(200);
  });

  test('a scrape that fails is an error of that scrape alone', async () => {
    await using admin = administer(async () => {
      throw new Error('broken');
    });
    expect((await fetch(`${admin.origin}/metrics`)).status).toBe(500);
    expect((await fetch(`${admin.origin}/live`)).status).toBe(200);
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
  const trouble = (): undefined => undefined;
  const listenAgain = (): unknown =>
    listenAdmin({ hostname: '127.0.0.1', port, trouble, metrics: async () => '' });
  expect(listenAgain).toThrow(ListenerUnusable);
  expect(listenAgain).toThrow(/^listening on 127\.0\.0\.1:\d+ for admin failed .*ADMIN_PORT=off$/);
});
