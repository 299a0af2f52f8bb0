/**
 * The page: brings persons, phone, log, business and erasure together. What happens reaches them by the feed.
 */

import * as api from "./api.js";
import { Business } from "./business.js";
import { Erasure } from "./erasure.js";
import { Feed } from "./feed.js";
import { speak, spoken } from "./language.js";
import { EventLog } from "./log.js";
import { Opening } from "./opening.js";
import { Persons } from "./persons.js";
import { Phone } from "./phone.js";

/** What happened shortly before the page was opened is shown too: the tour, for instance. */
const BEFORE_MS = 10 * 60_000;
const DESTROYED = "key.destroyed.v1";
const RETRY_MS = 1_000;

const persons = new Persons();
const opening = new Opening(persons);
const log = new EventLog(persons, (subject) => opening.touch(subject));
opening.log = log;

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => speak(button.dataset.language));
}
speak(spoken());
api.takeKey();
begin(await business());

/** The name of the business, as soon as the page's server says it. */
async function business() {
  for (;;) {
    try {
      return (await api.about()).business;
    } catch (error) {
      if (!(error instanceof api.Refusal)) throw error;
      log.stands(error.status === 401 ? "locked" : "away");
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

function begin(name) {
  const phone = new Phone(persons, name);
  const desk = new Business(persons);
  new Erasure(persons, () => desk.touch());
  persons.onSubject((person) => {
    log.knows(person);
    person.subjects.forEach((subject) => opening.touch(subject));
  });
  persons.add();
  new Feed(new Date(Date.now() - BEFORE_MS), {
    onState: (state) => log.stands(state),
    onEvent: (event) => {
      log.add(event);
      if (event.type === DESTROYED) log.destroyed(event.subject, event.data.classes);
      phone.touch();
      desk.touch();
    },
  });
  document.body.dataset.ready = "";
}
