// Text of the page in the viewer's language; the same keys as in the templates.

// What the frame of the page says to its scripts: meta("zone").
export const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;

const response = await fetch(meta("strings"));
const strings = response.ok ? await response.json() : {};

// The text of a key, with its values: t(key, { count: 3 })
export function t(key, values = {}) {
  let text = strings[key] ?? key.split(".").pop(); // a word that a newer monitor has
  if (typeof text === "object") text = values.count === 1 ? text.one : text.other;
  return text.replace(/\{(\w+)\}/g, (field, name) => values[name] ?? field);
}

// A number in the viewer's language, with so many digits after the decimal mark.
export const number = (value, digits) =>
  new Intl.NumberFormat(document.documentElement.lang, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);

const RANKS = 10;
const names = Object.keys(strings).filter((key) => key.startsWith("labels."));

// Which of the ten colours a label has, on every page; `label_rank` says the same.
export function labelRank(label) {
  const place = names.indexOf(`labels.${label}`);
  if (place >= 0) return place % RANKS;
  return new TextEncoder().encode(label).reduce((sum, byte) => sum + byte, 0) % RANKS;
}

// The name of a label in the viewer's language; of one that has none, the label.
export const labelText = (label) => strings[`labels.${label}`] ?? label;
