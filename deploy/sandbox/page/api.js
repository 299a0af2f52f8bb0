/**
 * What the page asks for: the public API as one of its roles, and the simulated provider as the person. The page's server adds
 * the token; no token is ever here.
 */

import { knows, words } from "./language.js";

const PROBLEM = "urn:sealpost:problem:";
const LIMIT_MS = 25_000;

/** A request was refused, or nobody answered (status 0). `code` is one of the API's problem codes, "" when there is none. */
export class Refusal extends Error {
  constructor(status, body) {
    super(`HTTP ${status}`);
    this.status = status;
    this.code = String(body?.type ?? "").replace(PROBLEM, "");
    this.fields = (body?.errors ?? []).map((one) => `${one.pointer ?? one.field ?? ""} ${one.detail ?? ""}`.trim());
    this.detail = String(body?.detail ?? "");
  }

  /** What to tell the reader. */
  get words() {
    const key = `problem.${this.code}`;
    if (knows(key)) return words(key, { fields: this.fields.join("; ") || this.detail });
    return this.status === 0 ? words("problem.unavailable") : words("problem.other", { status: this.status });
  }
}

async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(LIMIT_MS),
    });
  } catch {
    throw new Refusal(0, null); // no answer at all: whatever it was, there is nothing more to tell
  }
  const { status, body: content } = answer.ok ? await answer.json() : { status: answer.status, body: null };
  if (status >= 400) throw new Refusal(status, content);
  return content;
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
  const answer = await fetch(`/as/agent/v1/events?subject=${id}&from=${encodeURIComponent(from)}&limit=1000`, {
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => null));
  return (await answer.text())
    .split("\n")
    .filter((line) => line.startsWith("data: "))
    .map((line) => JSON.parse(line.slice(6)));
}
