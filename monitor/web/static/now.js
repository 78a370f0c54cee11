// The page Now: follows the live feed, one card for each source.
import { timeText } from "./frame.js";
import { clockTime, drawLevels } from "./now_level.js";
import { Picture } from "./now_picture.js";
import { absence, follow, percentText, url } from "./page.js";
import { labelText, number, t } from "./strings.js";

const STALE_MS = 4000; // The feed has columns twice a second.
const SETTLED_MS = 4000; // For so long a label keeps its row, so that it can be read.
const LEVELS_MS = 600_000;
const GAPS_MS = 60_000;
const STARTING_SECONDS = 15; // Until the first window of a source is whole.

const hasLiveSources = absence === "common.offline"; // Recordings end: no alarm.

const cards = new Map();
const list = document.getElementById("sources");
const health = document.getElementById("health");
const announcement = document.getElementById("announcement");

function period(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

// Rounded down: 100 % is said of nothing less.
function percent(share) {
  const whole = Math.floor(share * 10_000 + 1e-9) / 10_000;
  return percentText(whole, 2);
}

class Card {
  constructor(element) {
    this.element = element;
    this.name = element.dataset.source;
    this.find = (selector) => element.querySelector(selector);
    this.picture = new Picture(this.find(".columns"));
    this.levels = [];
    this.newest = 0; // when columns came last, by this page's clock
    this.order = [];
    this.settled = -Infinity; // when the rows were put in order, by this page's clock
    this.goingOn = "";
    this.rows = [...element.querySelectorAll(".candidates li")];
  }

  columns(line) {
    this.picture.push(line);
    this.newest = performance.now();
    this.newestTime = line.time;
    this.freshen();
  }

  freshen() {
    const stale = performance.now() - this.newest > STALE_MS;
    if (stale === this.isStale) return;
    this.element.classList.toggle("stale", stale);
    this.find(".level-value").textContent = stale ? "–" : this.levelText();
    this.showState();
    showHealth();
  }

  get isStale() {
    return this.element.classList.contains("stale");
  }

  // Columns came once, and come no more, though it is said to be listened to.
  get isSilent() {
    return this.isStale && this.newest > 0 && hasLiveSources && !this.isOver && !this.isBad;
  }

  levelText() {
    const newest = this.levels.at(-1);
    return newest?.level == null ? "–" : number(newest.level, 0).replace("-", "−");
  }

  addLevels(found) {
    for (const [time, , laeq] of found) {
      const at = Date.parse(time);
      if (at > (this.levels.at(-1)?.at ?? 0)) this.levels.push({ at, level: laeq });
    }
    const oldest = (this.levels.at(-1)?.at ?? 0) - LEVELS_MS;
    this.levels = this.levels.filter((each) => each.at >= oldest);
    if (!this.isStale) this.find(".level-value").textContent = this.levelText();
    this.drawLevels();
  }

  drawLevels() {
    const canvas = this.find(".history");
    const range = drawLevels(canvas, this.levels, LEVELS_MS);
    if (!range) return;
    const unit = this.element.dataset.unit;
    canvas.setAttribute("aria-label", t("now.level_range", { low: range.low, high: range.high, unit }));
  }

  scores(line) {
    const going = new Map(line.ongoing.map((each) => [each.label, each]));
    this.showGoingOn([...going.values()]);
    const rows = this.ordered(line.top, [...going.keys()].join());
    this.rows.forEach((row, index) => this.showCandidate(row, rows[index], going));
  }

  // Labels keep their rows for some seconds, but for those that are new.
  ordered(top, going) {
    const now = performance.now();
    const byLabel = new Map(top.map((each) => [each.label, each]));
    if (now - this.settled > SETTLED_MS || going !== this.goingOn) {
      this.order = top.map((each) => each.label);
      this.settled = now;
      this.goingOn = going;
    } else {
      const kept = this.order.map((label) => (byLabel.has(label) ? label : null));
      const others = top.map((each) => each.label).filter((label) => !kept.includes(label));
      this.order = kept.map((label) => label ?? others.shift());
    }
    return this.order.map((label) => byLabel.get(label));
  }

  showCandidate(row, candidate, going) {
    const [label, score, bar, reason] = row.children;
    row.classList.toggle("is-on", Boolean(candidate && going.has(candidate.label)));
    if (!candidate) {
      for (const part of [label, score, reason]) part.textContent = "";
      bar.style.setProperty("--score", 0);
      return;
    }
    label.textContent = labelText(candidate.label);
    score.textContent = number(candidate.score, 2);
    bar.style.setProperty("--score", candidate.score);
    bar.style.setProperty("--threshold", candidate.threshold === null ? "200%" : `${100 * candidate.threshold}%`);
    reason.textContent = this.reason(candidate, going.get(candidate.label));
  }

  reason(candidate, ongoing) {
    if (candidate.going_on) {
      const key = candidate.score < candidate.threshold ? "now.reported_below" : "now.reported";
      return t(key, { time: clockTime(ongoing?.start) });
    }
    const values = {
      threshold: candidate.threshold === null ? "" : number(candidate.threshold, 2),
      rival: candidate.rival ? labelText(candidate.rival) : "",
    };
    return t(`now.reasons.${candidate.reason}`, values);
  }

  showGoingOn(ongoing) {
    const key = ongoing.map((each) => each.id).join();
    if (key === this.shown) return;
    this.shown = key;
    const items = ongoing.map((each) => {
      const item = document.createElement("li");
      item.className = "is-on";
      item.textContent = t("now.since", { label: labelText(each.label), time: clockTime(each.start) });
      return item;
    });
    if (!items.length) {
      const item = document.createElement("li");
      item.className = "muted";
      item.textContent = t("now.nothing");
      items.push(item);
    }
    this.find(".tags").replaceChildren(...items);
    this.picture.mark(ongoing);
  }

  // The monitor, or the connection to it, has begun anew.
  interrupt() {
    this.shown = null;
    this.picture.interrupt();
  }

  status(source, troubles) {
    const kinds = troubles.map((each) => t(`words.health.${each.kind}`));
    let text = t(`words.state.${source.state}`);
    if (source.state === "listening" && !source.listening) text = t(source.analysed ? "now.undetected" : "now.not_analysed");
    if (isStarting(source)) text = t("now.starting");
    // Of a source that listens it is the name of the device.
    if (source.state !== "listening" && source.detail) text += `: ${source.detail}`;
    if (kinds.length) text += ` – ${kinds.join(", ")}`;
    this.said = text;
    this.isOver = source.state === "ended";
    this.isBad = !source.listening && !isStarting(source);
    this.showState();
    if (!this.hasGaps) this.showListened(source.listened_24h, source.gaps);
  }

  // The monitor of a recording ends with it, often before it says so.
  end() {
    this.said = t("words.state.ended");
    this.isBad = false;
    this.showState();
  }

  showState() {
    const state = this.find(".source-state");
    state.textContent = this.isSilent ? t("now.stale", { time: timeText(this.newestTime, "clock") }) : (this.said ?? "");
    state.classList.toggle("bad", this.isSilent || Boolean(this.isBad));
  }

  showGaps({ share, of_seconds, count, newest }) {
    this.hasGaps = share !== null;
    const items = newest.map((gap) => {
      const item = document.createElement("li");
      const reason = gap.reason === "off" ? t("now.off") : t(`words.gap.${gap.reason}`);
      item.textContent = t("now.gap", { time: timeText(gap.start), period: period(gap.seconds), reason });
      return item;
    });
    this.find(".gap-list").replaceChildren(...items);
    this.showListened({ share, of_seconds }, count);
  }

  showListened({ share, of_seconds }, count) {
    if (share === null) return;
    const values = { share: percent(share), period: period(of_seconds), gaps: t("now.gap_count", { count }) };
    this.find(".listened").textContent = t("now.listened", values);
  }
}

function card(name) {
  if (!cards.has(name)) {
    const element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    element.dataset.source = name;
    element.setAttribute("aria-label", name);
    element.querySelector("h2").textContent = name;
    list.append(element);
    cards.set(name, new Card(element));
  }
  return cards.get(name);
}

for (const element of list.children) cards.set(element.dataset.source, new Card(element));

// Its first seconds are not complete: no trouble, but nothing is heard yet.
const isStarting = (source) =>
  !source.listening &&
  !source.gaps &&
  !source.troubles.length &&
  ["opening", "listening"].includes(source.state) &&
  source.captured_seconds < STARTING_SECONDS;

let latest = null; // The newest status, while there is one.

// The headline is that of the worst source, as the status and the columns have it.
function showHealth() {
  if (!latest) return;
  const deaf = latest.sources.filter((each) => !each.listening);
  const names = (sources) => sources.map((each) => each.name).join(", ");
  const starting = deaf.filter(isStarting);
  const bad = deaf.filter((each) => !isStarting(each));
  const troubled = bad.filter((each) => each.analysed);
  const unheard = bad.filter((each) => !each.analysed);
  const silent = latest.sources.filter((each) => !bad.includes(each) && cards.get(each.name)?.isSilent);
  const troubles = latest.troubles.map((each) => t(`words.health.${each.kind}`));
  const texts = [];
  if (unheard.length) texts.push(t("now.not_listening", { sources: names(unheard) }));
  if (troubled.length) texts.push(t("now.undetected_of", { sources: names(troubled) }));
  if (silent.length) texts.push(t("now.nothing_new", { sources: names(silent) }));
  if (troubles.length) texts.push(t("now.trouble", { kinds: troubles.join(", ") }));
  const isBad = texts.length > 0;
  if (starting.length) texts.push(t("now.starting_of", { sources: names(starting) }));
  if (!texts.length) texts.push(t("now.all_well"));
  // No trouble, for somebody wanted it; but nobody gets these alerts.
  const muted = (latest.mutes ?? []).map(({ rule, until }) => t("now.muted_until", { rule, time: timeText(until, "minute") }));
  if (muted.length) texts.push(t("now.muted", { rules: muted.join(", ") }));
  const isPartial = starting.length || muted.length;
  say(texts.join(" "), isBad ? "is-bad" : isPartial ? "is-starting" : "is-good");
}

function say(text, kind) {
  health.textContent = text;
  health.className = `health ${kind}`;
}

function showAbsence(text, kind = "is-bad") {
  latest = null;
  say(text, kind);
}

let announced = 0;
function announce(onset) {
  if (performance.now() - announced < 5000) return; // not a voice that never ends
  announced = performance.now();
  const values = { label: labelText(onset.label), source: onset.source, time: clockTime(onset.start) };
  announcement.textContent = t("now.announcement", values);
}

const handlers = {
  hello(line) {
    const names = line.sources.map((each) => each.name);
    for (const [name, known] of [...cards]) {
      if (names.includes(name)) continue;
      known.element.remove();
      cards.delete(name);
    }
    for (const name of names) {
      card(name).picture.bands = line.mel_hz;
      card(name).interrupt();
    }
    // The first one comes at once, when the page has just asked.
    if (performance.now() - asked > 5000) void fill();
  },
  columns: (line) => card(line.source).columns(line),
  levels: (line) => card(line.source).addLevels([[line.time, line.level_dbfs, line.laeq_db]]),
  scores: (line) => card(line.source).scores(line),
  onset(line) {
    announce(line);
    card(line.source).picture.mark([line], false);
  },
  event: (line) => card(line.source).picture.finish(line.id, line.end),
  gap() {
    clearTimeout(asking); // once the database has it
    asking = setTimeout(askGaps, 2000);
  },
  status(line) {
    latest = line.document;
    showHealth();
    for (const source of line.document.sources) cards.get(source.name)?.status(source, source.troubles);
  },
  offline() {
    showAbsence(t(absence), hasLiveSources ? "is-bad" : "is-starting");
    if (!hasLiveSources) cards.forEach((each) => each.end());
  },
  disconnected: () => showAbsence(t("now.disconnected")),
};

// What was before this page was opened, or before it lost its connection.
let asked = 0;
async function fill() {
  asked = performance.now();
  void askGaps();
  const response = await fetch(url("/now/recent.json")).catch(() => null);
  if (!response?.ok) return;
  const recent = await response.json();
  for (const source of recent.sources) {
    const known = cards.get(source.name);
    if (!known) continue;
    known.picture.fill(source.columns, source.events ?? []);
    const newer = known.levels;
    known.levels = [];
    known.addLevels(source.levels);
    known.addLevels(newer.map((each) => [new Date(each.at).toISOString(), null, each.level]));
  }
}

let asking = 0;
async function askGaps() {
  clearTimeout(asking);
  asking = setTimeout(askGaps, GAPS_MS);
  if (document.hidden) return;
  const response = await fetch(url("/now/gaps.json")).catch(() => null);
  if (!response?.ok) return;
  for (const [name, facts] of Object.entries(await response.json())) cards.get(name)?.showGaps(facts);
}

void fill();
const types = ["hello", "columns", "levels", "scores", "onset", "event", "gap", "status", "offline"];
follow({ types }, (line) => handlers[line.type]?.(line));
setInterval(() => cards.forEach((each) => each.freshen()), 1000);
addEventListener("resize", () => cards.forEach((each) => each.drawLevels()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => cards.forEach((each) => each.drawLevels()));
