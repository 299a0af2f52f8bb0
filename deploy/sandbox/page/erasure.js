/**
 * Below: erase a person, and watch T0 to T3 and the receipts of the stores appear.
 */

import * as api from "./api.js";
import { clock, onLanguage, quietly, say, words } from "./language.js";

const LOOK_MS = 400;
const SETTLED_LOOK_MS = 5_000;

const find = (selector) => document.querySelector(selector);

export class Erasure {
  #persons;
  #shown = { person: null, keys: new Set() };
  #happened;

  /** `happened()`: an erasure was asked for. */
  constructor(persons, happened) {
    this.#persons = persons;
    this.#happened = happened;
    find("#erase").addEventListener("click", () => {
      if (this.#persons.chosen?.subject) this.#ask();
    });
    find("#sure-no").addEventListener("click", () => find("#sure").close());
    find("#sure-yes").addEventListener("click", () => {
      find("#sure").close();
      this.#erase(this.#persons.chosen);
    });
    persons.onChange(() => {
      say(find("#erase-problem"), "");
      this.#draw();
    });
    persons.onSubject(() => this.#draw());
    onLanguage(() => {
      this.#shown.person = null;
      this.#draw();
    });
  }

  #ask() {
    say(find("#sure-question"), "erasure.sure", { person: this.#persons.chosen.name });
    find("#sure").showModal();
  }

  async #erase(person) {
    const problem = find("#erase-problem");
    say(problem, "");
    try {
      const id = await api.erase(person.subject);
      person.erasure = { id, found: null };
      this.#happened();
      this.#follow(person, person.erasure);
    } catch (error) {
      if (!(error instanceof api.Refusal)) throw error;
      if (person === this.#persons.chosen) say(problem, ...error.told);
    }
  }

  async #follow(person, erasure) {
    while (person.erasure === erasure) {
      try {
        erasure.found = await api.erasure(erasure.id);
      } catch (error) {
        if (!(error instanceof api.Refusal)) throw error;
        // Not in the read model yet, or away for a moment: the next look is due.
      }
      this.#draw();
      const state = erasure.found?.state;
      if (state === "settled" || state === "refused") return;
      const wait = state === "erased" && passed(erasure.found.t2) ? SETTLED_LOOK_MS : LOOK_MS;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  #draw() {
    const person = this.#persons.chosen;
    if (!person) return;
    const button = find("#erase");
    say(button, "erasure.button", { person: person.name });
    // Not `disabled`: whoever has just pressed it keeps the focus.
    button.setAttribute("aria-disabled", String(!person.subject));
    if (this.#shown.person === person && this.#shown.erasure === person.erasure) this.#drawSteps(person);
    else {
      this.#shown = { person, erasure: person.erasure, keys: new Set() };
      quietly(find(".steps").parentElement, () => {
        find(".steps").replaceChildren();
        this.#drawSteps(person);
      });
    }
  }

  #drawSteps(person) {
    const wanted = steps(person.erasure?.found);
    if (!wanted.some(([name]) => name === "incomplete")) find("[data-step=incomplete]")?.remove();
    for (const step of wanted) {
      const key = JSON.stringify(step);
      if (this.#shown.keys.has(key)) continue;
      this.#shown.keys.add(key);
      find(".steps").append(stepElement(step));
    }
  }
}

function passed(time) {
  return Boolean(time) && Date.parse(time) <= Date.now();
}

/** What has been reached, in order: [name, time or "", words' key, values]. */
function steps(found) {
  if (!found) return [];
  const reached = [];
  const when = (name, at) => at && reached.push([name, at, `erasure.${name}`, {}]);
  when("t0", found.t0);
  when("t1", found.t1);
  for (const receipt of found.receipts) {
    reached.push([`receipt ${receipt.store}`, receipt.purged_at, "erasure.receipt", { store: receipt.store }]);
  }
  if (passed(found.t2)) when("t2", found.t2);
  if (found.certificate) reached.push(["certificate", "", "erasure.certificate", { key: found.certificate.key ?? "" }]);
  if (found.t3 && found.certificate) when("t3", found.t3);
  if (found.state === "incomplete") {
    reached.push(["incomplete", "", "erasure.incomplete", { missing: (found.missing ?? []).join(", ") }]);
  }
  if (found.state === "refused") reached.push(["refused", "", "erasure.refused", {}]);
  return reached;
}

function stepElement([name, at, key, values]) {
  const element = document.createElement("li");
  element.dataset.step = name;
  if (at) {
    const time = document.createElement("time");
    time.dateTime = at;
    time.textContent = clock(at);
    element.append(time, " ");
  }
  element.append(words(key, values));
  return element;
}
