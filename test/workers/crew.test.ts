// Proves that several workers look like one server on the admin port: counters are summed and never fall
// when a worker ends, and whatever is wrong with one is said with its number.

import { expect, test } from 'bun:test';
import { readMetrics } from '../../src/exposition.ts';
import { Histogram } from '../../src/histogram.ts';
import { processMetrics } from '../../src/metrics.ts';
import { Crew, type CrewMember } from '../../src/workers/crew.ts';
import type { Report } from '../../src/workers/messages.ts';
import { readExposition } from '../support/exposition.ts';

class Member implements CrewMember {
  readonly seat: { readonly worker: number };
  state: CrewMember['state'] = 'serving';
  report: Report | undefined;
  troubles: string[] = [];
  silent = false;
  readonly requests = { redirected: 0, methodNotAllowed: 0, refused: 0, failed: 0 };
  readonly journal = {
    counters: {
      appended: 0,
      sealed: 0,
      lostBytes: 0,
      recycledSegments: 0,
      machineStops: 0,
      refusedSegments: 0,
    },
    syncs: { seconds: new Histogram([0.05]), givenUp: 0 },
    bytes: 100,
    bytesMax: 1000,
    freeBytes: 900,
    backlogBytes: 10,
    oldestTimestamp: undefined as number | undefined,
  };
  readonly metrics = processMetrics({
    listener: { status: 301, outcome: 'default', counters: this.requests },
    batcher: { counters: { dropped: 0, oversize: 0, failed: 0 } },
    journal: this.journal,
  });
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
    this.report = structuredClone({
      troubles: this.troubles,
      metrics: readMetrics(this.metrics),
    });
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

test('counters, bytes and histograms are summed', async () => {
  const [one, two] = [new Member(1), new Member(2)];
  const crew = crewOf(one, two);
  [one.requests.redirected, two.requests.redirected] = [3, 4];
  one.journal.syncs.seconds.observe(0.02);
  two.journal.syncs.seconds.observe(0.02);
  two.journal.syncs.seconds.observe(4000);
  expect(await valueOf(crew, 'hoplog_http_requests_total{status="301",outcome="default"}')).toBe(7);
  expect(await valueOf(crew, 'hoplog_journal_bytes')).toBe(200);
  expect(await valueOf(crew, 'hoplog_journal_backlog_bytes')).toBe(20);
  const bucket = 'hoplog_journal_sync_seconds_bucket{le="0.05"}';
  const { samples } = readExposition(await crew.exposition()).get('hoplog_journal_sync_seconds')!;
  expect(samples.get(bucket)).toBe(2);
  expect(samples.get('hoplog_journal_sync_seconds_count')).toBe(3);
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
  one.journal.syncs.seconds.observe(0.02);
  await crew.exposition();
  for (const member of [one, two]) await member.end();
  three.requests.redirected = 6;
  expect(await valueOf(crew, 'hoplog_http_requests_total{status="301",outcome="default"}')).toBe(
    3 + 4 + 6,
  );
  expect(await valueOf(crew, 'hoplog_journal_bytes')).toBe(100);
  const { samples } = readExposition(await crew.exposition()).get('hoplog_journal_sync_seconds')!;
  expect(samples.get('hoplog_journal_sync_seconds_count')).toBe(1);
});

test('one that ends while it is asked is counted once', async () => {
  const [one, two] = [new Member(1), new Member(2)];
  const crew = crewOf(one, two);
  [one.requests.redirected, two.requests.redirected] = [3, 4];
  await crew.exposition();
  two.freshReport = async () => {
    await two.end();
    return undefined;
  };
  const redirected = 'hoplog_http_requests_total{status="301",outcome="default"}';
  expect(await valueOf(crew, redirected)).toBe(7);
  expect(await valueOf(crew, redirected)).toBe(7);
});

test('of a worker that does not answer its last numbers count', async () => {
  const [one, two] = [new Member(1), new Member(2)];
  const crew = crewOf(one, two);
  two.requests.redirected = 4;
  await crew.exposition();
  two.silent = true;
  one.requests.redirected = 1;
  expect(await valueOf(crew, 'hoplog_http_requests_total{status="301",outcome="default"}')).toBe(5);
});

test('trouble is said with the number of the worker, for all that serve', async () => {
  const members = [1, 2, 3, 4].map((worker) => new Member(worker));
  const crew = crewOf(...members);
  expect(await crew.troubles()).toEqual([]);
  members[0]!.troubles = ['no broker has answered yet', 'the journal is full'];
  members[1]!.silent = true;
  Object.assign(members[2]!, { state: 'leaving', troubles: ['shutting down'] });
  expect(await crew.troubles()).toEqual([
    'worker 1: no broker has answered yet',
    'worker 1: the journal is full',
    'worker 2: does not answer',
  ]);
});

test('without a worker that serves it is not ready', async () => {
  const one = new Member(1);
  const crew = crewOf(one);
  one.state = 'starting';
  expect(await crew.troubles()).toEqual(['no worker serves']);
  await one.end();
  expect([await crew.troubles(), crew.members]).toEqual([['no worker serves'], []]);
});
