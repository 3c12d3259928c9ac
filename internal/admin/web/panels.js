// Everything that shows numbers, but for the charts and the session list.
import { byId, el, setText } from "./dom.js";
import { ago, bytes, clock, count, micros, millis, percent, rate, span } from "./format.js";

const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;

// Each tile says which number of CREDPROXY STATS it shows.
const tiles = [
  { label: "Memory", stat: "memory_used_bytes", value: (s) => bytes(s.memory_used_bytes), unit: (s) => `of ${bytes(s.memory_max_bytes)}`,
    sub: (s) => (s.memory_sampled_at ? `${percent(Number(s.memory_percent_used))} · evicts above ${s.memory_threshold} % until ${s.memory_target} %` : "not sampled yet"),
    gauge: true },
  { label: "In Redis", stat: "sessions_resident", value: (s) => count(s.sessions_resident), unit: (s) => (s.sessions_resident === 1 ? "session" : "sessions"),
    sub: (s) => `${count(s.sessions_evicted)} only in Postgres` },
  { label: "Commands", value: (s, k) => (k.commandRate === null ? "–" : rate(k.commandRate)), unit: () => "a second",
    sub: (s) => plural(s.clients, "client", "clients") },
  { label: "Hit rate", value: (s) => (s.hits + s.misses ? percent((100 * s.hits) / (s.hits + s.misses)) : "–"), unit: () => "",
    sub: (s) => `${count(s.misses)} had to wait` },
  { label: "Restore, p99", stat: "restore_p99_us", value: (s) => (s.restores ? micros(s.restore_p99_us) : "–"), unit: () => "",
    sub: (s) => (s.restores ? `p50 ${micros(s.restore_p50_us)}` : "no restores yet") },
  { label: "Unsaved", stat: "dirty_keys", value: (s) => count(s.dirty_keys), unit: (s) => (s.dirty_keys === 1 ? "key" : "keys"),
    sub: (s) => (s.dirty_keys ? `the oldest for ${millis(s.sync_lag_ms)}` : "all is in Postgres"), alert: (s) => s.sync_lag_ms > 10000 },
];

function buildTiles() {
  byId("tiles").append(...tiles.map((t) => {
    t.parts = { value: el("span"), unit: el("small"), sub: el("div", { class: "sub" }) };
    t.box = el("div", { class: "tile" }, el("div", { class: "label" }, t.label), el("div", { class: "value" }, t.parts.value, t.parts.unit));
    if (t.gauge) {
      t.parts.bar = el("i");
      t.parts.marks = [el("b", { title: "target" }), el("b", { title: "threshold" })];
      t.parts.gauge = el("div", { class: "gauge" }, t.parts.bar, ...t.parts.marks);
      t.box.append(t.parts.gauge);
    }
    t.box.append(t.parts.sub);
    return t.box;
  }));
}

function showTiles(known) {
  const s = known.live.stats;
  for (const t of tiles) {
    setText(t.parts.value, t.value(s, known));
    setText(t.parts.unit, t.unit(s));
    setText(t.parts.sub, t.sub(s));
    t.parts.sub.title = t.sub(s);
    if (t.stat) Object.assign(t.parts.value.dataset, { stat: t.stat, raw: s[t.stat] });
    t.box.classList.toggle("alert", Boolean(t.alert?.(s)));
    if (t.gauge) {
      t.parts.bar.style.width = `${Math.min(100, Number(s.memory_percent_used))}%`;
      t.parts.gauge.classList.toggle("over", Number(s.memory_percent_used) > s.memory_threshold);
      t.parts.marks[0].style.left = `${s.memory_target}%`;
      t.parts.marks[1].style.left = `${s.memory_threshold}%`;
    }
  }
}

let findingsTold = "";

function showFindings(known) {
  const list = known.failedSince && known.live
    ? [{ level: "error", text: `The proxy does not answer since ${clock(known.failedSince)}. What you see is from before; the page goes on asking.` }]
    : known.failedSince ? [{ level: "error", text: "The proxy does not answer. The page goes on asking." }]
    : known.live && !known.refused ? known.live.findings : [];
  const text = JSON.stringify(list);
  if (text === findingsTold) return;
  findingsTold = text;
  byId("findings").replaceChildren(...list.map((f) => {
    const colon = f.text.indexOf(": ");
    return el("p", { class: `finding ${f.level}` }, el("strong", {}, colon > 0 ? f.text.slice(0, colon) : ""), colon > 0 ? f.text.slice(colon) : f.text);
  }));
}

const states = [
  ["In Redis", "sessions_resident", "blue"], ["Only in Postgres", "sessions_evicted", "violet"],
  ["Being restored", "sessions_loading", "teal"], ["Looked up when next used", "sessions_unknown", "grey"],
];

function showStates(s) {
  const box = byId("states");
  if (!box.firstChild) {
    box.append(el("div", { class: "stack" }, ...states.map(([, , color]) => el("i", { class: `b-${color}` }))),
      el("dl", { class: "facts" }, ...states.flatMap(([label, stat, color]) => [el("dt", {}, el("i", { class: `dot b-${color}` }), label), el("dd", { "data-stat": stat })]),
        el("dt", {}, "All"), el("dd", { "data-stat": "sessions_tracked" })));
  }
  const [bar, list] = box.children;
  states.forEach(([, stat], i) => {
    bar.children[i].style.flexGrow = s[stat];
    bar.children[i].classList.toggle("none", !s[stat]);
  });
  for (const dd of list.querySelectorAll("dd")) {
    setText(dd, count(s[dd.dataset.stat]));
    dd.dataset.raw = s[dd.dataset.stat];
  }
}

function card(box, name, pulse, now, facts, good, bad) {
  const word = !pulse.known ? "not asked yet" : pulse.up ? "answers" : `away for ${span(now - pulse.since)}`;
  const look = !pulse.known ? "" : pulse.up ? "good" : "bad";
  box.replaceChildren(
    el("div", { class: "card-title" }, el("i", { class: `dot ${look}` }), el("h2", {}, name), el("span", { class: "word" }, word)),
    el("dl", { class: "facts" }, ...facts.flatMap(([label, value]) => [el("dt", {}, label), el("dd", {}, value)])),
    el("p", { class: `consequence ${look}` }, look === "bad" ? bad : good, pulse.error && el("code", {}, pulse.error)));
}

function showStores(live) {
  const s = live.stats, waiting = s.dirty_keys ? ` ${plural(s.dirty_keys, "key waits", "keys wait")} to be saved.` : "";
  card(byId("redis-card"), "Redis", live.redis, live.now, [
    ["Round trip", live.redis.up ? micros(live.redis.latency_us) : "–"],
    ["maxmemory", live.redis_maxmemory ? bytes(live.redis_maxmemory) : "none"],
    ["Policy", live.redis_policy || "–"],
    ["Memory sampled", s.memory_sampled_at ? ago(live.now - s.memory_sampled_at) : "never"],
  ], "Serves every session that is in it.", "Commands are answered with an error at once.");
  card(byId("postgres-card"), "Postgres", live.postgres, live.now, [
    ["Round trip", live.postgres.up ? micros(live.postgres.latency_us) : "–"],
    ["Keys saved", count(s.saved_keys)],
    ["Keys to save", count(s.dirty_keys)],
    ["Failed restores", count(s.restore_errors)],
  ], "Holds every session; evicted ones come back from here.", `Nothing can be evicted or restored.${waiting}`);
}

const looks = { info: "", warn: "warn", error: "bad" };
const colors = { evict: "b-amber", restore: "b-teal" };
let eventsTold = 0;

function showEvents(known) {
  const latest = known.events[0]?.id || 0;
  byId("no-events").hidden = known.events.length > 0;
  if (latest === eventsTold) return;
  eventsTold = latest;
  byId("events").replaceChildren(...known.events.map((e) => el("li", {},
    el("i", { class: `dot ${looks[e.level]} ${e.level === "info" ? colors[e.kind] || "" : ""}` }),
    el("time", { datetime: new Date(e.at).toISOString() }, clock(e.at)), el("span", { class: "text" }, e.text))));
}

function showCounters(s) {
  const list = document.querySelector("#counters dl");
  for (const [name, value] of Object.entries(s)) {
    let dd = list.querySelector(`dd[data-stat="${CSS.escape(name)}"]`);
    if (!dd) {
      dd = el("dd", { "data-stat": name });
      list.append(el("div", {}, el("dt", {}, name), dd));
    }
    dd.dataset.raw = value;
    setText(dd, typeof value === "number" && Number.isInteger(value) && !name.endsWith("_at") ? count(value) : String(value));
  }
}

function showTop(known) {
  const live = byId("live"), away = known.failedSince > 0;
  const worst = known.live?.findings.some((f) => f.level === "error") ? "bad" : known.live?.findings.some((f) => f.level === "warning") ? "warn" : "good";
  live.firstChild.className = `dot ${away ? "bad" : known.live ? worst : ""}`;
  setText(live.lastChild, away ? "no answer" : known.live ? (known.live.ready ? "live" : "not ready") : "connecting");
  if (known.live) setText(byId("version"), `${known.live.version} · up ${span(known.live.stats.uptime_seconds * 1000)}`);
  document.body.classList.toggle("stale", away);
}

export function showPanels(known) {
  if (!tiles[0].box) buildTiles();
  showTop(known);
  showFindings(known);
  if (!known.live) return;
  showTiles(known);
  showStates(known.live.stats);
  showStores(known.live);
  showEvents(known);
  showCounters(known.live.stats);
}
