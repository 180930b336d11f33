// A record of your own, for links in a mailing: which campaign, which recipient, from which country,
// and who clicked without saying who: the client's address as a keyed hash. Start it with
//
//   RECORD=./examples/record-campaign.ts CAMPAIGN_HASH_KEY=… npm start
//   curl 'localhost:8080/?c=summer-24&r=reader-77'
//
// A link may leave out `c` or `r`; the record then has null there. Nothing a client sends makes either
// function throw: a record that fails is counted and lost.

import { createHmac, randomBytes } from 'node:crypto';
import { requestTarget } from '../src/record/click.ts';
import type { RecordKind } from '../src/record/record-kind.ts';

/** What is copied out of the request: strings and numbers, so that nothing of it is needed later. */
interface Captured {
  readonly id: string;
  readonly time: number;
  readonly url: string;
  readonly country: string | null;
  readonly address: string;
}

/** What goes into Kafka. */
export interface CampaignClick {
  /** Boot id and sequence: unique, so a reader can tell a click from its copy. */
  readonly id: string;
  /** ms since 1970. */
  readonly time: number;
  readonly campaign: string | null;
  readonly recipient: string | null;
  /** ISO 3166 code, two capital letters; null where the proxy does not know. */
  readonly country: string | null;
  /** Same client, same value, as long as the key stays; 32 hex digits. */
  readonly client: string;
}

/** Without a key of yours each start has its own: values can then be compared within one run only. */
const HASH_KEY = process.env['CAMPAIGN_HASH_KEY'] || randomBytes(32);
/** Longer is nobody's link of ours; a record must stay far below BATCH_BYTES. */
const PARAMETER_LENGTH_MAX = 100;

/** Runs in the request, before the answer: copy and go. */
export const capture: RecordKind<Captured>['capture'] = (request, context) => ({
  id: context.id,
  time: context.time,
  // Not `new URL(request.url)`: without a usable Host header that throws.
  url: request.url,
  // Set by the proxy in front (here Cloudflare's name for it); a client that comes past it can forge it.
  country: request.headers.get('cf-ipcountry'),
  address: context.remote.address,
});

/** Runs right after the handler: what costs something belongs here. Synchronous, like `capture`. */
export const complete: RecordKind<Captured>['complete'] = (captured): CampaignClick => {
  const parameters = new URLSearchParams(requestTarget(captured.url).query);
  return {
    id: captured.id,
    time: captured.time,
    campaign: shortParameter(parameters, 'c'),
    recipient: shortParameter(parameters, 'r'),
    country: countryCode(captured.country),
    client: hash(captured.address),
  };
};

function shortParameter(parameters: URLSearchParams, name: string): string | null {
  const value = parameters.get(name);
  return value === null || value === '' ? null : value.slice(0, PARAMETER_LENGTH_MAX);
}

/** XX and T1 are Cloudflare's "unknown" and "Tor". */
function countryCode(header: string | null): string | null {
  return header !== null && /^[A-Z]{2}$/.test(header) && header !== 'XX' ? header : null;
}

function hash(address: string): string {
  return createHmac('sha256', HASH_KEY).update(address).digest('hex').slice(0, 32);
}
