// Did every answer get its record, and only one? Compared after the server has ended, with the end
// offsets of its topic.
//
// The answers seen are the lower bound. The upper bound adds what was sent and never waited for: wrk
// closes its 64 connections in the middle of a request, and the server may or may not have read it.
// So a loss smaller than that is not seen here; proving the last record is the tests' work.

export interface Account {
  answered: number;
  unknown: number;
}

export type Delivery = 'all' | 'lost' | 'doubled' | 'no log';

export function delivery(logs: boolean, account: Account, records: number): Delivery {
  if (!logs) return records === 0 ? 'no log' : 'doubled';
  if (records < account.answered) return 'lost';
  return records > account.answered + account.unknown ? 'doubled' : 'all';
}
