// The page System: its state is fetched again after each status of the monitor.
import { follow, refreshPart } from "./page.js";

const EVERY_MS = 5000;

const place = document.getElementById("status");
let fetched = 0;

follow({ types: ["status", "health", "changed"] }, (line) => {
  if (line.type === "status" && Date.now() - fetched < EVERY_MS) return;
  fetched = Date.now();
  refreshPart(place, "/system/status").catch(() => {}); // the stream says that the connection is lost
});
