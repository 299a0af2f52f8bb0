/**
 * One line of the log: time, topic, type, subject, sealed blocks as bars, clear fields.
 */

import { clock, say } from "./language.js";

/** What a block says at most; the API has the rest. */
const WORDS_MAX = 500;
const BAR_MIN_PX = 26;
const BAR_MAX_PX = 120;
const BYTES_PER_PX = 5;

/** The line of an event as GET /v1/events gives it; `person` where it is one of the page's. */
export function eventLine(event, person) {
  const line = document.createElement("li");
  Object.assign(line.dataset, { event: event.id, subject: event.subject, type: event.type, at: event.at });
  line.dataset.offset = `${event.topic}/${event.partition}:${event.offset}`;
  if (event.sealed.length && event.subject) line.dataset.sealed = "";
  const time = part("time", clock(event.at));
  time.dateTime = event.at;
  const who = part("who", event.subject.replace(/^([0-9a-f]{8})[0-9a-f]{24}$/, "$1"), "bdi");
  who.title = event.subject;
  const clear = Object.entries(event.data)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");
  line.append(
    time,
    part("topic", event.topic.replace(/^sealpost\./, "")),
    part("type", event.type),
    who,
    ...event.sealed.map(bar),
    clearFields(clear),
  );
  if (person) nameLine(line, person);
  return line;
}

/** It is an event of one of the page's persons. */
export function nameLine(line, person) {
  line.dataset.place = person.place;
  line.querySelector(".who").textContent = person.name;
}

/** Put what may be read beside the bars: by key class the fields, "erased" or "unreadable"; null takes the words away. */
export function showOpened(line, opened) {
  if (opened === null) delete line.dataset.asked;
  else line.dataset.asked = "";
  for (const one of line.querySelectorAll(".bar:not([data-gone])")) {
    const words = one.querySelector(".words");
    const found = opened?.[one.dataset.class];
    one.classList.toggle("open", found !== undefined && typeof found === "object");
    if (typeof found === "string") say(words, found === "erased" ? "log.erased" : "log.unreadable");
    else {
      delete words.dataset.say;
      words.textContent = found === undefined ? "" : fields(found);
    }
  }
}

/** The keys of these classes are destroyed: whatever is still under way, no word comes back to the line. What an erasure keeps as
 * proof of a consent nobody reads here either. */
export function markDestroyed(line, classes) {
  for (const one of line.querySelectorAll(".bar")) {
    one.dataset.gone = "";
    one.classList.remove("open");
    one.classList.toggle("destroyed", classes.includes(one.dataset.class));
    say(one.querySelector(".words"), classes.includes(one.dataset.class) ? "log.destroyed" : "log.retained");
  }
}

function bar(block) {
  const found = document.createElement("span");
  found.className = "bar";
  found.dataset.class = block.class;
  const width = Math.min(BAR_MAX_PX, BAR_MIN_PX + block.bytes / BYTES_PER_PX);
  const fill = part("fill", "");
  fill.setAttribute("aria-hidden", "true");
  fill.style.setProperty("inline-size", `${width}px`);
  const words = part("words", "", "bdi");
  found.append(fill, part("size", `${block.bytes} B ${block.class}`), words);
  return found;
}

function clearFields(text) {
  const element = part("clear", shortened(text));
  element.title = element.textContent;
  return element;
}

function fields(found) {
  const text = Object.entries(found)
    .map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" · ");
  return shortened(text);
}

function shortened(text) {
  return text.length > WORDS_MAX ? `${text.slice(0, WORDS_MAX)} …` : text;
}

function part(name, text, tag = name === "time" ? "time" : "span") {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}
