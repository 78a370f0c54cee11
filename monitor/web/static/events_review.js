// Reviews: verdicts and locks as commands to the monitor, shown at once, and undone.
import { command, role, url } from "./page.js";
import { t } from "./strings.js";

const MOST_SHOWN = 60;
const SAID_MS = 8_000;
const UNDO_MS = 20_000;
const MOST_IDS = 200; // In one command.

const said = document.getElementById("said");
const saidText = document.getElementById("said-text");
const undoButton = document.getElementById("undo");
const chooser = document.getElementById("chooser");
const search = document.getElementById("chooser-search");
let turn = Promise.resolve(); // Ends with the newest change that is being stored.
const history = []; // Of each review: the verdicts before, as the monitor has told.
let labels = null;
let choosing = [];
let hiding = 0;

// Say a sentence at the bottom; a screen reader reads it.
export function say(sentence, canUndo = false) {
  saidText.textContent = sentence;
  undoButton.hidden = !canUndo;
  said.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { said.hidden = true; }, canUndo ? UNDO_MS : SAID_MS);
}

// Show the verdict and the lock that a row has.
export function showReview(row) {
  const { verdict, trueName, locked } = row.dataset;
  for (const button of row.querySelectorAll(".acts [aria-pressed]")) {
    const action = button.dataset.act;
    button.setAttribute("aria-pressed", String(action === "lock" ? Boolean(locked) : action === verdict));
  }
  const text = row.querySelector(".verdict-text");
  text.textContent = verdict ? t(`events.was.${verdict}`, { label: trueName }) : "";
  text.hidden = !verdict;
  row.querySelector(".locked-text").hidden = !locked;
}

function set(row, values) {
  Object.assign(row.dataset, values);
  showReview(row);
}

// Do a piece of work once those before it are done.
function inTurn(work) {
  const mine = turn.then(work);
  turn = mine.catch(() => {});
  return mine;
}

const whatOf = (rows) =>
  rows.length === 1 ? rows[0].querySelector(".name").textContent : t("events.count", { count: rows.length });

// Change rows at once; take it back, and say so, if the monitor has not stored it.
async function change(rows, values, send) {
  const before = rows.map(({ dataset }) => Object.fromEntries(Object.keys(values).map((key) => [key, dataset[key]])));
  for (const row of rows) {
    set(row, values);
    row.setAttribute("aria-busy", "true");
  }
  try {
    await send();
    return true;
  } catch (error) {
    rows.forEach((row, index) => set(row, before[index]));
    const reason = error.message.replace(/[^.!?]$/, "$&.");
    say(t("events.not_stored", { reason: reason[0].toUpperCase() + reason.slice(1) }));
    return false;
  } finally {
    for (const row of rows) row.removeAttribute("aria-busy");
  }
}

function pieces(ids) {
  const count = Math.ceil(ids.length / MOST_IDS);
  return Array.from({ length: count }, (_, n) => ids.slice(n * MOST_IDS, (n + 1) * MOST_IDS));
}

const asVerdict = (verdict, label) => (label === null ? { verdict } : { verdict, label });

export async function review(rows, verdict, label = null, name = "") {
  if (!rows.length || role === "viewer") return;
  const names = new Map(rows.map((row) => [row.dataset.id, row.dataset.trueName]));
  const before = [];
  const values = { verdict: verdict ?? "", trueLabel: label ?? "", trueName: name };
  const store = async () => {
    for (const ids of pieces([...names.keys()])) {
      const result = await command("review", { ids, ...asVerdict(verdict, label) });
      before.push(...result.before.map((each) => ({ ...each, name: names.get(each.id) })));
    }
  };
  const remember = () => before.length && history.push(before);
  const isStored = await change(rows, values, () => inTurn(() => store().finally(remember)));
  if (isStored) say(t(`events.said.${verdict ?? "none"}`, { what: whatOf(rows), label: name }), true);
}

export async function lockOrNot(rows, locked) {
  if (!rows.length || role === "viewer") return;
  const all = rows.map((row) => row.dataset.id);
  const isStored = await change(rows, { locked: locked ? "yes" : "" }, async () => {
    for (const ids of pieces(all)) await command("lock", { ids, locked });
  });
  if (isStored) say(t(locked ? "events.said.lock" : "events.said.unlock", { what: whatOf(rows) }));
}

// Write back what the last review has replaced, once that is stored.
export const undo = () => inTurn(undoNow);

async function undoNow() {
  const before = history.pop();
  if (!before) return say(t("events.nothing_to_undo"));
  const groups = new Map();
  for (const each of before) {
    const key = JSON.stringify([each.verdict, each.label]);
    groups.set(key, [...(groups.get(key) ?? []), each]);
  }
  const shown = new Map([...document.querySelectorAll("li.event")].map((row) => [row.dataset.id, row]));
  for (const group of groups.values()) {
    const { verdict, label, name } = group[0];
    const rows = group.map((each) => shown.get(each.id)).filter(Boolean);
    const values = { verdict: verdict ?? "", trueLabel: label ?? "", trueName: label ? name : "" };
    const isStored = await change(rows, values, async () => {
      for (const ids of pieces(group.map((each) => each.id))) {
        await command("review", { ids, ...asVerdict(verdict, label) });
      }
    });
    if (!isStored) {
      history.push(before);
      return;
    }
  }
  say(t("events.undone"));
}

// --- The choice of another label ---

export async function chooseLabel(rows) {
  if (!rows.length || role === "viewer") return;
  choosing = rows;
  search.value = "";
  chooser.showModal();
  search.focus();
  labels ??= await fetch(url("/events/labels")).then((response) => response.json(), () => null);
  showLabels();
}

function matching() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = (Array.isArray(labels) ? labels : []).filter((each) => {
    const text = `${each.label} ${each.name} ${each.text}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const starts = (each) => (each.name.toLowerCase().startsWith(words[0] ?? "") ? 0 : 1);
  return found.sort((a, b) => starts(a) - starts(b)).slice(0, MOST_SHOWN);
}

function choose(each) {
  chooser.close();
  review(choosing, "label", each.label, each.name);
}

function showLabels() {
  const list = document.getElementById("chooser-list");
  const items = matching().map((each) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const name = document.createElement("strong");
    name.textContent = each.name;
    button.type = "button";
    const text = document.createElement("span");
    text.lang = "en"; // The models tell it in no other language.
    text.textContent = each.text;
    button.append(name, " ", text);
    button.addEventListener("click", () => choose(each));
    item.append(button);
    return item;
  });
  if (!items.length) {
    const item = document.createElement("li");
    item.textContent = t("events.no_label");
    items.push(item);
  }
  list.replaceChildren(...items);
}

export function prepareReviews() {
  search.addEventListener("input", showLabels);
  search.addEventListener("keydown", (press) => {
    const first = matching()[0];
    if (press.key !== "Enter" || !first) return;
    press.preventDefault();
    if (search.value) choose(first);
  });
  undoButton.addEventListener("click", undo);
}
