// A client socket's address, as Bun.serve gives it, and as records spell it. Pure.

export interface RemoteAddress {
  readonly address: string;
  readonly port: number;
  readonly family: 'IPv4' | 'IPv6';
}

/** How a client looks that reached a dual-stack socket over IPv4. */
const MAPPED_IPV4 = '::ffff:';

/** `203.0.113.7:51234`, `[2001:db8::7]:51234`; '' where the socket was gone. */
export function formatAddress({ address, port, family }: RemoteAddress): string {
  if (address === '') return '';
  if (family === 'IPv4') return `${address}:${port}`;
  if (address.startsWith(MAPPED_IPV4)) return `${address.slice(MAPPED_IPV4.length)}:${port}`;
  return `[${address}]:${port}`;
}
