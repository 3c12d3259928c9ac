import { begin, known } from "./data.js";
import { byId, el, svg } from "./dom.js";
import { bytes, count, micros, millis, rate } from "./format.js";
import { Chart } from "./chart.js";
import { showPanels } from "./panels.js";
import { showKeyspaces } from "./keyspaces.js";
import { showSlow } from "./slow.js";
import { beginSessions, refreshSessions } from "./sessions.js";
import { beginActions, showActions, showClosed } from "./actions.js";

const evictions = (p) => [
  { label: "evicted: memory", n: p.by_memory }, { label: "evicted: idle", n: p.by_inactivity },
  { label: "evicted: Redis full", n: p.by_rescue }, { label: "evicted: operator", n: p.by_command },
  { label: "evicted: keyspace", n: p.by_keyspace },
];

const charts = [
  new Chart(byId("memory-chart"), {
    height: 250, format: bytes, quarters: true,
    series: [{ key: "used", label: "used", color: "blue", area: true }],
    limits: (p) => [{ label: "threshold", value: (p.max * p.threshold) / 100, color: "red" }, { label: "target", value: (p.max * p.target) / 100, color: "teal" }],
    bars: { of: evictions, label: "evictions", color: "amber" },
    also: (p) => [["sessions in Redis", count(p.resident)]],
  }),
  new Chart(byId("commands-chart"), { height: 150, format: rate, series: [{ key: "commands", label: "commands/s", color: "blue", area: true }], also: (p) => [["clients", count(p.clients)]] }),
  new Chart(byId("restore-chart"), {
    height: 150, format: micros, nothing: "Nothing was restored in this time", series: [{ key: "p99", label: "p99", color: "violet" }, { key: "p50", label: "p50", color: "teal" }],
    also: (p) => [["restores", count(p.restores)]],
  }),
  new Chart(byId("lag-chart"), { height: 150, format: millis, series: [{ key: "lag", label: "oldest unsaved", color: "amber", area: true }], also: (p) => [["unsaved keys", count(p.dirty)]] }),
];

let range = 0; // chosen by how much there is to see, until somebody chooses
const minutes = 60000;

function rangeNow() {
  const past = known.points.length ? known.live.now - known.points[0].t : 0;
  return range || (past < 6 * minutes ? 5 : 15) * minutes;
}

let shownRange = 0;

function showRanges() {
  const now = rangeNow();
  if (now === shownRange) return;
  shownRange = now;
  byId("ranges").replaceChildren(...[["5 min", 5], ["15 min", 15], ["1 h", 60]].map(([label, n]) =>
    el("button", { "aria-pressed": String(now === n * minutes), onclick: () => { range = n * minutes; showCharts(); } }, label)));
}

// In intervals without a restore there is no latency: the lines have gaps there.
const withGaps = (p) => ({ ...p, p50: p.p50 || null, p99: p.p99 || null });

function showCharts() {
  if (!known.live) return;
  showRanges();
  const points = known.points.map(withGaps);
  for (const chart of charts) chart.show(points, known.live.now - rangeNow(), known.live.now);
}

let listed = false;

begin(() => {
  const closed = showClosed();
  byId("content").hidden = closed || !known.live;
  showPanels(known);
  showKeyspaces(known.live);
  showSlow(known.live);
  showActions();
  if (closed) return;
  if (!known.failedSince) showCharts();
  if (known.live && !listed) {
    listed = true;
    refreshSessions();
  }
});

function themeButton() {
  const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => byId("theme").replaceChildren(svg("svg", { width: 18, height: 18, viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round" },
    ...(isDark() ? [svg("circle", { cx: 12, cy: 12, r: 4.5 }), svg("path", { d: "M12 2v2M12 20v2M2 12h2M20 12h2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4" })]
      : [svg("path", { d: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z" })])));
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("credproxy-theme", root.dataset.theme); } catch { /* for this page only, then */ }
    show();
  });
  system.addEventListener("change", show);
  show();
}

themeButton();
beginActions();
beginSessions();
