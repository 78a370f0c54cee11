// The player of a clip: one at a time, with a cursor that runs over the spectrogram.
import { t } from "./strings.js";
import { say } from "./events_review.js";

let playing = null;

function draw(row) {
  const audio = row.querySelector("audio");
  const cursor = row.querySelector(".cursor");
  cursor.setAttribute("x1", audio.currentTime);
  cursor.setAttribute("x2", audio.currentTime);
  if (!audio.paused) requestAnimationFrame(() => draw(row));
}

function showState(row) {
  const button = row.querySelector("[data-act=play]");
  const isPaused = row.querySelector("audio").paused;
  button.querySelector("use").setAttribute("href", isPaused ? "#icon-play" : "#icon-pause");
  button.title = t(isPaused ? "events.play" : "events.pause");
  draw(row);
}

export function preparePlayer(row) {
  const audio = row.querySelector("audio");
  if (!audio) return row.querySelector("[data-act=play]").remove();
  audio.addEventListener("play", () => {
    if (playing && playing !== audio) playing.pause();
    playing = audio;
    showState(row);
  });
  for (const event of ["pause", "ended"]) audio.addEventListener(event, () => showState(row));
  audio.addEventListener("seeked", () => draw(row));
  audio.addEventListener("error", () => say(t("events.no_sound")));
  const picture = row.querySelector(".spectrogram");
  picture.addEventListener("click", (click) => {
    const edges = picture.getBoundingClientRect();
    const length = picture.querySelector("svg").viewBox.baseVal.width;
    const seconds = ((click.clientX - edges.left) / edges.width) * length;
    if (audio.readyState) audio.currentTime = seconds;
    else {
      audio.addEventListener("loadedmetadata", () => { audio.currentTime = seconds; }, { once: true });
      audio.load();
    }
    audio.play().catch(() => {});
  });
}

export function togglePlay(row) {
  const audio = row.querySelector("audio");
  if (!audio) return say(t("events.no_sound"));
  row.querySelector("details").open = true;
  if (audio.paused) audio.play().catch(() => {});
  else audio.pause();
}
