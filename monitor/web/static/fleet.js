// The page Monitors: its list is fetched again as long as somebody looks at it.
import { refreshPart } from "./page.js";

const EVERY_MS = 15_000;

const place = document.getElementById("list");

setInterval(() => {
  if (document.hidden) return;
  refreshPart(place, `/monitors${location.search}`).catch(() => {}); // again in a while
}, EVERY_MS);
