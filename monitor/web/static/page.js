// What the scripts of all pages share: addresses, commands, the live stream.
import { localiseTimes, timeText } from "./frame.js";
import { meta, t } from "./strings.js";

export const role = meta("role");

// The key of the sentence for a monitor that does not run.
export const absence = meta("absence");

// The address of a path of this server; a proxy may serve it below a prefix.
export const url = (path) => meta("root") + path;

// Show a sentence above the page; an empty one hides it.
export function notice(sentence) {
  const place = document.getElementById("notice");
  place.textContent = sentence;
  place.hidden = !sentence;
}

// Have the monitor carry out a command; returns its result, throws its sentence.
export async function command(name, values = {}) {
  const response = await fetch(url(`/api/command/${name}`), {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Token": meta("token") },
    body: JSON.stringify(values),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok || !answer.ok) {
    throw new Error(answer.sentence ?? t("common.failed"));
  }
  return answer.result;
}

const parts = new WeakMap(); // The text of each part that was fetched again.

// Fetch a part of the page again.  Its focus, its open details and what is scrolled in
// it stay, by their data-key; `dress` gets what is new before it is shown.
export async function refreshPart(place, path, dress = () => {}) {
  const response = await fetch(url(path));
  if (!response.ok || response.redirected) return;
  const text = await response.text();
  if (text === parts.get(place)) return;
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  if (focused?.matches("select")) return; // A person who is choosing is not disturbed.
  parts.set(place, text);
  const key = focused?.closest("[data-key]")?.dataset.key;
  const open = [...place.querySelectorAll("details[open]")].map((each) => each.dataset.key);
  const scrolled = [...place.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
  // The server has escaped it, and scripts in it would not run.
  const fresh = new DOMParser().parseFromString(text, "text/html").body;
  for (const each of fresh.querySelectorAll("details")) each.open = open.includes(each.dataset.key);
  localiseTimes(fresh);
  dress(fresh);
  place.replaceChildren(...fresh.childNodes);
  place.querySelectorAll(".scroll").forEach((each, index) => {
    each.scrollLeft = scrolled[index] ?? 0;
  });
  const again = key && place.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (again) (again.querySelector("summary") ?? again).focus();
}

const HIDDEN_MS = 60_000; // A page that nobody sees needs no stream for longer.

// Follow the live stream: `handle` gets each line as an object.
// choice: { sources: [...], types: [...] }; returns a function that ends it.
// `hello` comes first and after each interruption, `offline` while there is no monitor,
// `disconnected` (of this page's own) while there is no server.
export function follow(choice, handle) {
  const query = new URLSearchParams();
  for (const key of ["sources", "types"]) {
    for (const value of choice[key] ?? []) query.append(key, value);
  }
  let stream = null;
  let hiding = 0;
  let since = null; // when the connection was lost

  function open() {
    if (stream) return;
    stream = new EventSource(url(`/live?${query}`));
    stream.onopen = () => {
      since = null;
      notice("");
    };
    stream.onmessage = (message) => {
      const line = JSON.parse(message.data);
      if (line.type === "offline") notice(t(absence));
      if (line.type === "hello") notice("");
      if (line.type === "dropped") notice(t("common.dropped"));
      handle(line);
    };
    stream.onerror = () => {
      since ??= new Date();
      notice(t("common.disconnected", { time: timeText(since, "clock") }));
      handle({ type: "disconnected" });
      // A browser gives up after an answer that is no stream, as of a server that stops.
      if (stream?.readyState === EventSource.CLOSED) {
        close();
        leaveWithoutSession();
        setTimeout(open, 3000);
      }
    };
  }

  // Once the session has ended, this page leads to the form that asks for the password.
  async function leaveWithoutSession() {
    const answer = await fetch(location.href, { redirect: "manual" }).catch(() => null);
    if (answer?.type === "opaqueredirect") location.reload();
  }

  function close() {
    stream?.close();
    stream = null;
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(close, HIDDEN_MS);
    else open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
  return close;
}

// True if a threshold that was proposed for verdicts would miss most of the right events.
export const separatesNothing = (effect) =>
  Boolean(effect?.is_used) && effect.confirmed_scored > 0 && 2 * effect.confirmed_missed >= effect.confirmed_scored;

// A share in per cent, with a space in every language.
export const percentText = (share, digits = 0) =>
  `${(100 * share).toLocaleString(document.documentElement.lang, { maximumFractionDigits: digits })}\u00a0%`;

// A colour of the style sheet.
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
