// Keyspaces: what each has in Redis, against its own budget where it has one. With a single one, the rest of the page tells all.
import { byId, el } from "./dom.js";
import { bytes, count, percent } from "./format.js";

function row(k, all) {
  const whole = k.max || all, used = el("i");
  used.style.width = `${Math.min(100, (100 * k.bytes) / (whole || 1))}%`;
  return el("tr", {},
    el("td", { class: "id", title: k.name }, k.name),
    el("td", { class: "num" }, count(k.resident)),
    el("td", { class: "num" }, bytes(k.bytes)),
    el("td", { class: "num" }, k.max ? bytes(k.max) : "–"),
    el("td", { class: "share hide-small" }, el("div", { class: `gauge ${k.max && k.bytes > k.max ? "over" : ""}` }, used)),
    el("td", { class: "num hide-small" }, `${percent((100 * k.bytes) / (whole || 1))} ${k.max ? "of its max" : "of all"}`));
}

const heads = [["Keyspace"], ["In Redis", "num"], ["Size", "num"], ["Max", "num"], ["", "hide-small"], ["", "hide-small"]];

export function showKeyspaces(live) {
  const list = live?.keyspaces || [], table = byId("keyspaces");
  byId("keyspaces-panel").hidden = list.length < 2 && !list.some((k) => k.max);
  if (!table.tHead.firstChild) table.tHead.append(el("tr", {}, ...heads.map(([label, look]) => el("th", { class: look, scope: "col" }, label))));
  const all = list.reduce((n, k) => n + k.bytes, 0);
  table.tBodies[0].replaceChildren(...list.map((k) => row(k, all)));
}
