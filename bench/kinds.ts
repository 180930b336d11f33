// What a variant is made with, by its name: the page has a colour for each.

export const kinds = {
  ours: 'hoplog',
  floor: 'bare Bun.serve',
  bun: 'Bun',
  node: 'Node',
  go: 'Go',
  rust: 'Rust',
  nginx: 'nginx',
} as const;

export type Kind = keyof typeof kinds;

export function kindOf(variant: string): Kind {
  const [first = ''] = variant.split('-');
  // Steps on the way of its two records.
  if (first === 'seed' || first === 'click') return 'ours';
  return first !== 'bare' && first in kinds ? (first as Kind) : 'floor';
}
