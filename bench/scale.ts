// What a rate of requests takes, worked out from what was measured: servers, partitions, brokers, disk,
// network. Assumptions that no run here can measure are named and have their value in `assumed`; each row
// shows its formula, so that anybody can put other figures in.

import type { Table } from './tables.ts';
import type { Results } from './results.ts';
import { summarize } from './summary.ts';

export interface Measured {
  /** CPU of all processes of a server for a request, its shipping included. */
  cpuUs: number;
  /** Bytes of a record in Kafka, batch header included. */
  recordBytes: number;
}

export const assumed = {
  requestsPerSecond: 1_000_000,
  /** Of its cores that a server may use: the rest is for peaks and for the loss of a neighbour. */
  use: 0.6,
  coresPerServer: 8,
  batchBytes: 1_000_000,
  replication: 3,
  /** What a partition takes, and a broker writes to its disks, in MB a second. */
  partitionMbps: 10,
  brokerMbps: 150,
  /** Kafka may be away for so long. */
  outageHours: 1,
  /** Request and answer on the wire, headers of all layers included: a browser's request. */
  httpBytes: 1_200,
};

export type Assumed = typeof assumed;

/** Of the click record, which is the default; of the seed record where only that was measured. */
export function measuredOf({ sections }: Results): (Measured & { variant: string }) | null {
  const rows = sections.bursts?.rows ?? [];
  for (const variant of ['ours-click', 'ours']) {
    const row = rows.find((row) => row.variant === variant);
    const summary = row && summarize(row, rows);
    if (row?.recordBytes && summary) {
      return { variant, cpuUs: summary.cpuUs, recordBytes: row.recordBytes };
    }
  }
  return null;
}

export interface Scale {
  cores: number;
  servers: number;
  kafkaMbps: number;
  batchesPerSecond: number;
  partitions: number;
  brokers: number;
  journalGiB: number;
  drainSeconds: number;
  httpGbps: number;
  kafkaGbps: number;
}

export function scale({ cpuUs, recordBytes }: Measured, a: Assumed = assumed): Scale {
  const cores = (a.requestsPerSecond * cpuUs) / 1e6 / a.use;
  const servers = Math.ceil(cores / a.coresPerServer);
  const kafkaMbps = (a.requestsPerSecond * recordBytes) / 1e6;
  const brokers = Math.max(
    a.replication,
    Math.ceil((kafkaMbps * a.replication) / (a.brokerMbps * a.use)),
  );
  const spareMbps = brokers * a.brokerMbps - kafkaMbps * a.replication;
  const backlogMb = kafkaMbps * a.outageHours * 3_600;
  return {
    cores,
    servers,
    kafkaMbps,
    // A process seals at least one batch a second, and more where they fill up.
    batchesPerSecond: Math.max(servers * a.coresPerServer, (kafkaMbps * 1e6) / a.batchBytes),
    partitions: Math.ceil(kafkaMbps / a.partitionMbps),
    brokers,
    journalGiB: (backlogMb * 1e6) / 2 ** 30 / servers,
    drainSeconds: (backlogMb * a.replication) / spareMbps,
    httpGbps: (a.requestsPerSecond * a.httpBytes * 8) / 1e9,
    kafkaGbps: (kafkaMbps * a.replication * 8) / 1e3,
  };
}

export function scaleTable(measured: Measured, a: Assumed = assumed): Table {
  const s = scale(measured, a);
  const { cpuUs, recordBytes } = measured;
  const rate = a.requestsPerSecond.toLocaleString('en');
  return {
    title: `${rate} requests a second: ${cpuUs.toFixed(2)} µs a request, ${recordBytes.toFixed(0)} bytes a record`,
    head: ['what', 'formula', 'takes'],
    rows: [
      ['cores', `requests × µs a request ÷ ${a.use}`, s.cores.toFixed(1)],
      ['servers', `cores ÷ ${a.coresPerServer}, rounded up`, `${s.servers}`],
      ['into Kafka', 'requests × bytes a record', `${s.kafkaMbps.toFixed(0)} MB/s`],
      [
        'batches',
        `one a second and process, or MB/s ÷ ${a.batchBytes / 1e6} MB`,
        `${s.batchesPerSecond.toFixed(0)} /s`,
      ],
      ['partitions', `MB/s ÷ ${a.partitionMbps}, rounded up`, `${s.partitions}`],
      [
        'brokers',
        `MB/s × ${a.replication} ÷ (${a.brokerMbps} × ${a.use}), rounded up`,
        `${s.brokers}`,
      ],
      [
        'journal of a server',
        `MB/s × ${a.outageHours * 3_600} s without Kafka ÷ servers`,
        `${s.journalGiB.toFixed(0)} GiB`,
      ],
      [
        'until that has arrived',
        `backlog × ${a.replication} ÷ (brokers × ${a.brokerMbps} − MB/s × ${a.replication})`,
        `${(s.drainSeconds / 60).toFixed(0)} min`,
      ],
      [
        'network, clients',
        `requests × ${a.httpBytes} bytes × 8`,
        `${s.httpGbps.toFixed(1)} Gbit/s`,
      ],
      ['network, Kafka', `MB/s × ${a.replication} × 8`, `${s.kafkaGbps.toFixed(1)} Gbit/s`],
    ],
    legend:
      `Measured: µs a request and bytes a record. Assumed: ${a.use} of the cores and brokers used, ` +
      `${a.coresPerServer} cores a server, replication ${a.replication}, ${a.partitionMbps} MB/s a partition, ` +
      `${a.brokerMbps} MB/s a broker, ${a.httpBytes} bytes on the wire for request and answer.`,
    warnings: [],
  };
}
