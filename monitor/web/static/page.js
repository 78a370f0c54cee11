// What the scripts of all pages share: addresses, commands, the live stream.
import { t } from "./strings.js";

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;

export const role = meta("role");

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

// Follow the live stream: `handle` gets each line as an object.
// choice: { sources: [...], types: [...] }; returns a function that ends it.
export function follow(choice, handle) {
  const query = new URLSearchParams();
  for (const key of ["sources", "types"]) {
    for (const value of choice[key] ?? []) query.append(key, value);
  }
  let broken = false;
  const stream = new EventSource(url(`/live?${query}`));
  stream.onmessage = (message) => {
    if (broken) notice("");
    broken = false;
    handle(JSON.parse(message.data));
  };
  stream.onerror = () => {
    broken = true;
    notice(t("common.disconnected"));
  };
  addEventListener("pagehide", () => stream.close());
  return () => stream.close();
}

// The colour of the label with this rank in a view: 0 for the most frequent one.
export function rankColour(rank) {
  const name = `--rank-${Math.min(rank, 9)}`;
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
