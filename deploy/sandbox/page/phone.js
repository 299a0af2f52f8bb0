/**
 * The left column: the person's phone.
 */

import * as api from "./api.js";
import { Following } from "./following.js";
import { onLanguage, say, spoken, words } from "./language.js";
import { PERSONS_MAX } from "./persons.js";
import { Refresher } from "./refresher.js";
import { QUICK } from "./words.js";

const find = (selector) => document.querySelector(selector);

export class Phone {
  #persons;
  #business;
  #refresher;
  #shown = { person: null, last: null };
  #following = new Following(find(".chat").parentElement);

  constructor(persons, business) {
    this.#persons = persons;
    this.#business = business;
    find("#business-name").textContent = business;
    persons.onChange(() => this.#draw());
    onLanguage(() => {
      this.#shown.person = null;
      this.#draw();
    });
    find("#write").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    find("#write-text").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    this.#refresher = new Refresher(() => this.#fetch());
  }

  /** Something happened that may have reached a phone. */
  touch() {
    this.#refresher.touch();
  }

  #submit() {
    const field = find("#write-text");
    if (!field.value.trim()) return;
    const text = field.value;
    field.value = "";
    this.#write(text);
  }

  async #write(text) {
    const person = this.#persons.chosen;
    say(find("#write-problem"), "");
    person.show(true, text, new Date());
    this.#draw();
    try {
      await api.write(person, text);
    } catch (error) {
      if (!(error instanceof api.Refusal)) throw error;
      const problem = find("#write-problem");
      const { status } = error;
      if (status === 0) say(problem, "phone.away");
      else say(problem, status < 500 ? "phone.refused" : "phone.later", { status });
    }
    this.#refresher.touch();
  }

  async #fetch() {
    for (const person of this.#persons.all) {
      try {
        await this.#fetchOf(person);
      } catch (error) {
        if (!(error instanceof api.Refusal)) throw error;
        say(find("#write-problem"), "phone.away");
        return;
      }
    }
    if (find("#write-problem").dataset.say === "phone.away") say(find("#write-problem"), "");
    this.#draw();
  }

  async #fetchOf(person) {
    let answer = await api.arrived(person, person.taken);
    if (answer.count < person.taken) {
      // The simulator was started anew and has forgotten what it had: it counts from the beginning.
      person.taken = 0;
      answer = await api.arrived(person, 0);
    }
    person.taken = answer.count;
    for (const message of answer.messages) person.show(false, message.body, new Date(message.at));
  }

  #draw() {
    const person = this.#persons.chosen;
    if (!person) return;
    this.#drawPersons();
    find("#person-number").textContent = `+${person.number}`;
    if (find(".quick").lang !== spoken()) {
      find(".quick").lang = spoken();
      find(".quick").replaceChildren(...QUICK[spoken()].map((text) => this.#button(text, () => this.#write(text))));
    }
    this.#drawChat(person);
  }

  #drawPersons() {
    const buttons = this.#persons.all.map((person) => {
      const button = this.#button(person.name, () => this.#persons.choose(person));
      button.setAttribute("aria-pressed", String(person === this.#persons.chosen));
      button.dataset.place = person.place;
      return button;
    });
    if (this.#persons.all.length < PERSONS_MAX) {
      const more = this.#button("", () => this.#persons.add());
      more.id = "add-person";
      say(more, "phone.add");
      buttons.push(more);
    }
    const bar = find(".persons");
    const signature = buttons.map((button) => button.textContent + button.getAttribute("aria-pressed")).join("|");
    if (bar.dataset.drawn === signature) return;
    const focused = [...bar.children].indexOf(document.activeElement);
    bar.dataset.drawn = signature;
    bar.replaceChildren(...buttons);
    if (focused >= 0) bar.children[Math.min(focused, bar.children.length - 1)].focus();
  }

  #drawChat(person) {
    const list = find(".chat");
    const { chat } = person;
    const known = this.#shown.person === person ? chat.indexOf(this.#shown.last) + 1 : 0;
    if (this.#shown.person === person && known === chat.length && chat.length) return;
    const bubbles = chat.slice(known).map((one) => this.#bubble(one));
    if (known) list.append(...bubbles);
    else list.replaceChildren(...(bubbles.length ? bubbles : [this.#empty()]));
    while (list.children.length > Math.max(chat.length, 1)) list.firstElementChild.remove();
    this.#shown = { person, last: chat.at(-1) ?? null };
    this.#following.settle();
  }

  #bubble(one) {
    const item = document.createElement("li");
    item.className = one.mine ? "mine" : "theirs";
    const who = document.createElement("span");
    who.className = "for-readers";
    who.textContent = one.mine ? words("phone.you") : words("phone.they", { business: this.#business });
    const text = document.createElement("p");
    text.dir = "auto";
    text.textContent = one.text;
    const time = document.createElement("time");
    time.textContent = one.at.toLocaleTimeString(spoken(), { hour: "2-digit", minute: "2-digit" });
    item.append(who, text, time);
    return item;
  }

  #empty() {
    const item = document.createElement("li");
    item.className = "empty";
    say(item, "phone.empty");
    return item;
  }

  #button(text, press) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", press);
    return button;
  }
}
