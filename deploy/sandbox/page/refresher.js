/**
 * Looks again for a while after something happened: what the log tells, the read models know a moment later.
 */

const GAP_MS = 300;
const ACTIVE_MS = 3_000;
const IDLE_MS = 5_000;

/** Calls `look` (async) one after another: often within 3 s of `touch()`, every 5 s otherwise. `look` handles its errors. */
export class Refresher {
  #look;
  #until = 0;
  #wake = () => {};

  constructor(look) {
    this.#look = look;
    this.#run();
  }

  /** Something has happened. */
  touch() {
    const idle = this.#until < performance.now();
    this.#until = performance.now() + ACTIVE_MS;
    if (idle) this.#wake();
  }

  async #run() {
    for (;;) {
      try {
        await this.#look();
      } catch (error) {
        reportError(error); // a fault of the page is told in the console; the looking goes on
      }
      const gap = this.#until > performance.now() ? GAP_MS : IDLE_MS;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, gap);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
