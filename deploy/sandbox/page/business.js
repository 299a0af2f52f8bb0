/**
 * The right column: the business. It writes, sends newsletters, and is told what became of each message and why.
 */

import * as api from "./api.js";
import { Following } from "./following.js";
import { clock, onLanguage, quietly, say, spoken, words, wordsOfCode } from "./language.js";
import { Refresher } from "./refresher.js";

const SHOWN_MAX = 100;
const ENDED_WITHOUT = ["rejected", "failed", "expired", "unknown"];

const find = (selector) => document.querySelector(selector);

export class Business {
  #persons;
  #refresher;
  #drawn = new Map();
  #found = null;
  #verdicts = new Map();
  #sending = false;
  #attempt = null;
  #following = new Following(find(".messages").parentElement);

  constructor(persons) {
    this.#persons = persons;
    find("#send").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    persons.onChange(() => {
      this.#found = null;
      say(find("#send-problem"), "");
      this.#drawAnew();
      this.touch();
    });
    this.#refresher = new Refresher(() => this.#fetch());
    onLanguage(() => this.#drawAnew());
  }

  /** Something happened. */
  touch() {
    this.#refresher?.touch();
  }

  async #send() {
    const field = find("#send-text");
    const problem = find("#send-problem");
    const text = field.value;
    if (this.#sending) return;
    if (!text.trim()) {
      say(problem, "problem.empty");
      field.focus();
      return;
    }
    const person = this.#persons.chosen;
    const purpose = new FormData(find("#send")).get("purpose");
    say(problem, "");
    field.value = "";
    this.#sending = true;
    try {
      await api.send(person, purpose, text, this.#keyOf([person.number, purpose, text].join("\n")));
      this.#attempt = null;
    } catch (error) {
      if (!(error instanceof api.Refusal)) throw error;
      if (person === this.#persons.chosen) say(problem, ...error.told);
      if (!field.value) field.value = text;
    } finally {
      this.#sending = false;
    }
    this.touch();
  }

  /** The same key for the same message until it is taken: asked for twice, it is sent once. */
  #keyOf(message) {
    if (this.#attempt?.message !== message) this.#attempt = { message, key: crypto.randomUUID() };
    return this.#attempt.key;
  }

  async #fetch() {
    const person = this.#persons.chosen;
    if (!person) return;
    try {
      for (const other of this.#persons.all) {
        if (other !== person && other.expected) this.#persons.learn(other, await api.lookup(other));
      }
      const subject = await api.lookup(person);
      this.#persons.learn(person, subject);
      const shown = subject ?? [...person.subjects].at(-1);
      const found = shown ? { person, ...(await this.#read(shown)) } : { person, standing: null, items: [] };
      if (person !== this.#persons.chosen) return;
      this.#found = found;
      this.#draw();
      await this.#explain(found.items);
    } catch (error) {
      if (!(error instanceof api.Refusal)) throw error;
      // Away for a moment: what is shown stays, and the next look is due soon.
    }
  }

  async #read(subject) {
    const [standing, messages] = [await api.subject(subject), await api.messages(subject)];
    return { standing, items: messages.items.slice(-SHOWN_MAX), gone: messages.state === "erased" };
  }

  async #explain(items) {
    for (const item of items) {
      const known = `${item.message_id} ${item.status}`;
      if (!ENDED_WITHOUT.includes(item.status) || this.#verdicts.has(known)) continue;
      this.#verdicts.set(known, (await api.explanation(item.message_id)).verdict);
      if (this.#verdicts.size > SHOWN_MAX) this.#verdicts.delete(this.#verdicts.keys().next().value);
      this.#draw();
    }
  }

  #drawAnew() {
    const list = find(".messages");
    quietly(list.parentElement, () => {
      this.#drawn.clear();
      list.replaceChildren();
      this.#draw();
    });
  }

  #draw() {
    const person = this.#persons.chosen;
    if (!person) return;
    find("#standing-person").textContent = person.name;
    const standing = this.#found?.standing ?? null;
    find("#standing-subject").textContent =
      standing?.state === "erased"
        ? `${standing.subject.slice(0, 8)}… ${words("business.erased")}`
        : standing
          ? `${standing.subject.slice(0, 8)}…`
          : words("business.unknown");
    find("#standing-newsletter").textContent = words(`newsletter.${newsletter(standing)}`);
    find("#standing-newsletter").dataset.state = newsletter(standing);
    this.#drawMessages();
  }

  #drawMessages() {
    const list = find(".messages");
    const items = this.#found?.items ?? [];
    const wanted = items.map((item) => this.#message(item));
    const note = this.#found?.gone ? "business.gone" : "business.none";
    if (!wanted.length) wanted.push(this.#note(note));
    const keep = new Set(wanted);
    for (const [id, { element }] of this.#drawn) {
      if (!keep.has(element)) this.#drawn.delete(id);
    }
    for (const element of [...list.children]) if (!keep.has(element)) element.remove();
    wanted.forEach((element, place) => {
      if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
    });
    this.#following.settle();
  }

  #note(key) {
    return this.#kept(key, key, () => {
      const element = document.createElement("li");
      element.className = "empty";
      element.textContent = words(key);
      return element;
    });
  }

  #message(item) {
    const verdict = this.#verdicts.get(`${item.message_id} ${item.status}`) ?? "";
    return this.#kept(item.message_id, JSON.stringify([item, verdict]), () => messageElement(item, verdict));
  }

  /** The element of before while nothing about it has changed: a screen reader reads only what is new. */
  #kept(id, signature, make) {
    const before = this.#drawn.get(id);
    if (before?.signature === signature) return before.element;
    const element = make();
    this.#drawn.set(id, { signature, element });
    return element;
  }
}

function newsletter(standing) {
  const lists = (standing?.subscriptions ?? []).filter((one) => one.purpose === "newsletter");
  if (lists.some((one) => one.state === "active")) return "active";
  return lists.length ? "ended" : "none";
}

function messageElement(item, verdict) {
  const element = document.createElement("li");
  element.dataset.message = item.message_id;
  element.dataset.status = item.status ?? "";
  element.className = item.direction === "in" ? "theirs" : "mine";
  const text = document.createElement("p");
  text.className = "text";
  text.dir = "auto";
  text.textContent = item.text ?? item.kind ?? words("business.unreadable");
  const status = document.createElement("p");
  status.className = "status";
  const at = Object.values(item.times).sort().at(-1);
  const kind = item.direction === "in" ? words("business.from") : wordsOfCode("purpose", item.purpose ?? "");
  const parts = [kind, item.direction === "in" ? "" : wordsOfCode("status", item.status ?? ""), at ? clock(at) : ""];
  status.textContent = parts.filter(Boolean).join(" · ");
  element.append(text, status);
  if (ENDED_WITHOUT.includes(item.status)) element.append(...reason(item, verdict));
  return element;
}

/** The reason in the reader's language with its code, and the API's own sentence, which is English. */
function reason(item, verdict) {
  const why = document.createElement("p");
  why.className = "reason";
  if (item.reason) {
    const code = document.createElement("code");
    code.textContent = item.reason;
    why.append(`${wordsOfCode("reason", item.reason)} `, code);
  }
  const sentence = document.createElement("p");
  sentence.className = "verdict";
  sentence.lang = "en";
  sentence.textContent = verdict;
  return spoken() === "en" || !item.reason ? [why, sentence] : [why];
}
