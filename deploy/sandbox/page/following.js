/**
 * A list that stays at its newest line, unless its reader has scrolled up.
 */

/** Whoever has scrolled up further than this reads, and is not taken back. */
const NEAR_PX = 40;

export class Following {
  #scroll;
  #follows = true;

  /** `scroll`: the element that scrolls. */
  constructor(scroll) {
    this.#scroll = scroll;
    scroll.addEventListener("scroll", () => {
      this.#follows = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_PX;
    });
    new ResizeObserver(() => this.settle()).observe(scroll);
  }

  /** Something was added or has grown. */
  settle() {
    if (this.#follows) this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }
}
