/**
 * What the page asks for: the public API as one of its roles, and the simulated provider as the person. The page's server adds
 * the token; no token is ever here.
 */

import { knows } from "./language.js";

const PROBLEM = "urn:sealpost:problem:";
const LIMIT_MS = 25_000;
const KEY = "key";

/** A request was refused, or nobody answered (status 0). `code` is one of the API's problem codes, "" when there is none. */
export class Refusal extends Error {
  constructor(status, body) {
    super(`HTTP ${status}`);
    this.status = status;
    this.code = String(body?.type ?? (status === 0 ? "unavailable" : "")).replace(PROBLEM, "");
    this.fields = (body?.errors ?? []).map((one) => one.pointer).join(", ");
  }

  /** What to tell the reader: a key of the page's words, and what is filled in. */
  get told() {
    const key = `problem.${this.code}`;
    return knows(key) ? [key, { fields: this.fields }] : ["problem.other", { status: this.status }];
  }
}

/**
 * Take the key out of the page's address: what stands after # reaches no server, and it is kept for this window and this port
 * alone. A cookie would be sent to every other server of this machine.
 */
export function takeKey() {
  const key = location.hash.slice(1);
  if (!key) return;
  sessionStorage.setItem(KEY, key);
  history.replaceState(null, "", "/");
}

/** The headers of a request. */
export const headers = () => ({
  Authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ""}`,
  "Content-Type": "application/json",
});

/** An answer and its text, whole; Refusal with status 0 when it did not come, or not all of it. */
async function whole(method, path, body) {
  try {
    const answer = await fetch(path, {
      method,
      headers: headers(),
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    return [answer.status, await answer.text()];
  } catch {
    throw new Refusal(0, null); // whatever it was, there is nothing more to tell
  }
}

async function ask(method, path, body) {
  const [status, text] = await whole(method, path, body);
  if (status !== 200) throw new Refusal(status, null);
  const told = JSON.parse(text);
  if (told.status >= 400) throw new Refusal(told.status, told.body);
  return told.body;
}

/** Name of the business. */
export const about = () => ask("GET", "/about");

/** The person writes on their phone. */
export const write = (person, text) =>
  ask("POST", "/as/person/control/inbound", { from: person.number, name: person.name, text });

/** `messages` that arrived on the phone after the first `after`, and the `count` of all. */
export const arrived = (person, after) =>
  ask("GET", `/as/person/control/messages?to=${person.number}&after=${after}`);

/** The business asks for a message to whoever has the number. */
export const send = (person, purpose, text, key) =>
  ask("POST", "/as/producer/v1/messages", {
    to: { channel: "whatsapp", address: person.number },
    purpose,
    content: { type: "text", text },
    idempotency_key: key,
  });

/** The subject that the number reaches, or null. */
export async function lookup(person) {
  try {
    const body = { channel: "whatsapp", address: person.number };
    return (await ask("POST", "/as/agent/v1/subjects/lookup", body)).subject;
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return null;
    throw error;
  }
}

/** State, profile, subscriptions of a subject. */
export const subject = (id) => ask("GET", `/as/agent/v1/subjects/${id}`);

/** The newest 500 messages of a subject in the order of the log. */
export async function messages(id) {
  let items = [];
  let cursor = "";
  for (;;) {
    const page = await ask("GET", `/as/agent/v1/subjects/${id}/messages?limit=500${cursor && `&cursor=${cursor}`}`);
    items = items.concat(page.items).slice(-500);
    if (!page.next) return { state: page.state, items };
    cursor = encodeURIComponent(page.next);
  }
}

/** What became of a message, in sentences (English). */
export const explanation = (message) => ask("GET", `/as/agent/v1/messages/${message}/explanation`);

/** Erase a subject; the erasure's id. */
export const erase = async (id) => (await ask("POST", `/as/officer/v1/subjects/${id}/erasure`)).erasure_id;

/** How far an erasure is. */
export const erasure = (id) => ask("GET", `/as/officer/v1/erasures/${id}`);

/** Where the feed of all events is; from a time on. */
export const feedUrl = (from) => `/as/admin/v1/events?from=${encodeURIComponent(from)}`;

/** The events of a subject from a time on, with what role agent may read of them. The API logs that, with its ticket. */
export async function opened(id, from) {
  const path = `/as/agent/v1/events?subject=${id}&from=${encodeURIComponent(from)}&limit=1000`;
  const [status, text] = await whole("GET", path);
  if (status !== 200) throw new Refusal(status, null);
  return text
    .split("\n")
    .filter((line) => line.startsWith("data: "))
    .map((line) => JSON.parse(line.slice("data: ".length)));
}
