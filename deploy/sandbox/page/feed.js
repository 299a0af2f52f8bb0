/**
 * The event feed: goes on where it broke off, and tells each event once.
 */

import { feedUrl, headers } from "./api.js";

const RETRY_MS = [500, 1000, 2000, 5000];
/** The feed says something every 15 s; after this it is taken for gone. */
const SILENCE_MS = 40_000;
/** A record may land that much later than it was written; what comes twice is known by its place. */
const OVERLAP_MS = 60_000;
const CROWDED = "Too many feeds";

/**
 * Follows the log from a time on: server-sent events (HTML standard, 9.2), read with fetch, for the key is a header.
 * `onEvent(event)`: as GET /v1/events gives it. `onState`: "connecting", "behind" (what landed before is still coming), "live",
 * "away", "crowded" (too many windows), or "locked" (the key is wrong: nothing more is tried).
 */
export class Feed {
  #from;
  #on;
  #places = new Map();
  #failures = 0;

  constructor(from, on) {
    this.#from = from;
    this.#on = on;
    this.#run();
  }

  async #run() {
    this.#on.onState("connecting");
    for (;;) {
      const state = await this.#follow();
      this.#on.onState(state);
      if (state === "locked") return;
      const wait = RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)];
      this.#failures += 1;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  /** Until the feed ends, for whatever reason; how things stand then. */
  async #follow() {
    const quiet = new AbortController();
    const answer = await fetch(feedUrl(this.#from.toISOString()), { headers: headers(), signal: quiet.signal }).catch(() => null);
    if (answer === null) return "away";
    if (!answer.ok) return refused(answer.status, await answer.text().catch(() => ""));
    this.#failures = 0;
    this.#on.onState("behind");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const timer = setTimeout(() => quiet.abort(), SILENCE_MS);
      const piece = await reader.read().catch(() => ({ done: true }));
      clearTimeout(timer);
      if (piece.done) return "away";
      const blocks = (rest + piece.value).split("\n\n");
      rest = blocks.pop();
      blocks.forEach((block) => this.#take(block));
    }
  }

  #take(block) {
    const lines = block.split("\n");
    const data = lines.find((line) => line.startsWith("data: "))?.slice("data: ".length);
    if (data === undefined) return;
    if (lines.includes("event: reached")) this.#reached(JSON.parse(data));
    else this.#event(JSON.parse(data));
  }

  /** All that had landed at a time has been told. */
  #reached({ at }) {
    this.#from = new Date(Math.max(this.#from, Date.parse(at) - OVERLAP_MS));
    this.#on.onState("live");
  }

  #event(event) {
    const partition = `${event.topic}/${event.partition}`;
    if (event.offset <= (this.#places.get(partition) ?? -1)) return;
    this.#places.set(partition, event.offset);
    this.#on.onEvent(event);
  }
}

function refused(status, text) {
  if (status === 401) return "locked";
  return text.includes(CROWDED) ? "crowded" : "away";
}
