// The session list: search, order, state, and one session in full.
import { ask, known } from "./data.js";
import { byId, el } from "./dom.js";
import { ago, bytes, count } from "./format.js";
import { act, mayAct } from "./actions.js";

const words = { resident: ["good", "in Redis"], evicted: ["b-violet", "in Postgres"], loading: ["warn", "being restored"], evicting: ["warn", "being evicted"], unknown: ["", "looked up next"] };

// Orders stand in the order in which clicks on a heading go through them.
const columns = [
  { label: "Session", orders: [["id", "ascending"]] },
  { label: "State", orders: [], kind: "state-head" },
  { label: "Last used", orders: [["recent", "descending"], ["lru", "ascending"]], kind: "num" },
  { label: "Hits", orders: [["hits", "descending"]], kind: "num hide-small" },
  { label: "Size", orders: [["bytes", "descending"]], kind: "num" },
  { label: "Unsaved", orders: [], kind: "num hide-small" },
];

const view = { order: "recent", search: "", state: "", limit: 25 };
const interval = 4000;
let timer = 0, latest = 0;

export async function refreshSessions() {
  clearTimeout(timer);
  const mine = ++latest;
  try {
    const reply = await ask(`/api/sessions?${new URLSearchParams(view)}`);
    if (mine === latest) showList(reply); // answers may overtake each other
  } catch { /* the page says so already */ }
  if (mine === latest) timer = setTimeout(() => (document.hidden ? (timer = setTimeout(refreshSessions, interval)) : refreshSessions()), interval);
}

function showHead() {
  byId("sessions").tHead.replaceChildren(el("tr", {}, ...columns.map((c) => {
    const now = c.orders.find(([name]) => name === view.order);
    const text = `${c.label}${now ? (now[1] === "ascending" ? " ↑" : " ↓") : ""}`;
    return el("th", { class: c.kind, "aria-sort": now?.[1], scope: "col" }, c.orders.length ? el("button", { onclick: () => sortBy(c) }, text) : text);
  })));
}

function sortBy(column) {
  const at = column.orders.findIndex(([name]) => name === view.order);
  view.order = column.orders[(at + 1) % column.orders.length][0];
  showHead();
  refreshSessions();
}

function showList({ matching, sessions }) {
  const rows = sessions.map((s) => el("tr", { onclick: () => openSession(s) },
    el("td", { class: "id", title: s.id }, el("button", {}, s.id), el("span", { class: "tag" }, s.db ? `${s.keyspace} · db ${s.db}` : s.keyspace), s.pinned && el("span", { class: "tag" }, "pinned")),
    el("td", {}, stateOf(s)),
    el("td", { class: "num" }, s.last_access ? ago(s.idle_ms) : "–"),
    el("td", { class: "num hide-small" }, count(s.hits)),
    el("td", { class: "num" }, s.bytes ? bytes(s.bytes) : "–"),
    el("td", { class: "num hide-small" }, s.dirty ? count(s.dirty) : "–")));
  const focused = document.activeElement?.closest("#sessions tbody tr")?.sectionRowIndex;
  byId("sessions").tBodies[0].replaceChildren(...rows);
  if (focused !== undefined) rows[focused]?.querySelector("button").focus();
  const filtered = view.search || view.state;
  byId("matching").textContent = matching ? `${count(matching)}${filtered ? " match" : ""}` : "";
  byId("more").hidden = matching <= sessions.length || view.limit >= 200;
  const none = byId("no-sessions");
  none.hidden = matching > 0;
  none.textContent = filtered ? "No session matches." : "No sessions yet. They appear when a client touches a key that matches a keyspace of the configuration.";
}

function stateOf(s) {
  const [look, word] = words[s.state] || ["", s.state];
  return el("span", { class: "state", title: word }, el("i", { class: `dot ${look}` }), el("span", {}, word));
}

async function openSession(listed) {
  const box = byId("session");
  showSession(box, listed);
  box.showModal();
  await reload(box, listed);
}

async function reload(box, listed) {
  if (!listed.name) return;
  try {
    showSession(box, await ask(`/api/session?${new URLSearchParams({ name: listed.name })}`));
  } catch (err) {
    showSession(box, listed, err.message);
  }
}

function showSession(box, s, problem) {
  const fact = (label, value) => [el("dt", {}, label), el("dd", {}, value)];
  const button = (label, action, when = true) => when && el("button", { onclick: async () => { await act(action, [s.name]); await reload(box, s); refreshSessions(); } }, label);
  box.replaceChildren(el("h3", {}, s.id),
    el("dl", { class: "facts" }, ...fact("Keyspace", s.keyspace), ...fact("Database", String(s.db)), ...fact("State", stateOf(s)),
      ...fact("Last used", s.last_access ? `${new Date(s.last_access).toLocaleString()} (${ago(s.idle_ms)})` : "–"), ...fact("Hits", count(s.hits)),
      ...fact("Size", s.bytes ? `about ${bytes(s.bytes)}` : "–"), ...fact("Keys", s.keys >= 0 ? count(s.keys) : "–"), ...fact("Unsaved keys", count(s.dirty)),
      ...fact("Pinned", s.pinned ? "yes" : "no")),
    s.eviction ? el("p", { class: "muted" }, s.eviction[0].toUpperCase() + s.eviction.slice(1) + ".") : "",
    problem ? el("p", { class: "problem" }, problem) : "",
    el("div", { class: "row" },
      ...(mayAct() && s.name ? [button("Evict", "evict", s.state !== "evicted"), button("Restore", "restore", s.state !== "resident"), button(s.pinned ? "Unpin" : "Pin", s.pinned ? "unpin" : "pin")] : []),
      el("span", { class: "grow" }), el("button", { onclick: () => box.close() }, "Close")));
}

export function beginSessions() {
  showHead();
  byId("state").append(el("option", { value: "" }, "Any state"), ...Object.entries(words).map(([value, [, word]]) => el("option", { value }, word)));
  byId("state").addEventListener("change", (e) => { view.state = e.target.value; refreshSessions(); });
  let typing = 0;
  byId("search").addEventListener("input", (e) => {
    clearTimeout(typing);
    typing = setTimeout(() => { view.search = e.target.value.trim(); refreshSessions(); }, 200);
  });
  byId("more").addEventListener("click", () => { view.limit = view.limit < 100 ? 100 : 200; refreshSessions(); });
  byId("session").addEventListener("click", (e) => { if (e.target === e.currentTarget) e.currentTarget.close(); });
  if (known.live) refreshSessions();
}
