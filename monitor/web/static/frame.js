// The frame of every page: times in the viewer's zone, and the menu of a phone.
import { meta, t } from "./strings.js";

// The browser's own variety of the page's language: 24 hours or 12, for example.
const page = document.documentElement.lang;
const language = navigator.languages.find((each) => each.startsWith(page)) ?? page;
export const deviceZone = meta("zone");
export const viewerZone = Intl.DateTimeFormat().resolvedOptions().timeZone;

const formats = {
  day: { dateStyle: "medium" },
  minute: { dateStyle: "medium", timeStyle: "short" },
  second: { dateStyle: "medium", timeStyle: "medium" },
  clock: { timeStyle: "medium" },
  hour: { timeStyle: "short" },
  short: { day: "numeric", month: "numeric" },
  weekday: { weekday: "short", day: "numeric", month: "short", year: "numeric" },
};

function formatted(moment, form, zone) {
  return new Intl.DateTimeFormat(language, { ...formats[form], timeZone: zone }).format(moment);
}

// A time in the viewer's zone; form: day, minute, second or clock.
export function timeText(iso, form = "second") {
  return formatted(new Date(iso), form, viewerZone);
}

// A time in the device's zone, or in another; in UTC where a browser does not know it.
export function zonedText(moment, form, zone = deviceZone) {
  try {
    return formatted(moment, form, zone);
  } catch {
    return formatted(moment, form, "UTC");
  }
}

// True if the device has another time now than the viewer.
export function zonesDiffer() {
  const now = new Date();
  try {
    return formatted(now, "minute", deviceZone) !== formatted(now, "minute", viewerZone);
  } catch {
    return false; // a zone that this browser does not know
  }
}

// Write every <time data-form> below `root` in the viewer's zone, or with data-zone in
// another; its title has the device's time where that differs from the viewer's.
export function localiseTimes(root = document) {
  const differ = zonesDiffer();
  for (const element of root.querySelectorAll("time[data-form]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    const { form, zone } = element.dataset;
    // By an offset from UTC alone, no time of another season could be written.
    if (zone === "device" && /^[+-]/.test(deviceZone)) continue;
    if (zone) {
      element.textContent = zonedText(moment, form, zone === "device" ? deviceZone : zone);
      continue;
    }
    element.textContent = timeText(element.dateTime, form);
    if (differ) {
      const device = formatted(moment, element.dataset.form, deviceZone);
      element.title = t("common.device_time", { time: device, zone: deviceZone });
    }
  }
}

localiseTimes();

const zones = document.getElementById("zones");
if (zones && zonesDiffer()) {
  zones.textContent = t("common.zones", { viewer: viewerZone, device: deviceZone });
  zones.hidden = false;
}

const menu = document.querySelector("details.more");
if (menu) {
  document.addEventListener("click", (click) => {
    if (!menu.contains(click.target)) menu.open = false;
  });
  document.addEventListener("keydown", (key) => {
    if (key.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

// A double click on a button is one click: the second would undo what the first has done,
// or press what has come in its place.
addEventListener(
  "click",
  (click) => {
    if (click.detail < 2 || !click.target.closest("button")) return;
    click.preventDefault();
    click.stopImmediatePropagation();
  },
  true,
);
