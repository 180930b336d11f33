// Which Kafka cluster the placements in a journal are of. Producer ids are given out anew in each
// cluster, so what one says of an id says nothing of batches that were placed in another.
//
//   JOURNAL_DIR/cluster    one line: the cluster's id. Several = the journal went on to the last one, and
//                          of the others batches may be left that have no other place yet.
//
// It is on the disk before the first batch is placed in that cluster. Without the file (as before hoplog
// had it), or with one that is damaged, placements are taken for those of the first cluster that answers.

import { readFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Backlog } from './backlog.ts';

/** Kafka's ids are base64 for URLs. */
const ID = '[\\w-]{1,64}';
const IDS = new RegExp(`^${ID}( ${ID})*\n$`);

export class HomeCluster {
  readonly #journal: Pick<Backlog, 'directory' | 'backlogBytes'>;
  readonly #path: string;
  readonly #onWarning: (message: string) => void;
  /** The last one is where batches are placed now. */
  #ids: readonly string[];
  /** Writes are done one after the other. */
  #written: Promise<void> = Promise.resolve();

  constructor(
    journal: Pick<Backlog, 'directory' | 'backlogBytes'>,
    onWarning: (message: string) => void,
  ) {
    this.#journal = journal;
    this.#path = join(journal.directory, 'cluster');
    this.#onWarning = onWarning;
    this.#ids = readIds(this.#path);
  }

  /** Other clusters that batches may still be placed in: what is known of producer ids here is not theirs. */
  get others(): readonly string[] {
    return this.#ids.slice(0, -1);
  }

  /** Is this not the cluster that batches are placed in? One that does not say its id may be any. */
  isOther(clusterId: string): boolean {
    return clusterId !== '' && clusterId !== this.#ids.at(-1);
  }

  /** From now on batches are placed in this one. Never rejects. */
  async enter(clusterId: string): Promise<void> {
    if (!this.isOther(clusterId)) return;
    await this.#write([...this.#ids.filter((id) => id !== clusterId), clusterId]);
    if (this.others.length > 0 && this.#journal.backlogBytes > 0) this.#warn(clusterId);
  }

  /** No batch is placed in another one any more. Never rejects. */
  async settle(): Promise<void> {
    if (this.others.length > 0) await this.#write(this.#ids.slice(-1));
  }

  #write(ids: readonly string[]): Promise<void> {
    this.#ids = ids;
    this.#written = this.#written
      .then(() => replace(this.#path, `${ids.join(' ')}\n`))
      .catch((error: Error) => {
        this.#onWarning(`the Kafka cluster cannot be noted in ${this.#path}: ${error.message}`);
      });
    return this.#written;
  }

  #warn(clusterId: string): void {
    this.#onWarning(
      `Kafka cluster ${clusterId} answers, and the journal ${this.#journal.directory} was delivered ` +
        `to ${this.others.join(', ')} before: what is not confirmed goes to the new one, and what ` +
        'may be in the former one, too, is counted and named as possibly twice',
    );
  }
}

function readIds(path: string): string[] {
  try {
    const line = readFileSync(path, 'latin1');
    return IDS.test(line) ? line.trim().split(' ') : [];
  } catch {
    return [];
  }
}

/** A power cut leaves the old text or the new one. */
async function replace(path: string, text: string): Promise<void> {
  const unfinished = `${path}.new`;
  await sync(unfinished, 'w', text);
  await rename(unfinished, path);
  await sync(dirname(path), 'r');
}

async function sync(path: string, flags: 'r' | 'w', text?: string): Promise<void> {
  const file = await open(path, flags, 0o600);
  try {
    if (text !== undefined) await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}
