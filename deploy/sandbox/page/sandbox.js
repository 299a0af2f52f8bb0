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

const { business } = await api.about();
const persons = new Persons();
const log = new EventLog(persons);
const opening = new Opening(log, persons);
const phone = new Phone(persons, business);
const desk = new Business(persons);
new Erasure(persons, () => desk.touch());

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => speak(button.dataset.language));
}
persons.onSubject((person) => {
  log.knows(person);
  person.subjects.forEach((subject) => opening.touch(subject));
});
persons.add();
speak(spoken());

new Feed(new Date(Date.now() - BEFORE_MS), {
  onState: (state) => log.stands(state),
  onDropped: (count) => log.dropped(count),
  onEvent: (event) => {
    log.add(event);
    if (event.type === DESTROYED) log.destroyed(event.subject, event.data.classes);
    phone.touch();
    desk.touch();
    opening.touch(event.subject);
  },
});
document.body.dataset.ready = "";
