// Proves that several workers look like one server on the admin port: counters are summed and never fall
// when a worker ends, ages are the oldest one's, and whatever is wrong with one is said with its number.

import { expect, test } from 'bun:test';
import { Metrics, metricSource } from '../../src/metrics.ts';
import { Crew, type CrewMember } from '../../src/workers/crew.ts';
import type { Report } from '../../src/workers/messages.ts';
import { readExposition } from '../support/exposition.ts';

class Member implements CrewMember {
  readonly seat: { readonly worker: number };
  state: CrewMember['state'] = 'serving';
  report: Report | undefined;
  trouble: string | undefined;
  silent = false;
  readonly requests = { redirected: 0, methodNotAllowed: 0, refused: 0 };
  readonly journal = {
    counters: {
      appended: 0,
      sealed: 0,
      lostBytes: 0,
      recycledSegments: 0,
      machineStops: 0,
      refusedSegments: 0,
    },
    syncs: { rounds: 0, seconds: 0, givenUp: 0 },
    bytes: 100,
    backlogBytes: 10,
    oldestTimestamp: undefined as number | undefined,
  };
  readonly metrics = new Metrics(
    metricSource({
      listener: { counters: this.requests },
      batcher: { counters: { dropped: 0, oversize: 0, failed: 0 } },
      journal: this.journal,
    }),
  );
  readonly #end = Promise.withResolvers<number>();

  constructor(worker: number) {
    this.seat = { worker };
  }

  get exited(): Promise<number> {
    return this.#end.promise;
  }

  async end(): Promise<void> {
    this.state = 'ended';
    this.#end.resolve(0);
    await this.exited;
  }

  async freshReport(): Promise<Report | undefined> {
    if (this.silent) return undefined;
    // As it comes over the channel: a copy.
    const metrics = structuredClone(await this.metrics.report());
    this.report = { trouble: this.trouble, metrics };
    return this.report;
  }
}

function crewOf(...members: Member[]): Crew<Member> {
  const crew = new Crew<Member>();
  for (const member of members) crew.add(member);
  return crew;
}

async function valueOf(crew: Crew<Member>, series: string): Promise<number | undefined> {
  const metrics = readExposition(await crew.exposition());
  return metrics.get(series.replace(/\{.*|_(?:count|sum)$/, ''))?.samples.get(series);
}

test('counters and bytes are summed, of ages the oldest counts', async () => {
  const [one, two] = [new Member(1), new Member(2)];
  const crew = crewOf(one, two);
  [one.requests.redirected, two.requests.redirected] = [3, 4];
  one.journal.oldestTimestamp = Date.now() - 5_000;
  two.journal.oldestTimestamp = Date.now() - 60_000;
  one.metrics.observeAcknowledged(20);
  two.metrics.observeAcknowledged(20);
  two.metrics.observeAcknowledged(4_000_000);
  expect(await valueOf(crew, 'hoplog_redirects_total')).toBe(7);
  expect(await valueOf(crew, 'hoplog_journal_bytes')).toBe(200);
  expect(await valueOf(crew, 'hoplog_backlog_bytes')).toBe(20);
  expect(await valueOf(crew, 'hoplog_oldest_unacknowledged_seconds')).toBeWithin(60, 70);
  const bucket = 'hoplog_acknowledge_seconds_bucket{le="0.05"}';
  const { samples } = readExposition(await crew.exposition()).get('hoplog_acknowledge_seconds')!;
  expect(samples.get(bucket)).toBe(2);
  expect(samples.get('hoplog_acknowledge_seconds_count')).toBe(3);
});

test('a crew is 0 of ready when one worker is, and says how many serve', async () => {
  const [one, two] = [new Member(1), new Member(2)];
  const crew = crewOf(one, two);
  expect(await valueOf(crew, 'hoplog_ready')).toBe(1);
  two.state = 'starting';
  expect(await valueOf(crew, 'hoplog_workers')).toBe(1);
  crew.restarts = 3;
  expect(await valueOf(crew, 'hoplog_worker_restarts_total')).toBe(3);
});

test('what a worker counted stays counted when it ends, what it held does not', async () => {
  const [one, two, three] = [new Member(1), new Member(2), new Member(3)];
  const crew = crewOf(one, two, three);
  [one.requests.redirected, two.requests.redirected, three.requests.redirected] = [3, 4, 5];
  one.metrics.observeAcknowledged(20);
  await crew.exposition();
  for (const member of [one, two]) await member.end();
  three.requests.redirected = 6;
  expect(await valueOf(crew, 'hoplog_redirects_total')).toBe(3 + 4 + 6);
  expect(await valueOf(crew, 'hoplog_journal_bytes')).toBe(100);
  const { samples } = readExposition(await crew.exposition()).get('hoplog_acknowledge_seconds')!;
  expect(samples.get('hoplog_acknowledge_seconds_count')).toBe(1);
});

test('of a worker that does not answer its last numbers count', async () => {
  const [one, two] = [new Member(1), new Member(2)];
  const crew = crewOf(one, two);
  two.requests.redirected = 4;
  await crew.exposition();
  two.silent = true;
  one.requests.redirected = 1;
  expect(await valueOf(crew, 'hoplog_redirects_total')).toBe(5);
});

test('trouble is said with the number of the worker, for all that serve', async () => {
  const members = [1, 2, 3, 4].map((worker) => new Member(worker));
  const crew = crewOf(...members);
  expect(await crew.trouble()).toBeUndefined();
  members[0]!.trouble = 'no broker has answered yet';
  members[1]!.silent = true;
  Object.assign(members[2]!, { state: 'leaving', trouble: 'shutting down' });
  expect(await crew.trouble()).toBe(
    'worker 1: no broker has answered yet; worker 2: does not answer',
  );
});

test('without a worker that serves it is not ready', async () => {
  const one = new Member(1);
  const crew = crewOf(one);
  one.state = 'starting';
  expect(await crew.trouble()).toBe('no worker serves');
  await one.end();
  expect([await crew.trouble(), crew.members]).toEqual(['no worker serves', []]);
});
