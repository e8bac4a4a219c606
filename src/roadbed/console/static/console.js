// The page's heartbeat: once a second ask for the parts, patch what differs, feed the charts. When control restarts the
// page says "reconnecting", keeps what it shows, and goes on by itself.

import { Chat } from "./chat.js";
import { Chart } from "./chart.js";
import { morph } from "./morph.js";

const PERIOD_MS = 1000;
const SLOWEST_MS = 5000;
const TIMEOUT_MS = 8000;
const KEPT_S = 300;

const main = document.querySelector("main");
const link = document.getElementById("link");
const tokens = new Chart(document.getElementById("tokens-chart"), document.getElementById("tokens-now"), [
  { name: "tokens/s", at: 1, style: "p50", area: true },
], (value) => value.toFixed(value < 100 ? 1 : 0), (value) => `${+value.toPrecision(2)}`);
const ttft = new Chart(document.getElementById("ttft-chart"), document.getElementById("ttft-now"), [
  { name: "p50", at: 2, style: "p50" },
  { name: "p90", at: 3, style: "p90" },
], (seconds) => (seconds < 0.9995 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`),
(seconds) => (seconds && seconds < 0.9995 ? `${+(seconds * 1000).toPrecision(2)} ms` : `${+seconds.toPrecision(2)} s`));
const chat = new Chat(main.dataset.gateway);

let points = [];
let num_failures = 0;

function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    time.textContent = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
    time.title = at.toLocaleString();
  }
}

function show(answer) {
  for (const [id, html] of Object.entries(answer.fragments)) morph(document.getElementById(id), html, localize);
  const now = answer.points.length ? answer.points.at(-1)[0] : points.length ? points.at(-1)[0] : 0;
  points = points.concat(answer.points).filter((point) => point[0] >= now - KEPT_S);
  tokens.draw(points);
  ttft.draw(points);
  chat.setModels(answer.models);
}

function say(state) {
  if (link.dataset.state === state) return;
  link.dataset.state = state;
  link.textContent = state;
  main.classList.toggle("stale", state !== "live");
}

async function beat() {
  const after = points.length ? points.at(-1)[0] : 0;
  let answer;
  try {
    const response = await fetch(`/console/live?after=${after}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (response.status === 401) {
      location.reload(); // the session is over: the server shows the sign-in page
      return;
    }
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    answer = await response.json();
  } catch {
    num_failures += 1;
    say("reconnecting");
    return;
  }
  num_failures = 0;
  if (answer.build !== main.dataset.build && chat.idle) {
    location.reload(); // another version came up: its scripts belong to its fragments
    return;
  }
  show(answer);
  say("live");
}

async function run() {
  for (;;) {
    const begun = performance.now();
    if (!document.hidden) await beat();
    const period = num_failures ? Math.min(SLOWEST_MS, PERIOD_MS * 1.5 ** num_failures) : PERIOD_MS;
    await new Promise((wake) => setTimeout(wake, Math.max(100, period - (performance.now() - begun))));
  }
}

localize(document);
run();
