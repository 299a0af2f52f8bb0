/**
 * The middle column: the events as they land. What is kept is bounded, and what is not shown is counted.
 */

import { Following } from "./following.js";
import { onLanguage, say, show, words } from "./language.js";
import { eventLine, markDestroyed, nameLine, showOpened } from "./line.js";

const FLUSH_MS = 100;
/** Lines in the list; older ones leave it. */
const LINES_MAX = 300;
/** Lines made at one time: more would hold up typing. */
const FLUSH_MAX = 60;
/** What may wait for the next lines: less than a list, so that a line about what was passed over stays in it. */
const BACKLOG_MAX = LINES_MAX - FLUSH_MAX;
/** Events that wait while the list is held; older ones are passed over. */
const WAITING_MAX = 2_000;

const find = (selector) => document.querySelector(selector);

export class EventLog {
  #persons;
  #list = find(".events");
  #following = new Following(this.#list.parentElement);
  #waiting = [];
  #destroyed = new Map();
  /** Passed over and not yet told in the list; passed over in all. */
  #untold = 0;
  #skipped = 0;
  #seen = 0;
  #lines = 0;
  #paused = false;
  #mine = false;
  #state = "connecting";

  #onSealed;

  /** `onSealed(subject)`: an event of theirs with sealed blocks is in the list now. */
  constructor(persons, onSealed) {
    this.#persons = persons;
    this.#onSealed = onSealed;
    find("#log-pause").addEventListener("click", (event) => {
      this.#paused = toggled(event.currentTarget);
      this.#tell();
    });
    find("#log-mine").addEventListener("click", (event) => {
      this.#mine = toggled(event.currentTarget);
      this.#filter();
    });
    find("#log-fields").addEventListener("click", (event) => {
      this.#list.classList.toggle("whole", toggled(event.currentTarget));
    });
    onLanguage(() => this.#tell());
    setInterval(() => this.#flush(), FLUSH_MS);
  }

  /** An event has landed. */
  add(event) {
    this.#seen += 1;
    this.#waiting.push(event);
    if (this.#waiting.length > 2 * WAITING_MAX) this.#passOver(WAITING_MAX);
  }

  /** How the feed stands: a state of Feed. */
  stands(state) {
    this.#state = state;
    this.#tell();
  }

  /** The keys of these classes are destroyed: the bars stay, the words go. */
  destroyed(subject, classes) {
    this.#destroyed.set(subject, classes);
    if (this.#destroyed.size > WAITING_MAX) this.#destroyed.delete(this.#destroyed.keys().next().value);
    for (const line of this.#linesOf(subject)) markDestroyed(line, classes);
    this.#following.settle();
  }

  /** When the oldest shown event of a subject was whose blocks nobody has asked for yet; null when there is none. */
  oldestUnopened(subject) {
    const line = this.#linesOf(subject).find((one) => "sealed" in one.dataset && !("asked" in one.dataset));
    return line ? line.dataset.at : null;
  }

  /** What the role agent may read of a subject's events, as the feed gave it. */
  opened(subject, events) {
    const found = new Map(events.map((event) => [event.id, event.opened]));
    for (const line of this.#linesOf(subject)) {
      if (found.has(line.dataset.event)) showOpened(line, found.get(line.dataset.event));
    }
    this.#following.settle();
  }

  /** Nobody reads any more: all words go from the lines. */
  closed() {
    for (const line of this.#list.querySelectorAll("[data-asked]")) showOpened(line, null);
  }

  /** A person's subject is known now: its lines are theirs. */
  knows(person) {
    for (const subject of person.subjects) this.#linesOf(subject).forEach((line) => nameLine(line, person));
    this.#filter();
  }

  #linesOf(subject) {
    return [...this.#list.querySelectorAll(`[data-subject="${CSS.escape(subject)}"]`)];
  }

  #passOver(left) {
    this.#untold += this.#waiting.length - left;
    this.#skipped += this.#waiting.length - left;
    this.#waiting = this.#waiting.slice(-left);
  }

  #flush() {
    if (this.#paused) {
      if (this.#waiting.length > WAITING_MAX) this.#passOver(WAITING_MAX);
      this.#tell();
      return;
    }
    if (!this.#waiting.length) return;
    if (this.#waiting.length > BACKLOG_MAX) this.#passOver(BACKLOG_MAX);
    if (this.#untold) {
      this.#mark("log.skipped", this.#untold);
      this.#untold = 0;
    }
    const events = this.#waiting.splice(0, FLUSH_MAX);
    this.#list.append(...events.map((event) => this.#line(event)));
    this.#lines += events.length;
    events.filter((event) => event.sealed.length).forEach((event) => this.#onSealed(event.subject));
    while (this.#list.childElementCount > LINES_MAX) {
      const oldest = this.#list.firstElementChild;
      if (oldest.dataset.event !== undefined) this.#lines -= 1;
      oldest.remove();
    }
    this.#following.settle();
    this.#tell();
  }

  #line(event) {
    const person = this.#persons.of(event.subject);
    const line = eventLine(event, person);
    if (this.#destroyed.has(event.subject)) markDestroyed(line, this.#destroyed.get(event.subject));
    line.hidden = this.#mine && !person;
    return line;
  }

  #mark(key, count) {
    const last = this.#list.lastElementChild;
    if (last?.dataset.say === key) {
      const together = Number(last.dataset.count) + count;
      last.dataset.count = String(together);
      say(last, key, { count: together });
      return;
    }
    const line = document.createElement("li");
    line.className = "mark";
    line.dataset.count = String(count);
    say(line, key, { count });
    this.#list.append(line);
  }

  #filter() {
    for (const line of this.#list.children) {
      line.hidden = this.#mine && line.dataset.event !== undefined && !this.#persons.of(line.dataset.subject);
    }
  }

  #tell() {
    const state = find("#log-state");
    const key = this.#paused && this.#state === "live" ? "log.paused" : `log.${this.#state}`;
    state.dataset.state = this.#state;
    show(state, words(key));
    const counts = find("#log-counts");
    const waiting = this.#waiting.length;
    const left = this.#seen - this.#lines - waiting - this.#skipped;
    const found = { seen: this.#seen, shown: this.#lines, waiting, left, skipped: this.#skipped };
    Object.assign(counts.dataset, found);
    show(counts, words("log.counts", found));
  }
}

function toggled(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(on));
  return on;
}
