// The example in examples/ is what a user starts from, so it must load as RECORD loads it, say what it
// promises, and survive what clients send.

import { expect, test } from 'bun:test';
import { join } from 'node:path';
import type { CampaignClick } from '../../examples/record-campaign.ts';
import { encoderFor } from '../../src/record/encode.ts';
import { loadRecordKind } from '../../src/record/load-record-kind.ts';
import { REMOTE, contextOf, requestTo } from '../support/requests.ts';

const PATH = join(import.meta.dir, '../../examples/record-campaign.ts');

async function recordOf(
  url: string,
  headers: Readonly<Record<string, string>> = {},
  address = REMOTE.address,
): Promise<CampaignClick> {
  const kind = await loadRecordKind(PATH);
  const context = contextOf({ remote: { ...REMOTE, address } });
  const captured = kind.capture(requestTo(url, headers), context);
  return JSON.parse(encoderFor(kind, 'json')(captured) as string) as CampaignClick;
}

test('a click has campaign, recipient, country and a hashed client', async () => {
  const record = await recordOf('http://a/?c=summer-24&r=reader%2077', { 'cf-ipcountry': 'DE' });
  expect(record).toEqual({
    id: '00000000000000aa-1',
    time: Date.UTC(2026, 10, 24, 10, 49, 35, 647),
    campaign: 'summer-24',
    recipient: 'reader 77',
    country: 'DE',
    client: expect.stringMatching(/^[0-9a-f]{32}$/),
  });
  expect(JSON.stringify(record)).not.toContain(REMOTE.address);
});

test('the same client has the same hash, another one another', async () => {
  const [a, again, b] = await Promise.all([
    recordOf('/'),
    recordOf('/x?c=1'),
    recordOf('/', {}, '203.0.113.8'),
  ]);
  expect(again.client).toBe(a.client);
  expect(b.client).not.toBe(a.client);
});

test('what a link leaves out is null', async () => {
  for (const url of ['http://a/', '/', '/?c=&r=', '/?#c=1', 'http://[/x']) {
    expect(await recordOf(url)).toMatchObject({ campaign: null, recipient: null, country: null });
  }
});

for (const country of ['', 'XX', 'T1', 'de', 'DEU', '\xff\xff']) {
  test(`"${country}" is no country`, async () => {
    expect((await recordOf('/', { 'cf-ipcountry': country })).country).toBeNull();
  });
}

test('parameters are cut to a length, repeated ones count once, broken escapes do not throw', async () => {
  const record = await recordOf(`/?c=${'x'.repeat(5000)}&r=1&r=2`);
  expect(record.campaign).toHaveLength(100);
  expect(record.recipient).toBe('1');
  expect((await recordOf('/?c=%zz%ff')).campaign).toBe('%zz\ufffd');
});
