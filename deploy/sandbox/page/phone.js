/**
 * The left column: the person's phone.
 */

import * as api from "./api.js";
import { Following } from "./following.js";
import { onLanguage, quietly, say, spoken, words } from "./language.js";
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
    onLanguage(() => this.#drawAnew());
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
    const problem = find("#write-problem");
    say(problem, "");
    const said = person.show(true, text, new Date());
    person.expected = !person.subject;
    this.#draw();
    try {
      await api.write(person, text);
    } catch (error) {
      if (!(error instanceof api.Refusal)) throw error;
      const { status, code } = error;
      // What reached the simulator and not the receiver, the simulator repeats, as WhatsApp does; all else is lost.
      said.lost = status < 500 || code === "unavailable";
      if (code === "unavailable") say(problem, "phone.away");
      else say(problem, said.lost ? "phone.refused" : "phone.later", { status });
      if (said.lost) this.#drawAnew();
    }
    this.#refresher.touch();
  }

  async #fetch() {
    const problem = find("#write-problem");
    for (const person of this.#persons.all) {
      try {
        await this.#fetchOf(person);
      } catch (error) {
        if (!(error instanceof api.Refusal)) throw error;
        say(problem, "phone.away");
        return;
      }
    }
    if (problem.dataset.say === "phone.away") say(problem, "");
    this.#draw();
  }

  async #fetchOf(person) {
    let { messages } = await api.arrived(person, Math.max(0, person.taken - 1));
    if (person.taken && messages[0]?.id !== person.lastTaken) {
      // The simulator was started anew and has forgotten what it had: it counts from the beginning.
      person.taken = 0;
      ({ messages } = await api.arrived(person, 0));
    }
    const fresh = person.taken ? messages.slice(1) : messages;
    for (const message of fresh) person.show(false, message.body, new Date(message.at));
    person.taken += fresh.length;
    person.lastTaken = messages.at(-1)?.id ?? null;
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

  #drawAnew() {
    this.#shown.person = null;
    this.#draw();
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
    else if (this.#shown.person === person) list.replaceChildren(...bubbles);
    else quietly(list.parentElement, () => list.replaceChildren(...(bubbles.length ? bubbles : [this.#empty()])));
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
    if (one.lost) {
      item.classList.add("lost");
      time.textContent += ` · ${words("phone.lost")}`;
    }
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
