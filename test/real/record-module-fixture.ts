// A user's RECORD module: copies out of the request what it needs, adds the rest afterwards.

interface Captured {
  readonly id: string;
  readonly campaign: string | null;
  readonly status: number;
  readonly remoteAddress: string;
}

interface Context {
  readonly id: string;
  readonly remoteAddress: string;
  readonly status: number;
}

export function capture(request: Request, context: Context): Captured {
  const { id, remoteAddress, status } = context;
  return { id, campaign: new URL(request.url).searchParams.get('utm'), status, remoteAddress };
}

export function complete(captured: Captured): unknown {
  return { ...captured, shouted: captured.campaign?.toUpperCase() };
}
