/**
 * The persons whom the reader plays. They exist in this window's memory only: a reload begins with a new one.
 */

const NAMES = ["Ada Beispiel", "Ben Muster", "Cem Probe", "Dana Versuch", "Eva Test"];
const CHAT_MAX = 500;

export const PERSONS_MAX = NAMES.length;

/** One person: name, number, the subject they are now (null: none), all they ever were, their chat, their erasure. */
class Person {
  subject = null;
  subjects = new Set();
  chat = [];
  /** How many messages were taken from the phone's record, and the id of the last of them. */
  taken = 0;
  lastTaken = null;
  /** Has written, and nobody knows yet as whom. */
  expected = false;
  erasure = null;

  constructor(place) {
    this.place = place;
    this.name = NAMES[place];
    const digits = crypto.getRandomValues(new Uint32Array(1))[0].toString().padStart(10, "0").slice(-9);
    this.number = `4915${digits}`;
  }

  /** Something on the phone: `mine` for what the person wrote. */
  show(mine, text, at) {
    this.chat.push({ mine, text, at, lost: false });
    this.chat.splice(0, this.chat.length - CHAT_MAX);
    return this.chat.at(-1);
  }

}

/** All of them, and which one is chosen. */
export class Persons {
  all = [];
  chosen = null;
  #listeners = [];
  #subjectListeners = [];

  add() {
    this.all.push(new Person(this.all.length));
    this.choose(this.all.at(-1));
  }

  choose(person) {
    this.chosen = person;
    this.#listeners.forEach((listener) => listener());
  }

  /** Call `listener` whenever another one is chosen. */
  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** The subject that a person's number reaches now, or null. */
  learn(person, subject) {
    if (person.subject === subject) return;
    person.subject = subject;
    if (subject) {
      person.subjects.add(subject);
      person.expected = false;
      person.erasure = null; // whoever is back is somebody new
    }
    this.#subjectListeners.forEach((listener) => listener(person));
  }

  /** Call `listener(person)` whenever a number reaches another subject, or none any more. */
  onSubject(listener) {
    this.#subjectListeners.push(listener);
  }

  /** Whose subject it is, now or formerly; undefined for anybody else's. */
  of(subject) {
    return this.all.find((person) => person.subjects.has(subject));
  }
}
