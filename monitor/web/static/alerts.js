// The page Alerts: its lists are fetched again when something changes, and its buttons
// are commands to the monitor.
import { command, follow, notice, refreshPart } from "./page.js";
import { t } from "./strings.js";

const EVERY_MS = 4000;

const place = document.getElementById("lists");
const results = new Map(); // of tests, by endpoint
const busy = new Set(); // keys of buttons whose command runs

let fetched = 0;

function dress(root) {
  for (const each of root.querySelectorAll("[data-result]")) {
    const result = results.get(each.dataset.result);
    if (!result) continue;
    each.textContent = result.text;
    each.className = result.kind;
  }
  for (const each of root.querySelectorAll("button[data-command]")) {
    each.disabled = busy.has(each.dataset.key);
  }
}

function refresh() {
  fetched = Date.now();
  return refreshPart(place, `/alerts/lists${location.search}`, dress);
}

const COMMANDS = {
  mute: (data) => ({ rule: data.rule, seconds: Number(data.seconds) }),
  alert_retry: (data) => ({ id: data.id }),
  alert_drop: (data) => ({ id: data.id }),
  alert_test: (data) => ({ endpoint: data.endpoint }),
};

async function carryOut(button) {
  const { command: name, key, endpoint } = button.dataset;
  if (busy.has(key)) return;
  busy.add(key);
  const show = (kind, text) => {
    if (name === "alert_test") results.set(endpoint, { kind, text });
    dress(place);
  };
  show("muted", t("alerts.testing"));
  try {
    const result = await command(name, COMMANDS[name](button.dataset));
    notice("");
    if (name === "alert_test") {
      const arrived = result.outcome === "arrived";
      const text = t(arrived ? "alerts.arrived" : "alerts.test_failed", { detail: result.detail });
      show(arrived ? "good" : "bad", text);
    }
  } catch (error) {
    show("bad", error.message);
    notice(error.message);
  } finally {
    busy.delete(key);
    dress(place);
  }
  await refresh();
  place.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

place.addEventListener("click", (click) => {
  const button = click.target.closest("button[data-command]");
  if (button) carryOut(button).catch(() => {}); // the stream says that the connection is lost
});

follow({ types: ["status", "changed"] }, (line) => {
  if (line.type === "status" && Date.now() - fetched < EVERY_MS) return;
  refresh().catch(() => {});
});
