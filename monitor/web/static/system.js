// The page System: its state is fetched again after each status of the monitor.
import { localiseTimes } from "./frame.js";
import { follow, url } from "./page.js";

const EVERY_MS = 5000;

let shown = "";
let fetched = 0;

async function refresh() {
  const response = await fetch(url("/system/status"));
  if (!response.ok || response.redirected) return;
  const text = await response.text();
  if (text === shown) return;
  shown = text;
  const place = document.getElementById("status");
  // The focus stays on a table that a person scrolls.
  const focused = place.contains(document.activeElement)
    ? document.activeElement.getAttribute("aria-labelledby") : null;
  const scrolled = [...place.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
  // The server has escaped it, and scripts in it would not run.
  const fresh = new DOMParser().parseFromString(text, "text/html").body;
  localiseTimes(fresh);
  place.replaceChildren(...fresh.childNodes);
  place.querySelectorAll(".scroll").forEach((each, index) => {
    each.scrollLeft = scrolled[index] ?? 0;
  });
  if (focused) place.querySelector(`[aria-labelledby="${CSS.escape(focused)}"].scroll`)?.focus();
}

follow({ types: ["status", "health", "changed"] }, (line) => {
  if (line.type === "status" && Date.now() - fetched < EVERY_MS) return;
  fetched = Date.now();
  refresh().catch(() => {}); // the stream says that the connection is lost
});
