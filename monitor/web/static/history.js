// The page Day: a graph of the table of levels, and the map of a year.
import { deviceZone, zonedText } from "./frame.js";
import { colour } from "./page.js";
import { number, t } from "./strings.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
// The rows of a table: seconds since 1970, then a list for each column of levels.
function readTable(table) {
  const rows = [...table.tBodies[0].rows];
  const columns = [rows.map((row) => Number(row.dataset.x))];
  const count = rows[0]?.querySelectorAll("[data-y]").length ?? 0;
  for (let column = 0; column < count; column += 1) {
    columns.push(
      rows.map((row) => {
        const { y } = row.querySelectorAll("[data-y]")[column].dataset;
        return y === "" ? null : Number(y);
      }),
    );
  }
  return columns;
}

function draw(table, place) {
  const names = [...table.tHead.rows[0].cells].slice(1, -1).map((cell) => cell.textContent);
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 } };
  const series = names.map((name, index) => ({
    label: name,
    stroke: colour(`--rank-${index}`),
    width: index === 0 ? 2.5 : 1.25,
    dash: index === 1 ? [2, 3] : [],
    points: { size: 5, show: table.tBodies[0].rows.length < 63 },
    value: (_, level) => (level === null ? "–" : number(level, 1)),
  }));
  return new uPlot(
    {
      width: place.clientWidth,
      height: 230,
      legend: { live: true },
      tzDate: (seconds) => zoned(seconds),
      scales: { x: { time: true } },
      axes: [
        {
          ...axis,
          incrs: place.dataset.span === "day" ? HOURS : DAYS,
          values: (_, moments) => moments.map((seconds) => tick(seconds, place)),
        }, { ...axis, label: "dB", labelSize: 20, size: 44 },
      ],
      series: [{ label: t("day.date"), value: (_, seconds) => spoken(seconds) }, ...series],
    },
    readTable(table),
    place,
  );
}

const HOURS = [1, 2, 3, 4, 6].map((count) => count * 3600);
const DAYS = [1, 2, 7, 14, 28, 56].map((count) => count * 86_400);

function tick(seconds, place) {
  return zonedText(new Date(seconds * 1000), place.dataset.span === "day" ? "hour" : "short");
}

function spoken(seconds) {
  return seconds === null ? "–" : zonedText(new Date(seconds * 1000), "minute");
}

// A time of the device, whose hours the table has.
function zoned(seconds) {
  const moment = new Date(seconds * 1000);
  try {
    return uPlot.tzDate(moment, deviceZone);
  } catch {
    return moment; // a zone that this browser does not know
  }
}

for (const place of document.querySelectorAll(".graph")) {
  const table = place.parentElement.querySelector(".levels-table");
  let graph = draw(table, place);
  new ResizeObserver(() => {
    if (place.clientWidth !== graph.width) {
      graph.setSize({ width: place.clientWidth, height: 230 });
    }
  }).observe(place);
  dark.addEventListener("change", () => {
    graph.destroy();
    graph = draw(table, place);
  });
}

// Each day of a year is a column, each hour a row; the table below says the same.
const canvas = document.getElementById("cells");

async function drawCells() {
  const response = await fetch(canvas.dataset.source);
  if (!response.ok) return;
  const { days, cells } = await response.json();
  const paint = () => {
    const ratio = devicePixelRatio;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    const [width, height] = [canvas.width / days, canvas.height / 24];
    const pen = canvas.getContext("2d");
    pen.fillStyle = colour("--ground");
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = getComputedStyle(canvas).getPropertyValue("--rank").trim();
    for (const [day, hour, heat] of cells) {
      pen.globalAlpha = 0.25 + 0.15 * heat;
      pen.fillRect(day * width, hour * height, Math.max(1, width), height);
    }
    pen.globalAlpha = 1;
  };
  paint();
  dark.addEventListener("change", paint);
  new ResizeObserver(paint).observe(canvas);
}

if (canvas) await drawCells();
