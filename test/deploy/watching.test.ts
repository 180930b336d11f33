// What watches hoplog fits hoplog: /metrics is what Prometheus' own linter wants, alerts and dashboard ask
// for metrics that there are, in PromQL that parses, each alert says what it means and what to do, and
// fires when it should: promtool runs alerts.promtool.yaml, in which a healthy server is silent.

import { describe, expect, test } from 'bun:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Deviations } from '../../src/kafka/deviations.ts';
import { readExposition } from '../support/exposition.ts';
import { Server } from '../support/server.ts';
import { tempDir } from '../support/temp-dir.ts';

const DEPLOY = join(import.meta.dir, '../../deploy');
const TEST_MAX_MS = 240_000;
const RUNBOOK_CHARACTERS_MIN = 100;

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly runbook: string };
}

interface Dashboard {
  readonly panels: readonly {
    readonly id: number;
    readonly title: string;
    readonly type: string;
    readonly targets?: readonly { readonly expr: string }[];
  }[];
}

const rulesFile = join(DEPLOY, 'alerts.yaml');
const testsFile = join(import.meta.dir, 'alerts.promtool.yaml');
const rules = Bun.YAML.parse(readFileSync(rulesFile, 'utf8')) as {
  groups: readonly { readonly rules: readonly Alert[] }[];
};
const alerts = rules.groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(
  readFileSync(join(DEPLOY, 'grafana-dashboard.json'), 'utf8'),
) as Dashboard;
const questions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

function promtool(args: readonly string[], input = ''): [exitCode: number, output: string] {
  const options = { stdin: Buffer.from(input), stdout: 'pipe', stderr: 'pipe' } as const;
  const { exitCode, stdout, stderr } = Bun.spawnSync(['promtool', ...args], options);
  return [exitCode, `${stdout.toString()}${stderr.toString()}`];
}

const needsPromtool = test.skipIf(noPromtool());

function noPromtool(): boolean {
  if (Bun.which('promtool') !== null) return false;
  process.stderr.write('SKIPPED promtool: it is not here (Debian: apt-get install prometheus)\n');
  return true;
}

async function scrape(WORKERS: number): Promise<string> {
  using dir = tempDir();
  const journal = { JOURNAL_DIR: join(dir.path, 'journal'), JOURNAL_BYTES: '16MiB' };
  await using server = await Server.start({ WORKERS, ...journal });
  await fetch(server.url, { redirect: 'manual' });
  return await (await fetch(`${server.admin}/metrics`)).text();
}

describe('/metrics', () => {
  for (const workers of [1, 2]) {
    needsPromtool(
      `promtool has nothing to say about the metrics of ${workers} process${workers > 1 ? 'es' : ''}`,
      async () => {
        const text = await scrape(workers);
        readExposition(text);
        expect(promtool(['check', 'metrics'], text)).toEqual([0, '']);
      },
      TEST_MAX_MS,
    );
  }

  test(
    'has every metric that alerts and dashboard name, and the dashboard shows every metric',
    async () => {
      const metrics = readExposition(await scrape(1));
      const exposed = [...metrics].flatMap(([name, { type }]) =>
        type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
      );
      const namesIn = (expressions: readonly string[]): Set<string> =>
        new Set(expressions.flatMap((expr) => expr.match(/\b(?:hoplog|process)_\w+/g) ?? []));
      const asked = namesIn([...alerts.map(({ expr }) => expr), ...questions]);
      expect(asked.size).toBeGreaterThan(20);
      expect([...asked].filter((name) => !exposed.includes(name))).toEqual([]);
      const shown = [...namesIn(questions)].map((name) => name.replace(/_(bucket|sum|count)$/, ''));
      expect([...metrics.keys()].filter((name) => !shown.includes(name))).toEqual([]);
    },
    TEST_MAX_MS,
  );

  test('deviations are named as hoplog names them', () => {
    const { counts } = new Deviations(() => {});
    const named = [...alerts.map(({ expr }) => expr), ...questions].flatMap((expr) =>
      [...expr.matchAll(/deviation="([^"]+)"/g)].map(([, deviation = '']) => deviation),
    );
    expect(named.length).toBeGreaterThan(3);
    expect(
      named.filter((deviation) => ![...counts.keys()].some((known) => known === deviation)),
    ).toEqual([]);
  });
});

describe('alerts', () => {
  test('each says what is wrong where, how bad that is, what it means and what to do', () => {
    for (const { alert, labels, annotations } of alerts) {
      expect([alert, labels.severity]).toEqual([
        alert,
        expect.stringMatching(/^(critical|warning)$/),
      ]);
      expect(annotations.summary).toContain('{{ $labels.instance }}');
      expect(annotations.runbook.length).toBeGreaterThan(RUNBOOK_CHARACTERS_MIN);
    }
  });

  needsPromtool('are rules that Prometheus takes', () => {
    const [exitCode, output] = promtool(['check', 'rules', rulesFile]);
    expect(output).toContain(`SUCCESS: ${alerts.length} rules found`);
    expect(exitCode).toBe(0);
  });

  needsPromtool('fire when they should, and not for a healthy server', () => {
    const [exitCode, output] = promtool(['test', 'rules', testsFile]);
    expect(output).toContain('SUCCESS');
    expect(exitCode).toBe(0);
  });

  test('are all fired by a test', () => {
    const tests = readFileSync(testsFile, 'utf8');
    const names = alerts.map(({ alert }) => alert);
    expect(names.length).toBeGreaterThan(10);
    expect(names.filter((name) => !tests.includes(`alertname="${name}"`))).toEqual([]);
  });
});

describe('the dashboard', () => {
  test('has a question and an id of its own in each panel', () => {
    const { panels } = dashboard;
    const silent = panels.filter(
      ({ type, targets = [] }) => type !== 'row' && targets.length === 0,
    );
    expect(silent.map(({ title }) => title)).toEqual([]);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  });

  needsPromtool('asks in PromQL', () => {
    using dir = tempDir();
    const path = join(dir.path, 'rules.yaml');
    const recorded = questions.map((expr, index) => ({
      record: `panel:${index}`,
      expr: expr.replaceAll('$__rate_interval', '5m'),
    }));
    writeFileSync(path, JSON.stringify({ groups: [{ name: 'panels', rules: recorded }] }));
    expect(promtool(['check', 'rules', path])[1]).toContain(`SUCCESS: ${questions.length} rules`);
  });
});
