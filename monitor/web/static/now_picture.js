// The live picture of a source: its newest columns on a canvas.
import { prepared } from "./now_level.js";
import { colour } from "./page.js";
import { labelRank, labelText } from "./strings.js";

const BANDS = 48;
const WIDTH = 300; // Columns that are shown: half a minute.
const RING = WIDTH + 40; // Those that have not flowed in yet are kept beside them.
const PER_SECOND = 10;
const BEHIND = 8; // Columns by which the picture is late, so that it can flow.
const FRAME_MS = 33;
const LEAST_RANGE = 110; // Of 255 steps, which are 100 dB.
const MARKS = [250, 1000, 4000];

// From quiet to loud; the lightness rises or falls all the way, for every eye.
const DARK = [[18, 22, 26], [16, 44, 66], [20, 84, 104], [44, 138, 126], [142, 196, 120], [248, 236, 168]];
const LIGHT = [[246, 247, 248], [206, 226, 228], [128, 186, 192], [56, 130, 150], [32, 76, 116], [38, 22, 66]];

const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

function palette() {
  const stops = dark.matches ? DARK : LIGHT;
  return Array.from({ length: 256 }, (_, step) => {
    const place = (step / 255) * (stops.length - 1);
    const first = Math.min(Math.floor(place), stops.length - 2);
    return stops[first].map((from, channel) => Math.round(from + (place - first) * (stops[first + 1][channel] - from)));
  });
}

export class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.bands = [];
    this.values = new Uint8Array(RING * BANDS); // a ring of columns
    this.known = new Uint8Array(RING); // 0: there is no column
    this.count = 0; // columns so far, the missing ones among them
    this.end = 0; // time of the newest, ms
    this.shown = 0; // columns that have flowed in
    this.base = null; // count at time 0 of performance.now, smoothed
    this.low = 60;
    this.high = 200;
    this.ongoing = [];
    this.spans = [];
    this.buffer = document.createElement("canvas");
    this.buffer.width = RING;
    this.buffer.height = BANDS;
    this.colours = palette();
    this.isVisible = false;
    this.drawn = 0;
    new IntersectionObserver(([entry]) => {
      this.isVisible = entry.isIntersecting;
      this.request();
    }).observe(canvas);
    new ResizeObserver(() => this.draw()).observe(canvas);
    dark.addEventListener("change", () => {
      this.colours = palette();
      this.paint();
      this.draw();
    });
  }

  // Take a line with columns; those that are missing before it stay empty.
  push({ time, count, data }) {
    const end = Date.parse(time);
    const bytes = decoded(data);
    let first = 0;
    if (this.end) {
      const missing = Math.round(((end - this.end) / 1000) * PER_SECOND) - count;
      if (missing > 2) this.append(null, Math.min(missing, WIDTH));
      else if (missing < -2) first = Math.min(count, -missing); // known already
    }
    for (let column = first; column < count; column++) {
      this.append(bytes.subarray(column * BANDS, (column + 1) * BANDS), 1);
    }
    if (first === count) return;
    this.end = end;
    const now = performance.now();
    const base = this.count - (now / 1000) * PER_SECOND;
    this.base = this.base === null || Math.abs(base - this.base) > 20 ? base : this.base + 0.1 * (base - this.base);
    this.paint();
    this.request();
  }

  // Put lines from before into the places that are empty, and mark what has ended.
  fill(lines, events) {
    for (const line of lines) {
      const end = Date.parse(line.time);
      if (!this.end || end > this.end + 50) {
        this.push(line);
        continue;
      }
      const bytes = decoded(line.data);
      const after = Math.round(((this.end - end) / 1000) * PER_SECOND);
      for (let column = 0; column < line.count; column++) {
        const back = after + line.count - 1 - column;
        const place = (((this.count - 1 - back) % RING) + RING) % RING;
        if (back >= RING || this.known[place]) continue;
        this.known[place] = 1;
        this.values.set(bytes.subarray(column * BANDS, (column + 1) * BANDS), place * BANDS);
      }
    }
    if (this.end) this.base = this.count - (performance.now() / 1000) * PER_SECOND;
    this.mark(events, false);
    for (const { id, end } of events) this.finish(id, end);
    this.paint();
    this.request();
  }

  // Mark what goes on, [{id, label, start}]; what has ended keeps its mark.
  mark(ongoing, isAll = true) {
    for (const span of isAll ? this.spans : []) {
      if (span.stop === null && !ongoing.some((each) => each.id === span.id)) span.stop = this.end;
    }
    for (const each of ongoing) {
      const known = this.spans.find((span) => span.id === each.id);
      if (known) known.stop = null; // it went on while nothing came
      else this.spans.push({ id: each.id, label: each.label, start: Date.parse(each.start), stop: null });
    }
    const oldest = this.end - (WIDTH * 1000) / PER_SECOND;
    this.spans = this.spans.filter((span) => span.stop === null || span.stop > oldest);
  }

  // End the mark of an event where it ended.
  finish(id, end) {
    for (const span of this.spans) if (span.id === id) span.stop = Date.parse(end);
  }

  // End all marks where the columns stopped: what goes on is told again.
  interrupt() {
    this.mark([]);
  }

  append(column, times) {
    for (let time = 0; time < times; time++) {
      const place = this.count % RING;
      this.known[place] = column ? 1 : 0;
      if (column) this.values.set(column, place * BANDS);
      this.count += 1;
    }
  }

  // Write all columns into the buffer: the contrast follows what is there.
  paint() {
    const histogram = new Uint32Array(256);
    let total = 0;
    for (let column = 0; column < RING; column++) {
      if (!this.known[column]) continue;
      for (let band = 0; band < BANDS; band++) histogram[this.values[column * BANDS + band]] += 1;
      total += BANDS;
    }
    if (!total) return;
    const low = quantile(histogram, total * 0.1);
    const high = Math.max(quantile(histogram, total * 0.998), low + LEAST_RANGE);
    const share = this.isSettled ? 0.1 : 1;
    this.isSettled = true;
    this.low += share * (low - this.low);
    this.high += share * (high - this.high);
    const context = this.buffer.getContext("2d");
    const image = context.createImageData(RING, BANDS);
    for (let column = 0; column < RING; column++) {
      if (!this.known[column]) continue;
      for (let band = 0; band < BANDS; band++) {
        const value = this.values[column * BANDS + band];
        const step = Math.round(((value - this.low) / (this.high - this.low)) * 255);
        const [red, green, blue] = this.colours[Math.min(255, Math.max(0, step))];
        const place = 4 * ((BANDS - 1 - band) * RING + column);
        image.data[place] = red;
        image.data[place + 1] = green;
        image.data[place + 2] = blue;
        image.data[place + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
  }

  request() {
    if (this.isRequested || !this.isVisible) return;
    this.isRequested = true;
    requestAnimationFrame((now) => {
      this.isRequested = false;
      if (now - this.drawn >= FRAME_MS - 2) {
        this.drawn = now;
        this.draw();
      }
      // Columns flow in until all are shown; then the next ones call.
      if (!still.matches && this.shown < this.count) this.request();
    });
  }

  draw() {
    const { context, width, height } = prepared(this.canvas);
    context.clearRect(0, 0, width, height);
    if (!this.count || !width) return;
    context.imageSmoothingEnabled = true;
    if (still.matches) this.drawStill(context, width, height);
    else this.drawFlowing(context, width, height);
    this.drawBands(context, height);
  }

  // The picture moves to the left as time goes on.
  drawFlowing(context, width, height) {
    const flowed = this.base + (performance.now() / 1000) * PER_SECOND - BEHIND;
    this.shown = Math.min(this.count, Math.max(flowed, this.count - 2 * PER_SECOND));
    const scale = width / WIDTH;
    const first = Math.floor(this.shown) - WIDTH; // one more is shown in part
    let x = (first + WIDTH - this.shown) * scale;
    for (let column = first, left = WIDTH + 1; left > 0; ) {
      const place = ((column % RING) + RING) % RING;
      const count = Math.min(left, RING - place);
      context.drawImage(this.buffer, place, 0, count, BANDS, x, 0, count * scale, height);
      x += count * scale;
      column += count;
      left -= count;
    }
    const end = this.end - ((this.count - this.shown) * 1000) / PER_SECOND;
    this.drawOutages(context, height, first, (column) => (column + WIDTH - this.shown) * scale);
    this.drawSpans(context, height, (at) => width - ((end - at) / 1000) * PER_SECOND * scale, width);
  }

  // Hatch the columns that are missing between others.
  drawOutages(context, height, first, x) {
    context.strokeStyle = colour("--line");
    context.lineWidth = 1;
    let began = null;
    let hasBegun = false; // What was before the first column is not known.
    for (let column = Math.max(first, this.count - RING); column <= this.count; column++) {
      const isKnown = column === this.count || this.known[((column % RING) + RING) % RING];
      if (!isKnown && hasBegun && began === null) began = column;
      if (isKnown && began !== null) {
        this.hatch(context, x(began), x(column), height);
        began = null;
      }
      hasBegun ||= Boolean(isKnown);
    }
  }

  hatch(context, left, right, height) {
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, height);
    context.clip();
    context.beginPath();
    for (let at = left - height; at < right; at += 8) {
      context.moveTo(at, height);
      context.lineTo(at + height, 0);
    }
    context.stroke();
    context.restore();
  }

  // Without motion: new columns take the place of the oldest ones, behind a line.
  drawStill(context, width, height) {
    this.shown = this.count;
    context.drawImage(this.buffer, 0, 0, RING, BANDS, 0, 0, width, height);
    const x = ((this.count % RING) / RING) * width;
    context.fillStyle = colour("--accent");
    context.fillRect(x, 0, 2, height);
  }

  drawSpans(context, height, x, width) {
    context.font = "600 12px system-ui, sans-serif";
    context.textBaseline = "top";
    const ends = []; // of the names in each line: one that has no room goes below
    for (const { label, start, stop } of this.spans) {
      const first = Math.max(0, x(start));
      const last = Math.min(width, x(stop ?? this.end));
      if (last <= first) continue;
      context.fillStyle = colour(`--rank-${labelRank(label)}`);
      context.fillRect(first, 0, last - first, 4);
      const text = labelText(label);
      let line = ends.findIndex((end) => end <= first);
      if (line < 0) line = ends.length;
      ends[line] = first + context.measureText(text).width + 8;
      outlined(context, text, first + 4, 7 + 15 * line, colour("--text"));
    }
  }

  drawBands(context, height) {
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (const hertz of MARKS) {
      const above = this.bands.findIndex((each) => each > hertz);
      if (above < 1) continue;
      const share = (hertz - this.bands[above - 1]) / (this.bands[above] - this.bands[above - 1]);
      const y = height * (1 - (above - 1 + share + 0.5) / BANDS);
      const text = hertz < 1000 ? `${hertz} Hz` : `${hertz / 1000} kHz`;
      outlined(context, text, 4, y, colour("--text"));
    }
  }
}

const decoded = (data) => Uint8Array.from(atob(data), (character) => character.charCodeAt(0));

function outlined(context, text, x, y, ink) {
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.strokeStyle = colour("--surface");
  context.strokeText(text, x, y);
  context.fillStyle = ink;
  context.fillText(text, x, y);
}

function quantile(histogram, rank) {
  let sum = 0;
  for (let step = 0; step < 256; step++) {
    sum += histogram[step];
    if (sum > rank) return step;
  }
  return 255;
}
