/**
 * The language of the page, and the ways to put words on it. Text is only ever set as text.
 */

import { WORDS } from "./words.js";

const QUIET_MS = 500;

let language = (navigator.language || "en").toLowerCase().startsWith("de") ? "de" : "en";
const listeners = new Set();

/** "de" or "en". */
export function spoken() {
  return language;
}

/** Speak another language from now on, everywhere on the page. */
export function speak(wanted) {
  language = wanted;
  translate(document);
  listeners.forEach((listener) => listener());
}

/** Call `listener` now, and whenever the language changes. */
export function onLanguage(listener) {
  listeners.add(listener);
  listener();
}

/** The words of a key, `{name}` filled in; numbers in the language's form. An unknown key is a fault of the page. */
export function words(key, values = {}) {
  const one = values.count === 1 && knows(`${key}.one`);
  const template = WORDS[language][one ? `${key}.one` : key];
  if (template === undefined) throw new Error(`no words for ${key}`);
  return template.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? value.toLocaleString(language) : String(value);
  });
}

/** Whether there are words of this key. */
export function knows(key) {
  return Object.hasOwn(WORDS[language], key);
}

/** The words of a code that a newer installation may have and this page does not: then the code itself. */
export function wordsOfCode(group, code) {
  return knows(`${group}.${code}`) ? words(`${group}.${code}`) : code;
}

/** Set text where it differs: what stays as it is, a screen reader shall not read again. */
export function show(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Draw a live region anew as a whole: what it held already is no news to a screen reader. */
export function quietly(region, draw) {
  region.setAttribute("aria-live", "off");
  draw();
  setTimeout(() => region.removeAttribute("aria-live"), QUIET_MS);
}

/** Put words into an element so that they follow the language; "" as key takes them away. */
export function say(element, key, values = {}) {
  if (key === "") delete element.dataset.say;
  else element.dataset.say = key;
  element.dataset.sayValues = JSON.stringify(values);
  show(element, key === "" ? "" : words(key, values));
}

/** Time of day with milliseconds, from an RFC 3339 text or a Date; the day too when it is another one. */
export function clock(at) {
  const time = at instanceof Date ? at : new Date(at);
  const day = time.toDateString() === new Date().toDateString() ? {} : { day: "2-digit", month: "2-digit", year: "numeric" };
  return time.toLocaleString(language, {
    ...day, hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false,
  });
}

function translate(root) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-say]")) {
    element.textContent = words(element.dataset.say, JSON.parse(element.dataset.sayValues || "{}"));
  }
  for (const element of root.querySelectorAll("[data-say-label]")) {
    element.setAttribute("aria-label", words(element.dataset.sayLabel));
  }
  for (const button of root.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
}
