// The level of the latest minutes, as a line on a canvas.
import { timeText } from "./frame.js";
import { colour } from "./page.js";

const LEAST_SPAN_DB = 30;

export const clockTime = (iso) => (iso ? timeText(iso, "clock") : "–");

// Prepare a canvas for its size on this screen; returns its context, width and height.
export function prepared(canvas) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

// Draw levels [{at, level}]; returns the lowest and highest as text, null if there are none.
export function drawLevels(canvas, levels, span) {
  const { context, width, height } = prepared(canvas);
  context.clearRect(0, 0, width, height);
  const known = levels.filter((each) => each.level !== null);
  if (!known.length || !width) return null;
  const values = known.map((each) => each.level);
  const lowest = Math.min(...values);
  const highest = Math.max(...values);
  let low = Math.floor((lowest - 2) / 10) * 10;
  const high = Math.max(Math.ceil((highest + 2) / 10) * 10, low + LEAST_SPAN_DB);
  low = Math.min(low, high - LEAST_SPAN_DB);
  const bottom = height - 18;
  const right = width - 42;
  const y = (level) => 6 + ((high - level) / (high - low)) * (bottom - 6);
  const end = known.at(-1).at;
  const x = (at) => right - ((end - at) / span) * right;

  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.lineWidth = 1;
  const step = high - low > 60 ? 20 : 10;
  for (let level = low; level <= high; level += step) {
    context.strokeStyle = colour("--line");
    context.beginPath();
    context.moveTo(0, Math.round(y(level)) + 0.5);
    context.lineTo(right, Math.round(y(level)) + 0.5);
    context.stroke();
    context.fillStyle = colour("--muted");
    context.fillText(String(level).replace("-", "−"), right + 6, y(level));
  }
  context.textBaseline = "alphabetic";
  context.fillText("−10 min", 0, height - 3);
  context.textAlign = "center";
  context.fillText("−5 min", right / 2, height - 3);
  context.textAlign = "left";

  context.strokeStyle = colour("--accent");
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.beginPath();
  let before = -Infinity;
  for (const { at, level } of known) {
    if (at - before > 5000) context.moveTo(x(at), y(level)); // a gap stays one
    else context.lineTo(x(at), y(level));
    before = at;
  }
  context.stroke();
  context.fillStyle = colour("--accent");
  context.beginPath();
  context.arc(x(end), y(known.at(-1).level), 3, 0, 2 * Math.PI);
  context.fill();
  const text = (level) => String(Math.round(level)).replace("-", "−");
  return { low: text(lowest), high: text(highest) };
}
