// A RECORD module whose `complete` kills the server for a request that says `die`. `complete` runs
// right in front of the append, so what is answered by then must be what was appended before.

interface Captured {
  readonly url: string;
}

export function capture(request: Request): Captured {
  return { url: request.url };
}

export function complete({ url }: Captured): { number: number } {
  const { searchParams } = new URL(url);
  if (searchParams.has('die')) process.kill(process.pid, 'SIGKILL');
  return { number: Number(searchParams.get('n')) };
}
