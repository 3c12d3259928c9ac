// The slow log: commands that waited long for their session, and for what.
import { byId, el, setText } from "./dom.js";
import { ago, clock, micros } from "./format.js";

// In the order in which a restore goes through them.
const parts = [
  ["queue", "its turn", "grey"], ["unsaved", "changes to be saved", "amber"], ["eviction", "an eviction to end", "red"],
  ["room", "room in memory", "amber"], ["postgres", "Postgres", "violet"], ["redis", "Redis", "teal"],
];

const nameOf = (part) => parts.find(([name]) => name === part)?.[1] || part;

function bar(w) {
  const title = parts.filter(([name]) => w.parts_us[name]).map(([name, label]) => `${label}: ${micros(w.parts_us[name])}`).join(", ");
  return el("div", { class: "stack", title }, ...parts.filter(([name]) => w.parts_us[name] > w.took_us / 100).map(([name, , color]) => {
    const piece = el("i", { class: `b-${color}` });
    piece.style.flexGrow = w.parts_us[name];
    return piece;
  }));
}

function row(w, now) {
  return el("tr", {},
    el("td", { title: clock(w.at) }, ago(now - w.at - w.took_us / 1000)),
    el("td", { class: "id", title: w.session }, w.session || "–"),
    el("td", {}, w.command, w.failed && el("span", { class: "tag failed" }, "failed")),
    el("td", { class: "num" }, micros(w.took_us)),
    el("td", { class: "hide-small" }, nameOf(w.part)),
    el("td", { class: "parts hide-small" }, bar(w)));
}

const heads = [["When"], ["Session"], ["Command"], ["Waited", "num"], ["Mostly for", "hide-small"], ["", "hide-small"]];

export function showSlow(live) {
  if (!live) return;
  const table = byId("slow"), none = byId("no-slow"), limit = micros(live.slow_us);
  if (!table.tHead.firstChild) table.tHead.append(el("tr", {}, ...heads.map(([label, look]) => el("th", { class: look, scope: "col" }, label))));
  table.hidden = live.slow.length === 0;
  none.hidden = live.slow.length > 0;
  setText(none, live.slow_us ? `No command has waited ${limit} for its session.` : "The slow log is off: log { slow = \"100ms\" } in proxy.hcl turns it on.");
  setText(byId("slow-what"), live.slow.length ? `commands that waited ${limit} or longer for their session` : "");
  table.tBodies[0].replaceChildren(...live.slow.map((w) => row(w, live.now)));
}
