// Looks along with a connection's incoming bytes and says when they cannot be Kafka's any more: a frame
// whose length is no length. kafkajs would wait for what was announced, and keep up to 2 GiB of it.
//
//   frame: length INT32, of what follows | correlation_id INT32 | …

/** Kafka's own bound on a request; answers are far below (a Fetch is cut at 4 MiB and a batch). */
const FRAME_BYTES_MAX = 100 * 2 ** 20;
const FRAME_BYTES_MIN = 4;

export class FrameGuard {
  /** Bytes of the current frame that are still to come. */
  #left = 0;
  /** Of the current frame's length so far. */
  #length = 0;
  #lengthBytes = 0;

  /** @throws when a frame begins that is none */
  check(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      if (this.#left > 0) {
        const passed = Math.min(this.#left, chunk.length - at);
        this.#left -= passed;
        at += passed;
        continue;
      }
      this.#length = (this.#length << 8) | (chunk[at++] ?? 0);
      this.#lengthBytes++;
      if (this.#lengthBytes === 4) this.#begin();
    }
  }

  #begin(): void {
    if (this.#length < FRAME_BYTES_MIN || this.#length > FRAME_BYTES_MAX) {
      throw new Error(`the broker announces an answer of ${this.#length} bytes`);
    }
    this.#left = this.#length;
    this.#length = 0;
    this.#lengthBytes = 0;
  }
}
