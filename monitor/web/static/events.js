// The page Events: the list, what is new in it, the current and the chosen events, keys.
import { follow, separatesNothing, url } from "./page.js";
import { labelText, number, t } from "./strings.js";
import { localiseTimes, viewerZone, zonesDiffer } from "./frame.js";
import { togglePlay, preparePlayer } from "./events_player.js";
import { prepareReviews, review, showReview, lockOrNot, chooseLabel, undo } from "./events_review.js";

const TRIES_MS = [200, 1000, 3000]; // An event is reported before it is stored.
const LATER_MS = [8_000, 30_000]; // The last scores and the clip are stored after it.

const list = document.getElementById("events");
const older = document.getElementById("older");
const fresh = document.getElementById("new");
const help = document.getElementById("help");
const acts = document.getElementById("acts");
const query = new URLSearchParams(location.search);
const isNewest = !query.has("before");
let current = null;
let waiting = []; // New rows that are not shown yet.
let lastPicked = null;
let hasHole = false;

const rows = () => [...list.children];
const find = (id) => rows().find((row) => row.dataset.id === id) ?? null;
const box = (row) => row.querySelector(".pick input"); // Viewers have none.
export const picked = () => rows().filter((row) => box(row)?.checked);

// --- Rows ---

function prepare(row) {
  row.querySelector(".acts").append(acts.content.cloneNode(true));
  showReview(row);
  preparePlayer(row);
  return row;
}

async function fetchRows(parameters) {
  const wanted = new URLSearchParams(query);
  wanted.delete("before");
  for (const [key, value] of parameters) wanted.append(key, value);
  const response = await fetch(url(`/events/rows?${wanted}`));
  if (!response.ok) throw new Error(String(response.status));
  // A document of its own runs no script, and the server has escaped all text.
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const found = page.getElementById("events");
  localiseTimes(found);
  showCounts(found.dataset);
  return { rows: [...found.children].map((row) => prepare(document.adoptNode(row))), older: found.dataset.older };
}

// Of the verdicts of the label that is chosen.
function showCounts({ right, wrong, other }) {
  const place = document.querySelector(".proposal");
  if (!place || right === undefined) return;
  const values = { label: labelText(place.dataset.label), right, wrong, other };
  place.querySelector("summary").textContent = t("events.verdicts", values);
}

const keyOf = (row) => row.dataset.key.split("-").map(Number);

function isNewer(one, other) {
  const [a, b] = [keyOf(one), keyOf(other)];
  return a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]);
}

function place(row) {
  const next = rows().find((other) => isNewer(row, other));
  list.insertBefore(row, next ?? null);
  document.getElementById("none").hidden = true;
}

// A row that is played or looked into stays; what was said about it is taken over.
function replace(old, row) {
  const details = old.querySelector("details");
  const isSoundNew = !old.querySelector("audio") && row.querySelector("audio");
  if (details.open && !isSoundNew) {
    for (const key of ["verdict", "trueLabel", "trueName", "locked"]) old.dataset[key] = row.dataset[key];
    old.querySelector(".figures").replaceWith(row.querySelector(".figures"));
    old.querySelector(".curve").replaceWith(row.querySelector(".curve"));
    return showReview(old);
  }
  const hasFocus = old.contains(document.activeElement);
  const focused = document.activeElement.dataset.act;
  if (box(old)?.checked) {
    box(row).checked = true;
    row.classList.add("picked");
  }
  row.querySelector("details").open = details.open;
  old.replaceWith(row);
  if (current === old) mark(row);
  if (hasFocus) (row.querySelector(`[data-act="${focused}"]`) ?? row).focus({ preventScroll: true });
}

// --- What is new ---

const isAtTop = () =>
  scrollY < 8 && !current && !picked().length && !list.contains(document.activeElement) && !list.querySelector("details[open]");

function take(found) {
  for (const row of found) {
    const old = find(row.dataset.id);
    const at = waiting.findIndex((other) => other.dataset.id === row.dataset.id);
    if (old) replace(old, row);
    else if (at >= 0) waiting[at] = row;
    else if (isNewest && (!rows().length || isNewer(row, rows().at(-1)))) waiting.push(row);
  }
  if (isAtTop() && !hasHole) showNew();
  fresh.hidden = !waiting.length;
  fresh.textContent = t("events.new", { count: waiting.length });
}

function showNew() {
  waiting.forEach(place);
  waiting = [];
  fresh.hidden = true;
}

fresh.addEventListener("click", () => {
  if (hasHole) return location.reload();
  showNew();
  scrollTo({ top: 0 });
  if (rows().length) select(rows()[0]);
});

// Ask for events that were heard or changed; several lines are one request.
const asked = new Map();
let asking = 0;

function ask(id, tries = 0) {
  asked.set(id, Math.max(asked.get(id) ?? 0, tries));
  clearTimeout(asking);
  asking = setTimeout(askNow, TRIES_MS[tries]);
}

async function askNow() {
  const tries = new Map([...asked].slice(0, 100));
  for (const id of tries.keys()) asked.delete(id);
  const found = await fetchRows([...tries.keys()].map((id) => ["id", id])).catch(() => ({ rows: [] }));
  take(found.rows);
  const ids = new Set(found.rows.map((row) => row.dataset.id));
  for (const [id, count] of tries) {
    if (!ids.has(id) && count + 1 < TRIES_MS.length) ask(id, count + 1);
  }
  if (asked.size) asking = setTimeout(askNow, TRIES_MS[0]);
}

// What has come while there was no stream; if that is more than a page, the list would
// have a hole, so it begins anew.
async function catchUp() {
  const newest = waiting.length ? waiting.reduce((a, b) => (isNewer(a, b) ? a : b)) : rows()[0];
  const found = await fetchRows(newest ? [["after", newest.dataset.key]] : []).catch(() => null);
  if (!found) return;
  hasHole = Boolean(newest && found.older);
  take(found.rows);
}

follow({ types: ["onset", "event", "changed"] }, (line) => {
  if (line.type === "hello" && isNewest) catchUp();
  if (line.type === "onset" || line.type === "event") ask(line.id);
  if (line.type === "event") for (const later of LATER_MS) setTimeout(() => ask(line.id), later);
  if (line.type === "changed" && line.what === "review") {
    for (const id of [line.ids ?? line.id ?? []].flat()) if (find(id)) ask(id);
  }
});

older.addEventListener("click", async (click) => {
  click.preventDefault();
  older.setAttribute("aria-busy", "true");
  const before = new URL(older.href).searchParams.get("before");
  const found = await fetchRows([["before", before]]).catch(() => null);
  older.removeAttribute("aria-busy");
  if (!found) return location.assign(older.href);
  list.append(...found.rows.filter((row) => !find(row.dataset.id)));
  const address = new URL(older.href);
  address.searchParams.set("before", found.older);
  older.href = address.href;
  older.hidden = !found.older;
});

// --- The current event, and those that are chosen ---

function mark(row) {
  current?.removeAttribute("aria-current");
  current = row;
  row?.setAttribute("aria-current", "true");
}

export function select(row) {
  mark(row);
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function move(step) {
  const all = rows();
  const at = all.indexOf(current);
  const next = all[at < 0 ? 0 : Math.min(Math.max(at + step, 0), all.length - 1)];
  if (next) select(next);
}

export function showPicked() {
  const count = picked().length;
  const all = document.getElementById("pick-all");
  all.checked = count > 0 && count === rows().length;
  all.indeterminate = count > 0 && count < rows().length;
  document.getElementById("bulk").hidden = !count;
  document.getElementById("bulk-count").textContent = t("events.selected", { count });
  for (const row of rows()) row.classList.toggle("picked", box(row).checked);
}

document.getElementById("pick-all")?.addEventListener("change", (change) => {
  for (const row of rows()) box(row).checked = change.target.checked;
  showPicked();
});

list.addEventListener("click", (click) => {
  const row = click.target.closest("li.event");
  if (!row) return;
  if (click.target === box(row)) {
    if (click.shiftKey && lastPicked?.isConnected) {
      const all = rows();
      const [from, to] = [all.indexOf(lastPicked), all.indexOf(row)].sort((a, b) => a - b);
      for (const each of all.slice(from, to + 1)) box(each).checked = click.target.checked;
    }
    lastPicked = row;
    return showPicked();
  }
  mark(row);
  act(click.target.closest("[data-act]")?.dataset.act, [row]);
});

list.addEventListener("focusin", (focus) => mark(focus.target.closest("li.event")));

document.getElementById("bulk").addEventListener("click", (click) => {
  const what = click.target.closest("[data-bulk]")?.dataset.bulk;
  if (what === "clear") {
    for (const row of rows()) box(row).checked = false;
    showPicked();
  } else act(what, picked());
});

function act(what, chosen) {
  if (!chosen.length) return;
  if (what === "play") togglePlay(chosen[0]);
  // The same button again takes the verdict back.
  if (what === "right" || what === "wrong") {
    const isTaken = chosen.length === 1 && chosen[0].dataset.verdict === what;
    review(chosen, isTaken ? null : what);
  }
  if (what === "label") chooseLabel(chosen);
  if (what === "lock") lockOrNot(chosen, chosen.length > 1 || !chosen[0].dataset.locked);
  if (what === "unlock") lockOrNot(chosen, false);
}

// --- Keys ---

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  " ": () => current && togglePlay(current),
  y: () => review(targets(), "right"),
  n: () => review(targets(), "wrong"),
  l: () => chooseLabel(targets()),
  u: () => undo(),
  x: () => {
    if (!current || !box(current)) return;
    box(current).checked = !box(current).checked;
    lastPicked = current;
    showPicked();
  },
  "?": () => help.showModal(),
};

const targets = () => (picked().length ? picked() : current ? [current] : []);

document.addEventListener("keydown", (press) => {
  if (press.ctrlKey || press.altKey || press.metaKey || document.querySelector("dialog[open]")) return;
  const element = press.target;
  if (element.closest("textarea, select, audio, [contenteditable]")) return;
  const isBox = element.matches("input[type=checkbox]");
  if (element.matches("input") && !isBox) return;
  if (press.key === " " && (isBox || element.closest("button, a, summary") || !current)) return;
  const handle = KEYS[press.key];
  if (!handle) return;
  press.preventDefault();
  handle();
});

for (const button of document.querySelectorAll("[data-open]")) {
  button.addEventListener("click", () => document.getElementById(button.dataset.open).showModal());
}

// --- What the verdicts of a label do to its threshold ---

const proposal = document.querySelector(".proposal");
proposal?.addEventListener("toggle", async () => {
  if (!proposal.open) return;
  const place = proposal.querySelector(".proposal-text");
  place.textContent = t("events.proposal.asking");
  const label = encodeURIComponent(proposal.dataset.label);
  const answer = await fetch(url(`/thresholds/proposal?label=${label}`))
    .then((response) => response.json())
    .catch(() => ({}));
  place.textContent = answer.sentence ?? effectOf(answer.verdicts?.find((each) => each.label === proposal.dataset.label));
});

// A sentence about what `calibrate --store` finds for the verdicts of a label.
function effectOf(found) {
  if (!found) return t("events.proposal.missing");
  if (!found.is_used) return t("events.proposal.few");
  if (separatesNothing(found)) {
    return t("thresholds.proposal.useless", { missed: found.confirmed_missed, confirmed: found.confirmed_scored });
  }
  return t("events.proposal.effect", {
    before: number(found.onset_before, 2),
    after: number(found.onset, 2),
    missed: found.confirmed_missed,
    missed_before: found.confirmed_missed_before,
    reported: found.rejected_reported,
    reported_before: found.rejected_reported_before,
  });
}

// Empty fields stay out of the address.  Its times are the viewer's, as in the list: the
// server takes those without a zone for the device's.
const form = document.querySelector(".filters form");
const times = zonesDiffer() ? [...form.querySelectorAll("[type=datetime-local]")] : [];
for (const field of times) {
  field.labels[0].textContent = t(`events.by.${field.name}`, { zone: viewerZone });
  if (!field.dataset.utc) continue;
  const moment = new Date(field.dataset.utc);
  field.value = new Date(moment - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
form.addEventListener("submit", () => {
  for (const field of form.elements) field.disabled = Boolean(field.name) && !field.value;
});
form.addEventListener("formdata", ({ formData }) => {
  for (const { name, value } of times) if (value) formData.set(name, new Date(value).toISOString());
});
addEventListener("pageshow", () => {
  for (const field of form.elements) field.disabled = false;
});

prepareReviews();
rows().forEach(prepare);
