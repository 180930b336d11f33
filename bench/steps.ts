// The way of a logged request in steps, each a server of its own that does one thing more: `--steps` measures
// them side by side, and the difference of neighbours is what a thing costs.

export interface Step {
  /** Name of its variant. */
  readonly variant: string;
  /** The step it goes on from. */
  readonly after: string | null;
  /** What it does more than that one. */
  readonly adds: string;
}

export const steps: readonly Step[] = [
  { variant: 'static', after: null, adds: 'the kernel and Bun: read, parse, write; no JavaScript' },
  { variant: 'bare', after: 'static', adds: 'Request, the handler, Response' },
  { variant: 'bare-ip', after: 'bare', adds: 'requestIP: a system call and two texts' },
  { variant: 'seed-captured', after: 'bare-ip', adds: 'method, time, microtask, collection' },
  { variant: 'seed-encoded', after: 'seed-captured', adds: 'the record as bytes, in memory' },
  { variant: 'seed-journalled', after: 'seed-encoded', adds: 'hash, mark, mapped file, fdatasync' },
  { variant: 'ours', after: 'seed-journalled', adds: 'Kafka: CRC, copy, socket, answers' },
  { variant: 'click-read', after: 'bare-ip', adds: 'method, URL and three headers' },
  { variant: 'click-captured', after: 'click-read', adds: 'time, id, microtask, collection' },
  { variant: 'click-encoded', after: 'click-captured', adds: 'the record as bytes, in memory' },
  {
    variant: 'click-journalled',
    after: 'click-encoded',
    adds: 'hash, mark, mapped file, fdatasync',
  },
  { variant: 'ours-click', after: 'click-journalled', adds: 'Kafka: CRC, copy, socket, answers' },
];
