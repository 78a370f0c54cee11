// The page Thresholds: the curve of a label, and the replay of another sensitivity.
import { command, percentText, separatesNothing, url } from "./page.js";
import { timeText } from "./frame.js";
import { labelText, t } from "./strings.js";
import { drawCharts } from "./thresholds_charts.js";

const REST_MS = 250; // A slider that has not moved for so long rests.
const LEAST_HOURS = 1; // Of scores, for rates of the place.
const LEAST_FALL = 0.01; // Of the share detected, to be worth a sentence.
const SHOWN = 20; // Events of a list; the others are behind "more".

const get = (id) => document.getElementById(id);
const language = document.documentElement.lang;
const tool = get("tool");
const slider = get("slider");
const choice = get("label");
const mayChange = tool.dataset.mayChange === "1";
const viewer = Array.from(crypto.getRandomValues(new Uint32Array(2))).join("-");

let facts = null; // The document of `replay --curves`.
let isCounting = true; // The events of this place are not counted yet.
let asked = null; // The replay that is under way.
let resting = 0;

const number = (value, digits = 2) =>
  new Intl.NumberFormat(language, { maximumSignificantDigits: digits }).format(value);
const share = (value) => (value === null ? "–" : percentText(value));
// All rates of this page are those of a day: few an hour are hard to imagine.
const rate = (perHour) => t("thresholds.per_day", { number: number(perHour * 24) });

function duration(hours) {
  const [value, unit] = hours < LEAST_HOURS ? [Math.max(1, Math.floor(hours * 60)), "minute"] : [hours, "hour"];
  return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "long", maximumFractionDigits: 0 }).format(value);
}

function element(name, text = "", properties = {}) {
  const found = document.createElement(name);
  if (text !== "") found.textContent = text;
  return Object.assign(found, properties);
}

// The document of a request, or an object with its sentence.
async function ask(path, signal) {
  const response = await fetch(url(path), { signal });
  const answer = await response.json().catch(() => ({}));
  return response.ok ? answer : { sentence: answer.sentence ?? t("common.failed") };
}

const label = () => choice.value;
const value = () => Number(slider.value);
const own = () => (label() ? facts.labels[label()] : null);
const present = () => (label() ? own().sensitivity : facts.sensitivity);

// The figures of a curve at any sensitivity, between its points.
function figuresAt(curve, sensitivity) {
  const place = sensitivity * (curve.length - 1);
  const left = curve[Math.floor(place)];
  const right = curve[Math.ceil(place)];
  const part = place - Math.floor(place);
  const between = (key) =>
    left[key] === null || right[key] === null
      ? (left[key] ?? right[key])
      : left[key] + part * (right[key] - left[key]);
  return Object.fromEntries(Object.keys(left).map((key) => [key, between(key)]));
}

function showChoices() {
  const names = Object.keys(facts.labels);
  choice.replaceChildren(
    new Option(t("thresholds.all"), ""),
    ...names.map((name) => new Option(labelText(name), name)),
  );
  const wanted = tool.dataset.label;
  choice.value = names.includes(wanted) ? wanted : "";
}

function showLabel() {
  get("proposal").hidden = !label();
  get("proposal").open = false;
  get("table").open = !label(); // All sounds have no charts.
  const hasCurve = !label() || own().curve.length > 0;
  slider.disabled = !hasCurve;
  slider.value = present() ?? 0.5;
  show();
}

function show() {
  const found = own();
  const hasCurve = !label() || found.curve.length > 0;
  get("value").textContent = hasCurve ? number(value()) : "–";
  slider.setAttribute("aria-valuetext", number(value()));
  get("expected").textContent = expectation(found, hasCurve);
  get("curve-title").textContent = label()
    ? t("thresholds.curve_of", { label: labelText(label()) })
    : t("thresholds.curve");
  drawCharts(get("charts"), label() ? found : null, present(), value(), { number, share, rate, reason: basis(found) });
  get("curve-note").textContent = note(found);
  showFigures(found);
  showFragment();
}

function expectation(found, hasCurve) {
  if (!hasCurve) return t("thresholds.no_curve");
  if (!label()) return t("thresholds.all_note");
  const at = figuresAt(found.curve, value());
  const here = at.events_per_hour === null ? "" : ` ${t("thresholds.here", { rate: rate(at.events_per_hour) })}`;
  return (
    t("thresholds.expected", {
      onset: number(at.onset, 3),
      near: share(at.detected_near),
      far: share(at.detected_far),
      latency: at.latency_seconds === null ? "–" : number(at.latency_seconds),
      alarms: rate(at.false_alarms_per_hour),
      most: rate(at.false_alarms_per_hour_at_most),
    }) + here
  );
}

function note(found) {
  if (!label()) return "";
  const lines = [];
  if (found.has_onset) lines.push(t("thresholds.has_onset", { onset: number(found.onset, 3) }));
  const best = mostDetected(found.curve);
  if (best !== null) lines.push(t("thresholds.falls", { value: number(best) }));
  return lines.join(" ");
}

// What the counts of this place rest on.
function basis(found) {
  if (isCounting) return t("thresholds.counting");
  if (!found?.hours) return t("thresholds.no_scores");
  return t(found.hours < LEAST_HOURS ? "thresholds.few_scores" : "thresholds.hours", { time: duration(found.hours) });
}

// The sensitivity above which fewer sounds are detected; null: there is none.
function mostDetected(curve) {
  const near = curve.map((at) => at.detected_near ?? 0);
  const most = Math.max(...near);
  return most - (near.at(-1) ?? 0) >= LEAST_FALL ? curve[near.lastIndexOf(most)].sensitivity : null;
}

const COLUMNS = ["onset", "near", "far", "latency", "alarms", "most", "events"];

function figureCells(at) {
  return [
    number(at.onset, 3),
    share(at.detected_near),
    share(at.detected_far),
    at.latency_seconds === null ? "–" : `${number(at.latency_seconds)} s`,
    number(at.false_alarms_per_hour * 24),
    number(at.false_alarms_per_hour_at_most * 24),
    at.events_per_hour === null ? "–" : number(at.events_per_hour * 24),
  ];
}

// Of one label its curve; of all, each at the sensitivity that is chosen.
function showFigures(found) {
  const head = element("tr");
  const first = label() ? "sensitivity" : "label";
  for (const key of [first, ...COLUMNS]) {
    head.append(element("th", t(`thresholds.columns.${key}`), { scope: "col", className: key === "label" ? "" : "number" }));
  }
  const rows = label()
    ? found.curve.map((at) => [number(at.sensitivity), at, Math.abs(at.sensitivity - value()) < 0.025])
    : Object.entries(facts.labels)
        .filter(([, each]) => each.curve.length)
        .map(([name, each]) => [labelText(name), figuresAt(each.curve, each.follows ? value() : (each.sensitivity ?? value())), false]);
  const body = element("tbody");
  for (const [name, at, isNow] of rows) {
    const row = element("tr");
    if (isNow) row.setAttribute("aria-current", "true");
    row.append(element("th", name, { scope: "row" }));
    for (const cell of figureCells(at)) row.append(element("td", cell, { className: "number" }));
    body.append(row);
  }
  const top = element("thead");
  top.append(head);
  get("figures").replaceChildren(top, body);
}

const PLAIN = /^[A-Za-z][A-Za-z0-9_-]*$/;
const WORDS = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

// A piece of config.yaml with one setting of a label, or of all.
function fragment(name, setting) {
  const key = PLAIN.test(name) && !WORDS.includes(name.toLowerCase()) ? name : JSON.stringify(name);
  return name ? `detection:\n  labels:\n    ${key}:\n      ${setting}\n` : `detection:\n  ${setting}\n`;
}

function showFragment() {
  const name = label();
  get("fragment").textContent = fragment(name, `sensitivity: ${value()}`);
  get("fragment-note").textContent = name && own().has_onset ? t("thresholds.remove_onset") : "";
  if (!mayChange) return;
  get("apply").disabled = slider.disabled || value() === present();
  get("restore").disabled = !(name ? own().is_overridden : facts.is_overridden);
}

function changeItem(change, event) {
  const start = new Date(event.start);
  const time = timeText(event.start);
  const text = t("thresholds.event", { time, label: labelText(event.label), source: event.source, score: number(event.peak_score) });
  const item = element("li");
  if (change === "goes") {
    const query = new URLSearchParams({
      label: event.label,
      since: new Date(start - 1000).toISOString(),
      until: new Date(start.valueOf() + 1000).toISOString(),
    });
    item.append(element("a", text, { href: url(`/events?${query}`) }));
  } else {
    item.textContent = text;
  }
  if (event.verdict) {
    const side = event.verdict === "right" ? "right" : "wrong";
    item.append(" ", element("span", t(`thresholds.verdict.${side}`), { className: `tag ${side === "right" ? "bad" : "good"}` }));
  }
  return item;
}

function changeList(change, count, events) {
  const part = element("section");
  part.append(element("h3", t(`thresholds.changes.${change}`, { count, number: number(count, 6) })));
  const list = element("ul", "", { className: "changes" });
  list.append(...events.slice(0, SHOWN).map((event) => changeItem(change, event)));
  part.append(list);
  if (events.length > SHOWN) {
    const more = element("details");
    more.append(element("summary", t("thresholds.more", { number: number(count - SHOWN, 6) })));
    const rest = element("ul", "", { className: "changes" });
    rest.append(...events.slice(SHOWN).map((event) => changeItem(change, event)));
    more.append(rest);
    part.append(more);
  }
  return part;
}

async function replay() {
  asked?.abort();
  if (slider.disabled) {
    get("replay-state").textContent = t("thresholds.no_curve");
    get("verdicts").textContent = "";
    get("changes").replaceChildren();
    return;
  }
  const mine = new AbortController();
  asked = mine;
  get("replay-state").textContent = t("thresholds.replaying");
  const query = new URLSearchParams({ label: label(), value: value(), window: viewer });
  const found = await ask(`/thresholds/replay?${query}`, mine.signal).catch(() => null);
  if (asked !== mine) return;
  asked = null;
  if (found === null || found.sentence) {
    get("replay-state").textContent = found?.sentence ?? t("common.failed");
    return;
  }
  get("replay-state").textContent = t("thresholds.replayed", {
    stays: number(found.stays, 6), comes: number(found.comes, 6), goes: number(found.goes, 6),
  });
  const { right, wrong, right_lost, wrong_gone } = found.verdicts;
  get("verdicts").textContent =
    right + wrong ? t("thresholds.verdicts", { right, wrong, wrong_gone, right_lost }) : t("thresholds.no_verdicts");
  get("changes").replaceChildren(
    ...["goes", "comes"]
      .filter((change) => found[change])
      .map((change) => changeList(change, found[change], found.lists[change])),
  );
}

function moved() {
  show();
  clearTimeout(resting);
  resting = setTimeout(replay, REST_MS);
}

// What the scores of this place, and what people said of its events, propose.
async function propose() {
  const place = get("proposal-text");
  if (!get("proposal").open || !label()) return;
  const name = label();
  place.textContent = t("thresholds.proposal.asking");
  get("proposal-fragment").hidden = true;
  const query = new URLSearchParams({ label: name, window: viewer });
  const found = await ask(`/thresholds/proposal?${query}`).catch(() => ({}));
  if (name !== label()) return;
  const of = found.labels?.find((each) => each.label === name)?.threshold;
  if (!of) return void (place.textContent = found.sentence ?? t("common.failed"));
  const effect = found.verdicts?.find((each) => each.label === name);
  if (found.hours < LEAST_HOURS) {
    place.textContent = t("thresholds.proposal.short", { time: duration(found.hours) });
    return;
  }
  if (separatesNothing(effect)) {
    place.textContent = t("thresholds.proposal.useless", { missed: effect.confirmed_missed, confirmed: effect.confirmed_scored });
    return;
  }
  place.textContent = [
    t("thresholds.proposal.found", { onset: number(of.onset, 3), now: number(own().onset, 3), time: duration(found.hours) }),
    verdictEffect(effect),
    found.unreviewed ? t("thresholds.proposal.unreviewed", { count: found.unreviewed, number: number(found.unreviewed, 6) }) : "",
  ].join(" ");
  get("proposal-fragment").textContent = fragment(name, `{onset_threshold: ${of.onset}, offset_threshold: ${of.offset}}`).replace(":\n      {", ": {");
  get("proposal-fragment").hidden = false;
}

function verdictEffect(found) {
  if (!found) return t("thresholds.no_verdicts");
  if (!found.is_used) return t("thresholds.proposal.few");
  return t("thresholds.proposal.effect", {
    missed: found.confirmed_missed, confirmed: found.confirmed_scored,
    reported: found.rejected_reported, rejected: found.rejected_scored,
  });
}

async function change(wanted) {
  const place = get("applied");
  place.textContent = "";
  try {
    await command("sensitivity", { label: label() || null, value: wanted });
    place.textContent = t("thresholds.applied");
    await load(label());
  } catch (error) {
    place.textContent = error.message;
  }
}

// Rates of a place that was listened to for minutes would say nothing.
function leaveOutShort(found) {
  for (const each of Object.values(found.labels)) {
    if (each.hours < LEAST_HOURS) for (const at of each.curve) at.events_per_hour = null;
  }
}

// The model is read in a moment; to count the events of this place takes longer.
async function load(wanted) {
  const curves = (query) => ask(`/thresholds/curves${query}`).catch(() => ({ sentence: t("common.failed") }));
  isCounting = true;
  const counted = curves("");
  const found = await curves("?of=model");
  get("state").removeAttribute("aria-busy");
  if (found.sentence) return void (get("state").textContent = found.sentence);
  facts = found;
  get("state").hidden = true;
  tool.hidden = false;
  tool.dataset.label = wanted;
  showChoices();
  showLabel();
  replay();
  const complete = await counted;
  isCounting = false;
  if (complete.sentence) get("curve-note").textContent = complete.sentence;
  else if (facts === found) {
    facts = complete;
    leaveOutShort(facts);
    show();
  }
}

choice.addEventListener("change", () => {
  const query = label() ? `?label=${encodeURIComponent(label())}` : "";
  history.replaceState(null, "", url(`/thresholds${query}`));
  get("applied").textContent = "";
  showLabel();
  replay();
});
slider.addEventListener("input", moved);
get("proposal").addEventListener("toggle", propose);
get("reset").addEventListener("click", () => {
  showLabel();
  replay();
});
if (navigator.clipboard) {
  get("copy").hidden = false;
  get("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(get("fragment").textContent).catch(() => {});
    get("applied").textContent = t("thresholds.copied");
  });
}
get("apply")?.addEventListener("click", () => change(value()));
get("restore")?.addEventListener("click", () => change(null));
addEventListener("pagehide", () => asked?.abort());

load(tool.dataset.label);
