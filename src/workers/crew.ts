// All workers of a supervisor, as one to whoever asks on the admin port. What ended workers have counted
// stays counted: to Prometheus a counter that falls has begun anew.

import {
  countedIn,
  exposition,
  mergeReports,
  type MetricsReport,
  readMetrics,
} from '../exposition.ts';
import { serverMetrics } from '../metrics.ts';
import type { Report } from './messages.ts';

/** A worker that does not answer for so long is in trouble. */
const REPORT_MAX_MS = 1000;

/** What is asked of a worker here. */
export interface CrewMember {
  readonly seat: { readonly worker: number };
  readonly state: 'starting' | 'serving' | 'leaving' | 'ended';
  /** Its latest. */
  readonly report: Report | undefined;
  readonly exited: Promise<number>;
  freshReport(timeoutMs: number): Promise<Report | undefined>;
}

export class Crew<Member extends CrewMember> {
  /** Workers that were started again after they had ended by themselves. */
  restarts = 0;
  readonly #members = new Set<Member>();
  #past: Promise<MetricsReport> | undefined;

  /** All that have not ended, those that are being replaced included. */
  get members(): readonly Member[] {
    return [...this.#members];
  }

  /** Looks after it until it ends. */
  add(member: Member): void {
    this.#members.add(member);
    void member.exited.then(() => this.#remove(member));
  }

  /** Resolves when all have ended. */
  async ended(): Promise<void> {
    await Promise.all(this.members.map(({ exited }) => exited));
  }

  /**
   * Why the crew is not ready: what is wrong with any worker that serves. One that is missing is no
   * reason, for the others answer in its place.
   */
  async troubles(): Promise<string[]> {
    const serving = this.members.filter(({ state }) => state === 'serving');
    if (serving.length === 0) return ['no worker serves'];
    const troubles = await Promise.all(
      serving.map(async (worker) => {
        const report = await worker.freshReport(REPORT_MAX_MS);
        const reasons = report ? report.troubles : ['does not answer'];
        return reasons.map((reason) => `worker ${worker.seat.worker}: ${reason}`);
      }),
    );
    return troubles.flat();
  }

  /** Prometheus text; of a worker that does not answer, what it last said. */
  async exposition(): Promise<string> {
    await Promise.all(this.members.map((worker) => worker.freshReport(REPORT_MAX_MS)));
    // Both in one tick: one that ends is either still a member or in the past, never both.
    const { members } = this;
    const past = this.#past;
    const reports = members.flatMap(({ report }) => (report ? [report.metrics] : []));
    if (past) reports.push(await past);
    const workers = members.filter(({ state }) => state === 'serving').length;
    const crew = serverMetrics({ workers, restarts: this.restarts });
    return exposition([...reports, readMetrics(crew)]);
  }

  #remove(member: Member): void {
    this.#members.delete(member);
    if (!member.report) return;
    const ended = countedIn(member.report.metrics);
    const past = this.#past;
    // Set at once, so that no question in between finds neither the member nor what it counted.
    this.#past = past?.then((before) => mergeReports([before, ended])) ?? Promise.resolve(ended);
  }
}
