/**
 * The event feed: one EventSource that goes on where it broke off, and tells each event once.
 */

import { feedUrl } from "./api.js";

const RETRY_MS = [500, 1000, 2000, 5000];
/** Partitions are read side by side: one may be this far behind another when the feed breaks off. */
const OVERLAP_MS = 10_000;

/**
 * Follows the log from a time on.
 * `onEvent(event)`: as GET /v1/events gives it. `onDropped(count)`: the API passed over so many.
 * `onState("connecting" | "live" | "away")`.
 */
export class Feed {
  #from;
  #on;
  #places = new Map();
  #failures = 0;

  constructor(from, on) {
    this.#from = from;
    this.#on = on;
    this.#connect();
  }

  #connect() {
    this.#on.onState(this.#failures ? "away" : "connecting");
    const source = new EventSource(feedUrl(this.#from.toISOString()));
    source.onopen = () => {
      this.#failures = 0;
      this.#on.onState("live");
    };
    source.onmessage = (message) => this.#take(JSON.parse(message.data));
    source.addEventListener("dropped", (message) => this.#on.onDropped(Number(JSON.parse(message.data).count)));
    source.onerror = () => {
      source.close();
      this.#on.onState("away");
      const wait = RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)];
      this.#failures += 1;
      setTimeout(() => this.#connect(), wait);
    };
  }

  #take(event) {
    const partition = `${event.topic}/${event.partition}`;
    if (event.offset <= (this.#places.get(partition) ?? -1)) return;
    this.#places.set(partition, event.offset);
    const safe = new Date(Date.parse(event.at) - OVERLAP_MS);
    if (safe > this.#from) this.#from = safe;
    this.#on.onEvent(event);
  }
}
