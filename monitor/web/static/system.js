// The page System: it follows the status of the monitor.
import { follow } from "./page.js";

follow({ types: ["status"] }, () => {});
