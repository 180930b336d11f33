// Descriptors laid aside, so that they are there when the journal must grow. Every connection takes one,
// Bun accepts as many as come, and the backlog grows most when everybody comes at once: without this,
// clients that hold all descriptors would make the journal "full" with room on the disk.

import { closeSync, openSync } from 'node:fs';

export class DescriptorReserve implements Disposable {
  readonly #held: number[] = [];

  /** Lays aside so many, or gives back what is more; false where the process may not have them all. */
  hold(count: number): boolean {
    try {
      while (this.#held.length < count) this.#held.push(openSync('/dev/null', 'r'));
    } catch (error) {
      if (!isExhausted(error)) throw error;
    }
    for (const surplus of this.#held.splice(count)) closeSync(surplus);
    return this.#held.length === count;
  }

  /**
   * What `open` opens: where no descriptor is left, in the place of one laid aside. Synchronous, so that
   * no connection gets in between.
   */
  open<Opened>(open: () => Opened): Opened {
    try {
      return open();
    } catch (error) {
      const held = isExhausted(error) ? this.#held.pop() : undefined;
      if (held === undefined) throw error;
      closeSync(held);
      return open();
    }
  }

  [Symbol.dispose](): void {
    this.hold(0);
  }
}

/** Of the process, or of the machine. */
export function isExhausted(error: unknown): boolean {
  return ['EMFILE', 'ENFILE'].includes((error as NodeJS.ErrnoException).code ?? '');
}
