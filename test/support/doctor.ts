// The command `doctor` as a process, its findings by step, and what a test expects of them: exactly the
// steps that it names fail, each with its three lines.

import { expect } from 'bun:test';
import type { Finding } from '../../src/tools/doctor/finding.ts';
import { type Options, runHoplog } from './server.ts';

export interface Diagnosis {
  readonly exitCode: number;
  readonly output: string;
  readonly findings: readonly Finding[];
}

export async function diagnose(options: Options, ...flags: string[]): Promise<Diagnosis> {
  const { exitCode, stdout, stderr } = await runHoplog(['doctor', '--json', ...flags], options);
  expect(stderr).toBe('');
  const { well, findings } = JSON.parse(stdout) as { well: boolean; findings: Finding[] };
  expect(exitCode).toBe(well ? 0 : 1);
  return { exitCode, output: stdout, findings };
}

export function findingOf({ findings }: Diagnosis, step: string): Finding {
  const found = findings.find((finding) => finding.step === step);
  if (!found) throw new Error(`no step ${step} in ${findings.map((one) => one.step).join(', ')}`);
  return found;
}

export function stepsThat({ findings }: Diagnosis, state: Finding['state']): string[] {
  return findings.filter((finding) => finding.state === state).map(({ step }) => step);
}

/** What it says and advises contains these words. */
export function expectFailure(
  diagnosis: Diagnosis,
  step: string,
  what: string,
  advice: string,
): void {
  expect(stepsThat(diagnosis, 'failed')).toEqual([step]);
  const finding = findingOf(diagnosis, step);
  expect(finding.what).toContain(what);
  expect(finding.advice).toContain(advice);
  expect(finding.meaning).toMatch(/\w/);
}
