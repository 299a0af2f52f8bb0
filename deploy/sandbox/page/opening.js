/**
 * Reading as role agent: while the reader wants it, the blocks of the page's persons are opened through the API, which logs it.
 */

import * as api from "./api.js";
import { say } from "./language.js";

const GAP_MS = 400;
const RETRY_MS = 2_000;

export class Opening {
  /** The EventLog, once there is one. */
  log = null;
  #persons;
  #on = false;
  #wanted = new Set();
  #busy = false;
  #failed = false;

  constructor(persons) {
    this.#persons = persons;
    const button = document.querySelector("#log-open");
    button.addEventListener("click", () => {
      this.#on = !this.#on;
      button.setAttribute("aria-pressed", String(this.#on));
      if (!this.#on) this.log.closed();
      else persons.all.forEach((person) => person.subjects.forEach((subject) => this.touch(subject)));
    });
  }

  /** Something of a subject has landed. */
  touch(subject) {
    if (!this.#on || !this.#persons.of(subject)) return;
    this.#wanted.add(subject);
    if (!this.#busy) this.#run();
  }

  async #run() {
    this.#busy = true;
    try {
      while (this.#wanted.size) {
        await new Promise((resolve) => setTimeout(resolve, this.#failed ? RETRY_MS : GAP_MS));
        const subjects = [...this.#wanted];
        this.#wanted.clear();
        for (const subject of subjects) await this.#open(subject);
      }
    } finally {
      this.#busy = false;
    }
  }

  async #open(subject) {
    const from = this.log.oldestUnopened(subject);
    if (from === null || !this.#on) return;
    const problem = document.querySelector("#open-problem");
    try {
      const events = await api.opened(subject, from);
      if (this.#on) this.log.opened(subject, events);
      this.#failed = false;
      say(problem, "");
    } catch (error) {
      if (!(error instanceof api.Refusal)) throw error;
      this.#failed = true;
      this.#wanted.add(subject);
      say(problem, "log.refused");
    }
  }
}
