// Who takes part. One contract for all (see variants/bare.ts), so that a program in any language can
// join: it is a command and an environment. Order here is order in the table; `bare` is the floor
// the ratios are taken from.
//
// The environment given is the whole one, apart from PATH and HOME: what the caller happens to have
// exported must not decide how a server is configured.

export interface Variant {
  name: string;
  /** False for a server that keeps no log: nothing is then expected in Kafka. */
  logs: boolean;
  command: string[];
  env(dir: string): Record<string, string>;
}

const root = `${import.meta.dir}/..`;
const bun = process.execPath;

function ours(name: string, record: string): Variant {
  return {
    name,
    logs: true,
    command: [bun, 'run', `${root}/src/server.ts`],
    env: (dir) => ({
      HOST: '127.0.0.1',
      RECORD: record,
      JOURNAL_DIR: `${dir}/journal`,
      ADMIN_PORT: 'off',
    }),
  };
}

export const variants: readonly Variant[] = [
  {
    name: 'bare',
    logs: false,
    command: [bun, 'run', `${root}/bench/variants/bare.ts`],
    env: () => ({}),
  },
  {
    name: 'naive-kafkajs',
    logs: true,
    command: [bun, 'run', `${root}/bench/variants/naive-kafkajs.ts`],
    env: () => ({}),
  },
  ours('ours', 'seed'),
  ours('ours-click', 'click'),
];

export function pick(names: string[]): Variant[] {
  return names.map((name) => {
    const variant = variants.find((variant) => variant.name === name);
    if (variant) return variant;
    const known = variants.map((variant) => variant.name).join(', ');
    throw new Error(`unknown variant "${name}"; there are: ${known}`);
  });
}

export function topicOf(variant: Variant): string {
  return `bench-${variant.name}`;
}
