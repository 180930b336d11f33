// What `doctor` says of one step, and how it is printed: one line where all is well, else what happened,
// what it means and what to do, a line each.

export interface Finding {
  readonly step: string;
  readonly state: 'ok' | 'warning' | 'failed' | 'skipped';
  /** What was found; of a skipped step, why. */
  readonly what: string;
  readonly meaning?: string;
  readonly advice?: string;
}

/** What happened, what it means, what to do. */
export interface Complaint {
  readonly what: string;
  readonly meaning: string;
  readonly advice: string;
}

export function ok(step: string, what: string): Finding {
  return { step, state: 'ok', what };
}

export function warning(step: string, complaint: Complaint): Finding {
  return { step, state: 'warning', ...complaint };
}

export function failed(step: string, complaint: Complaint): Finding {
  return { step, state: 'failed', ...complaint };
}

export function skipped(step: string, why: string): Finding {
  return { step, state: 'skipped', what: why };
}

const SIGNS = { ok: '✓', warning: '!', failed: '✗', skipped: '–' } as const;

export function inWords({ step, state, what, meaning, advice }: Finding): string {
  const found = state === 'skipped' ? `skipped: ${what}` : what;
  const lines = [`${SIGNS[state]} ${step}: ${found}`];
  if (meaning !== undefined) lines.push(`    that means: ${meaning}`);
  if (advice !== undefined) lines.push(`    to do: ${advice}`);
  return `${lines.join('\n')}\n`;
}

/** Which of them matter in the end. */
export function summary(findings: readonly Finding[]): string {
  const count = (state: Finding['state']): number =>
    findings.filter((finding) => finding.state === state).length;
  return (
    `${count('failed') > 0 ? 'NOT WELL' : 'well'}: ${count('ok')} ok, ${count('warning')} warnings, ` +
    `${count('failed')} failed, ${count('skipped')} skipped\n`
  );
}
