/**
 * The sign-up widget: renders a form where its script tag stands, and then the ways into the chat.
 *
 *   <script src="https://HOST/optin/assets/widget.js" data-form="TENANT/FORM" async></script>
 *
 * `data-language` (de, en) and `data-theme` (light, dark) are optional. It keeps nothing, sets no cookie, and asks nobody but the
 * host it came from. A strict policy of the page lets it pass: its style is a constructed sheet, and no text becomes markup.
 * Without an approved notice, or whatever else is missing, visitors see nothing and the console says why.
 */
(() => {
  "use strict";

  const LIMIT_MS = 15_000;
  const SVG = "http://www.w3.org/2000/svg";
  /** What can be said when the server cannot be asked for its words; they are the server's own. */
  const WORDS = {
    de: {
      away: "Das geht gerade nicht. Bitte versuchen Sie es in einer Minute noch einmal.",
      busy: "Zu viele Versuche. Bitte warten Sie ein paar Minuten.",
      again: "Noch einmal versuchen",
    },
    en: {
      away: "That does not work right now. Please try again in a minute.",
      busy: "Too many attempts. Please wait some minutes.",
      again: "Try again",
    },
  };
  const LIGHT = `:host { color-scheme: light; --ink: #1b1f24; --paper: #fff; --quiet: #56606b; --line: #7d8791; --act: #0b5cad;
    --on-act: #fff; --problem: #a3191f; }`;
  const DARK = `:host { color-scheme: dark; --ink: #e8ebee; --paper: #15191d; --quiet: #a9b3bd; --line: #7b8690; --act: #7cb8f5;
    --on-act: #10151a; --problem: #ff9a9a; }`;
  const THEMES = { light: LIGHT, dark: DARK };
  const STYLE = `
    :host { all: initial; display: block; max-width: 38rem; margin: 1rem 0; }
    :host([hidden]) { display: none; }
    * { box-sizing: border-box; }
    .card { padding: 1.25rem; border: 1px solid var(--line); border-radius: .75rem; background: var(--paper); color: var(--ink);
      font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; text-align: start; }
    h2 { margin: 0 0 .5rem; font-size: 1.35rem; line-height: 1.25; }
    p { margin: 0 0 1rem; }
    .card > :last-child, form > :last-child { margin-bottom: 0; }
    a { color: var(--act); }
    label { display: flex; gap: .75rem; align-items: flex-start; min-height: 1.5rem; margin: 0 0 1rem; cursor: pointer; }
    input { flex: none; width: 1.5rem; height: 1.5rem; margin: 0; accent-color: var(--act); cursor: pointer; }
    .button { display: inline-block; min-height: 2.75rem; padding: .55rem 1.2rem; border: 2px solid var(--act);
      border-radius: .5rem; background: var(--act); color: var(--on-act); font: inherit; font-weight: 600;
      text-decoration: none; cursor: pointer; transition: filter .15s; }
    .button:hover { filter: brightness(1.1); }
    .button[aria-disabled=true] { cursor: progress; opacity: .7; }
    :focus-visible { outline: 3px solid var(--ink); outline-offset: 3px; border-radius: .25rem; }
    h2:focus { outline: none; }
    h2:focus-visible { outline: 3px solid var(--ink); }
    .quiet { color: var(--quiet); font-size: .9rem; }
    .problem { color: var(--problem); font-weight: 600; }
    .problem:empty, .status:empty { margin: 0; }
    .ways { display: flex; flex-wrap: wrap; gap: .75rem; }
    .ways p { flex: 1 1 12rem; margin: 0; text-align: center; }
    .ways .button { width: 100%; }
    .codes { display: flex; flex-wrap: wrap; gap: 1rem; margin: 0 0 1rem; }
    figure { flex: 0 1 11rem; min-width: 8rem; margin: 0; text-align: center; }
    svg { display: block; width: 100%; background: #fff; border-radius: .25rem; forced-color-adjust: none; }
    path { fill: #000; }
    hr { height: 0; margin: 1.25rem 0 1rem; border: 0; border-top: 1px solid var(--line); }
    @media (prefers-reduced-motion: reduce) { * { transition: none !important; } }`;

  /** An element with attributes and, as its content, texts and elements. */
  function make(name, attributes = {}, ...content) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...content);
    return made;
  }

  /** What went wrong: `word` is one of the server's words, `why` is for whoever runs the form. */
  class Refused extends Error {
    constructor(word, why = "") {
      super(word);
      this.word = word;
      this.why = why;
    }
  }

  async function ask(url, body) {
    let answer, told;
    try {
      answer = await fetch(url, {
        method: body ? "POST" : "GET",
        body: body && JSON.stringify(body),
        headers: body && { "Content-Type": "application/json" },
        credentials: "omit",
        referrerPolicy: "no-referrer",
        cache: "no-store",
        redirect: "error",
        signal: AbortSignal.timeout(LIMIT_MS),
      });
      told = await answer.json();
    } catch {
      throw new Refused("away"); // nobody answered, or not with what can be read: there is nothing more to tell
    }
    if (answer.ok) return told;
    if (answer.status === 429) throw new Refused("busy");
    if (answer.status >= 500) throw new Refused("away");
    throw new Refused(told.word ?? "unavailable", String(told.why ?? ""));
  }

  function qrCode({ path, modules, label }) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${modules} ${modules}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    svg.setAttribute("shape-rendering", "crispEdges");
    svg.append(document.createElementNS(SVG, "path"));
    svg.firstChild.setAttribute("d", path);
    return svg;
  }

  class Widget {
    constructor(script) {
      this.form = script.dataset.form ?? "";
      this.place = new URL(`../forms/${this.form}`, script.src).href;
      const spoken = script.closest("[lang]")?.lang;
      this.languages = [script.dataset.language, spoken, ...navigator.languages].filter(Boolean);
      this.host = document.createElement("sealpost-signup");
      this.root = this.host.attachShadow({ mode: "open" });
      this.root.adoptedStyleSheets = [this.sheet(script.dataset.theme)];
      script.after(this.host);
    }

    sheet(theme) {
      const sheet = new CSSStyleSheet();
      const colours = THEMES[theme] ?? `${LIGHT} @media (prefers-color-scheme: dark) { ${DARK} }`;
      sheet.replaceSync(STYLE + colours);
      return sheet;
    }

    /** Ask what the form offers and show it; `problem` is what to say above it. `focus`: somebody waits for it. */
    async load(problem = "", focus = false) {
      const asked = new URLSearchParams({ language: this.languages.join(",").slice(0, 200) });
      try {
        this.offer = await ask(`${this.place}/offer?${asked}`);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        if (error.why) this.tell(error.why);
        else this.showAway(error.word, focus);
        return;
      }
      this.showForm(problem && this.offer.words[problem], focus);
    }

    /** The form's owner reads it in the console; visitors see nothing. */
    tell(why) {
      this.root.replaceChildren();
      console.error(`Sealpost form ${this.form}: ${why}`);
    }

    /** Put what is seen in place of what was. Its heading is focused when somebody has just done something that led to it. */
    show(language, focus, ...content) {
      const card = make("div", { class: "card", lang: language }, ...content);
      this.root.replaceChildren(card);
      const heading = card.querySelector("h2");
      if (heading) {
        for (const [name, value] of Object.entries({ role: "group", "aria-labelledby": "title" })) {
          card.setAttribute(name, value);
        }
      }
      if (focus) (heading ?? card.querySelector("button")).focus();
    }

    /** Nobody answers: said in words, with a way to try again. */
    showAway(word, focus) {
      const known = this.languages.map((one) => one.slice(0, 2).toLowerCase()).find((one) => one in WORDS) ?? "en";
      const words = WORDS[known];
      const again = make("button", { type: "button", class: "button" }, words.again);
      again.addEventListener("click", () => this.once(again, () => this.load("", true)));
      const problem = make("p", { class: "problem", role: "alert" });
      this.show(known, focus, problem, again);
      problem.textContent = words[word];
    }

    showForm(problem, focus) {
      const { words, boxes, notice, language } = this.offer;
      const purposes = boxes.map((box, place) => this.box(`purpose-${place}`, box.label, box.purpose));
      const accepted = this.box("accepted", words.notice_accept, "yes");
      const link = make(
        "a",
        { href: notice.url, target: "_blank", rel: "noopener noreferrer" },
        words.notice,
        " ",
        make("span", { class: "quiet" }, words.notice_opens),
      );
      const button = make("button", { type: "submit", class: "button" }, words.next);
      this.problem = make("p", { class: "problem", role: "alert", id: "problem" });
      this.status = make("p", { class: "quiet status", role: "status" });
      const form = make("form", { novalidate: "" }, ...purposes, make("hr"), make("p", {}, link), accepted);
      form.append(this.problem, button, this.status);
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.once(button, () => this.send(purposes, accepted));
      });
      this.show(language, focus, this.heading(words.title), make("p", {}, words.intro), form);
      this.problem.textContent = problem;
    }

    heading(text) {
      return make("h2", { id: "title", tabindex: "-1" }, text);
    }

    box(id, label, value) {
      return make("label", {}, make("input", { type: "checkbox", id, value }), make("span", {}, label));
    }

    /** Do it once, however often the button is pressed meanwhile. */
    async once(button, act) {
      if (button.getAttribute("aria-disabled") === "true") return;
      button.setAttribute("aria-disabled", "true");
      try {
        await act();
      } finally {
        button.removeAttribute("aria-disabled");
      }
    }

    async send(purposes, accepted) {
      const inputs = purposes.map((label) => label.firstChild);
      const ticked = inputs.filter((input) => input.checked).map((input) => input.value);
      const last = accepted.firstChild;
      const wrong = ticked.length ? (last.checked ? [] : [last]) : inputs;
      for (const input of [...inputs, last]) this.mark(input, wrong.includes(input));
      if (wrong.length) return this.complain("choose", wrong[0]);
      this.problem.textContent = "";
      this.status.textContent = this.offer.words.wait;
      const { language, notice, text } = this.offer;
      const body = { language, purposes: ticked, accepted: true, notice: notice.reference, text };
      try {
        this.showWays(await ask(`${this.place}/signups`, body));
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        this.status.textContent = "";
        if (error.why) console.error(`Sealpost form ${this.form}: ${error.why}`);
        if (error.word === "changed") await this.load("changed", true);
        else this.complain(error.word);
      }
    }

    mark(input, wrong) {
      for (const [name, value] of Object.entries({ "aria-invalid": "true", "aria-describedby": "problem" })) {
        if (wrong) input.setAttribute(name, value);
        else input.removeAttribute(name);
      }
    }

    complain(word, field) {
      this.problem.textContent = this.offer.words[word] ?? this.offer.words.away;
      field?.focus();
    }

    /** The person writes first: the buttons, and codes for whoever has the chat on another device. */
    showWays({ title, write, scan, until, links }) {
      const buttons = links.map(({ url, open }) =>
        make("p", {}, make("a", { class: "button", href: url, target: "_blank", rel: "noopener noreferrer" }, open)),
      );
      const codes = links.map(({ channel, qr }) =>
        make("figure", {}, qrCode(qr), make("figcaption", { class: "quiet" }, channel)),
      );
      this.show(
        this.offer.language,
        true,
        this.heading(title),
        make("p", {}, write),
        make("div", { class: "ways" }, ...buttons),
        make("hr"),
        make("p", { class: "quiet" }, scan),
        make("div", { class: "codes" }, ...codes),
        make("p", { class: "quiet" }, until),
      );
    }
  }

  const script = document.currentScript;
  if (script.closest("head")) {
    console.error("Sealpost: the script tag must stand where the form shall be seen, not in the head of the page.");
  } else {
    new Widget(script).load();
  }
})();
