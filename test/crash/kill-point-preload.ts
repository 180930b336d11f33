// Loaded in front of hoplog by `bun --preload`: SIGKILLs the process when it passes the point KILL_POINT
// (points.ts) for the KILL_HIT-th time. The program itself knows nothing of it: what it passes are its
// own methods, wrapped here, and the single writes they make to mapped memory.

import { Duplex } from 'node:stream';
import { Socket } from 'node:net';
import { Journal } from '../../src/journal/journal.ts';
import { OpenBatch } from '../../src/journal/open-batch.ts';
import { Segment } from '../../src/journal/segment.ts';
import { SegmentStore } from '../../src/journal/segment-store.ts';
import { Topic } from '../../src/kafka/topic.ts';

const { KILL_POINT, KILL_HIT } = process.env;
const API_KEY_AT = 4;
const PRODUCE_API_KEY = 0;

let passesLeft = Number(KILL_HIT);
/** From the first append on; before that, and in a life without load, all points are recovery's. */
let underLoad = false;
/** Whose writes to memory are being made. */
let within = '';

function pass(point: string): void {
  if (KILL_POINT !== (underLoad ? point : `recovery: ${point}`)) return;
  passesLeft--;
  if (passesLeft === 0) process.kill(process.pid, 'SIGKILL');
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

function wrap(prototype: object, name: string, wrapper: (original: Method) => Method): void {
  const methods = prototype as Record<string, Method>;
  const original = methods[name];
  if (!original) throw new Error(`there is no method ${name} to be killed in`);
  methods[name] = wrapper(original);
}

interface Names {
  readonly before?: (self: unknown) => string;
  readonly within?: (self: unknown) => string;
  readonly after?: (self: unknown) => string;
}

/** Points around a method that is done when it returns. */
function around(prototype: object, name: string, { before, within: inside, after }: Names): void {
  wrap(
    prototype,
    name,
    (original) =>
      function around(...args) {
        const afterwards = after?.(this);
        if (before) pass(before(this));
        const outside = within;
        within = inside?.(this) ?? within;
        const result = original.apply(this, args);
        within = outside;
        if (afterwards !== undefined) pass(afterwards);
        return result;
      },
  );
}

/** A point behind the promise that a method returns. */
function behind(prototype: object, name: string, point: string): void {
  wrap(
    prototype,
    name,
    (original) =>
      function behind(...args) {
        return (original.apply(this, args) as Promise<unknown>).then((result) => {
          pass(point);
          return result;
        });
      },
  );
}

function named(what: string): Names {
  return { before: () => `before ${what}`, after: () => `after ${what}` };
}

function aroundSetter(prototype: object, name: string, what: string): void {
  const property = Object.getOwnPropertyDescriptor(prototype, name);
  Object.defineProperty(prototype, name, {
    ...property,
    set(value: unknown) {
      pass(`before ${what}`);
      property?.set?.call(this, value);
      pass(`after ${what}`);
    },
  });
}

const BUFFER_WRITERS = ['writeInt16BE', 'writeInt32BE', 'writeUInt32BE', 'writeBigInt64BE'];
for (const name of BUFFER_WRITERS) {
  wrap(
    Buffer.prototype,
    name,
    (original) =>
      function write(...args) {
        if (within !== '') pass(within);
        return original.apply(this, args);
      },
  );
}
for (const name of ['set', 'fill']) {
  wrap(
    Int32Array.prototype,
    name,
    (original) =>
      function write(...args) {
        if (within !== '') pass(within);
        return original.apply(this, args);
      },
  );
}

wrap(
  Journal.prototype,
  'append',
  (original) =>
    function append(...args) {
      underLoad = true;
      pass('before an append');
      const result = original.apply(this, args);
      pass('after an append');
      setImmediate(pass, 'after an answer');
      return result;
    },
);
around(Segment.prototype, 'writeLiveMark', named('a live mark'));
around(OpenBatch.prototype, 'seal', { ...named('a seal'), within: () => 'within a seal' });

aroundSetter(Segment.prototype, 'closed', 'a segment is closed');
around(SegmentStore.prototype, 'next', named('the next segment'));
around(Segment.prototype, 'writeSyncedMark', named('a synced mark'));
around(SegmentStore.prototype, 'sync', { before: () => 'before an fdatasync' });
behind(SegmentStore.prototype, 'sync', 'after an fdatasync');

around(Journal.prototype, 'place', { ...named('a stamp'), within: () => 'within a stamp' });
around(Topic.prototype, 'produce', { before: () => 'before a send' });
behind(Topic.prototype, 'produce', "after Kafka's answer");
around(Journal.prototype, 'acknowledge', named('an acknowledgement'));
aroundSetter(Segment.prototype, 'acknowledged', 'the cursor is saved');

around(SegmentStore.prototype, 'release', named('a segment is released'));
const isNew = (segment: unknown): boolean => (segment as Segment).generation === 0;
around(Segment.prototype, 'begin', {
  before: (segment) =>
    isNew(segment) ? 'before a new segment begins' : 'before a segment is recycled',
  within: (segment) => (isNew(segment) ? '' : 'within the recycling of a segment'),
  after: (segment) =>
    isNew(segment) ? 'after a new segment begins' : 'after a segment is recycled',
});

// Between these two, recovery seals what was open: by writes, as everybody.
wrap(
  Segment.prototype,
  'intactMarks',
  (original) =>
    function intactMarks(...args) {
      pass('before marks are proven');
      const marks = original.apply(this, args);
      pass('after marks are proven');
      within = 'within sealing from a mark';
      return marks;
    },
);
wrap(
  Segment.prototype,
  'retireMarks',
  (original) =>
    function retireMarks(...args) {
      within = '';
      pass('before marks are retired');
      original.apply(this, args);
      pass('after marks are retired');
    },
);
around(Topic.prototype, 'describeProducers', { before: () => 'before an inquiry' });
behind(Topic.prototype, 'describeProducers', 'after an inquiry');

/** The bytes of a request go to the kernel when its socket is uncorked. */
let isProduce = false;
let atHead = false;
Object.assign(Socket.prototype, {
  cork(this: Socket) {
    atHead = true;
    Duplex.prototype.cork.call(this);
  },
  write(this: Socket, ...args: Parameters<Socket['write']>) {
    if (atHead) isProduce = (args[0] as Buffer).readInt16BE(API_KEY_AT) === PRODUCE_API_KEY;
    atHead = false;
    return Duplex.prototype.write.apply(this, args as never);
  },
  uncork(this: Socket) {
    Duplex.prototype.uncork.call(this);
    if (isProduce) pass('after a send');
    isProduce = false;
  },
});
