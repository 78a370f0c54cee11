// The charts of the page Thresholds, as SVG: the curve of the model, and of this place.
import { t } from "./strings.js";

const SPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [360, 220];
const [LEFT, RIGHT, TOP, BOTTOM] = [48, 12, 26, 44];

function shape(name, attributes, text = "") {
  const found = document.createElementNS(SPACE, name);
  for (const [key, each] of Object.entries(attributes)) found.setAttribute(key, each);
  if (text !== "") found.textContent = text;
  return found;
}

// Few false alarms are what people choose among: the axis gives them room.
const ALARMS_POWER = 3;

// A chart with its axes; `x` and `y` are its scales, from 0 to their ends.
function chart(names, title, sentence, xEnd, yEnd, xText, yText, power = 1) {
  const figure = document.createElement("figure");
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": sentence });
  const x = (value) => LEFT + (WIDTH - LEFT - RIGHT) * (value / (xEnd || 1)) ** (1 / power);
  const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * value) / (yEnd || 1);
  for (const part of [0, 0.5, 1]) {
    svg.append(
      shape("line", { class: "axis", x1: x(0), x2: x(xEnd), y1: y(part * yEnd), y2: y(part * yEnd) }),
      shape("text", { x: LEFT - 6, y: y(part * yEnd) + 4, "text-anchor": "end" }, yText(part * yEnd)),
      shape("text", { x: x(part ** power * xEnd), y: HEIGHT - BOTTOM + 16, "text-anchor": ["start", "middle", "end"][part * 2] }, xText(part ** power * xEnd)),
    );
  }
  svg.append(
    shape("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, names.x),
    shape("text", { x: 4, y: 12 }, names.y),
  );
  const caption = document.createElement("figcaption");
  caption.textContent = title;
  figure.append(svg, caption);
  return { figure, svg, x, y };
}

function line(target, points, kind, rank) {
  const shown = points.filter(([, height]) => height !== null);
  const path = shown.map(([x, y]) => `${target.x(x).toFixed(1)},${target.y(y).toFixed(1)}`).join(" ");
  target.svg.append(shape("polyline", { points: path, class: `line ${kind} rank-${rank}` }));
  for (const [x, y] of shown) {
    target.svg.append(shape("circle", { cx: target.x(x), cy: target.y(y), r: 2.5, class: `point rank-${rank}` }));
  }
}

// The place on a polyline with equally spaced parameters.
function at(points, sensitivity) {
  const place = sensitivity * (points.length - 1);
  const [left, right] = [points[Math.floor(place)], points[Math.ceil(place)]];
  const part = place - Math.floor(place);
  if (left[1] === null || right[1] === null) return left[1] === null ? right : left;
  return [left[0] + part * (right[0] - left[0]), left[1] + part * (right[1] - left[1])];
}

function mark(target, points, sensitivity, kind) {
  if (sensitivity === null) return;
  const [x, y] = at(points, sensitivity);
  if (y === null) return;
  const [cx, cy] = [target.x(x), target.y(y)];
  target.svg.append(
    kind === "now"
      ? shape("circle", { cx, cy, r: 6, class: "now" })
      : shape("path", { d: `M${cx} ${cy - 6}l6 6l-6 6l-6-6z`, class: "new" }),
  );
}

// Draw the charts of a label into `place`; of all labels there are none.  Where nothing
// is known of this place, its chart is empty, with a reason: the other keeps its size.
export function drawCharts(place, label, present, chosen, { number, share, rate, reason }) {
  place.replaceChildren();
  if (!label || !label.curve.length) return;
  const { curve } = label;
  const alarms = Math.max(...curve.map((each) => each.false_alarms_per_hour * 24));
  const near = curve.map((each) => [each.false_alarms_per_hour * 24, each.detected_near]);
  const far = curve.map((each) => [each.false_alarms_per_hour * 24, each.detected_far]);
  const sentence = (points, name) => {
    const [x, y] = at(points, chosen);
    return t(`thresholds.charts.${name}_is`, { share: share(y), rate: rate(x / 24), number: number(y ?? 0) });
  };
  if (near.some(([, height]) => height !== null)) {
    const names = { x: t("thresholds.charts.alarms"), y: t("thresholds.charts.detected") };
    const model = chart(
      names, t("thresholds.charts.model"), sentence(near, "model"), alarms || 1, 1, (value) => number(value), share, ALARMS_POWER,
    );
    line(model, near, "near", 0);
    line(model, far, "far", 2);
    mark(model, near, present, "now");
    mark(model, near, chosen, "new");
    place.append(model.figure);
  }
  const isKnown = curve.some((each) => each.events_per_hour !== null);
  const events = isKnown ? curve.map((each) => [each.sensitivity, each.events_per_hour * 24]) : [];
  const most = Math.max(0, ...events.map(([, height]) => height));
  const names = { x: t("thresholds.sensitivity"), y: t("thresholds.columns.events") };
  const here = chart(
    names, isKnown ? `${t("thresholds.charts.place")} ${reason}` : reason, isKnown ? sentence(events, "place") : reason,
    1, most || 1, (value) => number(value), (value) => (isKnown ? number(value) : ""),
  );
  place.append(here.figure);
  if (!isKnown) return;
  line(here, events, "place", 3);
  mark(here, events, present, "now");
  mark(here, events, chosen, "new");
}
