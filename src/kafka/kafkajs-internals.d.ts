// The parts of kafkajs 2.2.4 that cluster.ts uses and that its own types do not cover. The package
// has no exports map, so these paths can be imported; the version is pinned exactly for that reason.

declare module 'kafkajs/src/network/requestQueue/index.js' {
  interface SocketRequest {
    readonly requestTimeout: number;
    timeoutRequest(): void;
  }
  interface RequestQueuePrototype {
    readonly pending: readonly SocketRequest[];
    readonly inflight: ReadonlyMap<number, SocketRequest>;
    throttledUntil: number;
    throttleCheckTimeoutId: Timer | null;
    requestTimeoutIntervalId: Timer;
    isConnected(): boolean;
    /** Clears the timers. */
    destroy(): void;
    checkPendingRequests(): void;
    sendSocketRequest: (this: RequestQueuePrototype, request: SocketRequest) => void;
    scheduleRequestTimeoutCheck(this: RequestQueuePrototype): void;
    maybeThrottle(this: RequestQueuePrototype, milliseconds: number): void;
    canSendSocketRequestImmediately(this: RequestQueuePrototype): boolean;
    scheduleCheckPendingRequests(this: RequestQueuePrototype): void;
  }
  const RequestQueue: { prototype: RequestQueuePrototype };
  export default RequestQueue;
}

declare module 'kafkajs/src/cluster/connectionPoolBuilder.js' {
  export interface RequestQueue {
    push(request: {
      entry: {
        apiKey: number;
        apiName: string;
        apiVersion: number;
        correlationId: number;
        resolve: (answer: { payload: Buffer }) => void;
        reject: (error: Error) => void;
      };
      expectResponse: boolean;
      requestTimeout: number | null;
      sendRequest: () => void;
    }): void;
    /** Holds the connection's next requests back for this long (KIP-219). */
    maybeThrottle(milliseconds: number): void;
    /** Resolves once nothing waits and nothing is out. */
    waitForPendingRequests(): Promise<void>;
  }
  export interface Connection {
    readonly requestQueue: RequestQueue;
    socket?: import('node:net').Socket;
    /** Milliseconds, of kafkajs's own integer type; 0 = no limit. */
    readonly sessionLifetime: { toString(): string };
    isConnected(): boolean;
    nextCorrelationId(): number;
    disconnect(): Promise<boolean>;
    rejectRequests(error: Error): void;
  }
  export interface ConnectionPool {
    readonly host: string;
    readonly port: number;
    /** Ours is the first; kafkajs keeps the second for its own Fetch, and never opens it here. */
    readonly pool: readonly [Connection, Connection];
    isConnected(): boolean;
  }
  export default function createConnectionPoolBuilder(options: Record<string, unknown>): {
    build(address: { host: string; port: number }): Promise<ConnectionPool>;
  };
}

declare module 'kafkajs/src/broker/index.js' {
  import type { ConnectionPool } from 'kafkajs/src/cluster/connectionPoolBuilder.js';
  export default class Broker {
    constructor(options: { connectionPool: ConnectionPool; logger: unknown });
    readonly connectionPool: ConnectionPool;
    readonly versions: Record<number, { minVersion: number; maxVersion: number }> | null;
    isConnected(): boolean;
    connect(): Promise<void>;
    disconnect(): Promise<void>;
  }
}

declare module 'kafkajs/src/loggers/index.js' {
  export const LEVELS: { NOTHING: number };
  export function createLogger(options: { level: number; logCreator: () => () => void }): unknown;
}
