// What the page knows: asked for every two seconds, while somebody looks.
const every = 2000;
const keep = 60 * 60 * 1000;

export const known = { live: null, points: [], events: [], commandRate: null, failedSince: 0, refused: null };

let token = "";
try { token = sessionStorage.getItem("credproxy-token") || ""; } catch { /* kept for this page only, then */ }

export const hasToken = () => token !== "";

export function setToken(value) {
  token = value;
  try {
    if (value) sessionStorage.setItem("credproxy-token", value);
    else sessionStorage.removeItem("credproxy-token");
  } catch { /* as above */ }
}

export class Refused extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

export async function ask(path, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = { headers, cache: "no-store", credentials: "omit" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  } else {
    options.signal = AbortSignal.timeout(8000);
  }
  const reply = await fetch(path, options);
  const value = await reply.json();
  if (!reply.ok) throw new Refused(reply.status, value.error || `status ${reply.status}`);
  return value;
}

let nextPoint = 0, lastEvent = 0, started = 0, before = null;

async function refresh() {
  const live = await ask(`/api/live?history=${nextPoint}&events=${lastEvent}`);
  const begun = live.now - live.stats.uptime_seconds * 1000;
  if (started && begun > started + 5000) { // another process answers: its numbers begin anew
    const missed = nextPoint > 0 || lastEvent > 0;
    [nextPoint, lastEvent, started, before, known.points, known.events] = [0, 0, begun, null, [], []];
    if (missed) return refresh();
  }
  started ||= begun;
  takePoints(live);
  known.events = [...live.events.reverse(), ...known.events].slice(0, 200);
  lastEvent = known.events.length ? known.events[0].id : lastEvent;
  const span = before ? (live.now - before.now) / 1000 : 0;
  if (span > 0.2) known.commandRate = Math.max(0, live.stats.commands - before.stats.commands) / span;
  before = live;
  Object.assign(known, { live, failedSince: 0, refused: null });
}

function takePoints(live) {
  const columns = live.history.points, times = columns.t || [];
  for (let i = 0; i < times.length; i++) {
    known.points.push(Object.fromEntries(Object.entries(columns).map(([name, list]) => [name, list[i]])));
  }
  nextPoint = live.history.next;
  const oldest = live.now - keep;
  while (known.points.length && known.points[0].t < oldest) known.points.shift();
  if (known.commandRate === null && known.points.length > 1) known.commandRate = known.points.at(-1).commands;
}

let changed = () => {}, timer = 0, asking = false;

export async function askNow() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  try {
    await refresh();
  } catch (err) {
    if (err instanceof Refused) known.refused = err;
    else known.failedSince ||= Date.now();
  }
  asking = false;
  changed();
  if (!document.hidden) timer = setTimeout(askNow, every);
}

export function begin(onChange) {
  changed = onChange;
  document.addEventListener("visibilitychange", () => { if (!document.hidden) askNow(); });
  askNow();
}
