// A line chart over time in SVG: series, dashed limits, bars for what happened, and a cursor that tells the values.
import { el, setText, svg } from "./dom.js";
import { clock } from "./format.js";

const left = 56, right = 10, top = 8, bottom = 22;

// options: height, series [{key, label, color, area, format}], limits(last point) -> [{label, value, color}],
// bars {of(point) -> [{label, n}], label, color}, format of the axis, ceiling(points) -> least top of the axis, steps: axis of quarters
export class Chart {
  constructor(box, options) {
    Object.assign(this, { options, points: [], from: 0, to: 1, width: 0 });
    this.legend = el("div", { class: "legend" });
    this.drawing = svg("svg", { role: "img" });
    this.tip = el("div", { class: "tip", hidden: true });
    this.waiting = el("div", { class: "waiting", hidden: true });
    this.box = el("div", { class: "chart" }, this.legend, this.drawing, this.tip, this.waiting);
    box.append(this.box);
    this.drawing.addEventListener("pointermove", (e) => this.point(e));
    this.drawing.addEventListener("pointerleave", () => this.leave());
    new ResizeObserver(([entry]) => {
      this.width = Math.round(entry.contentRect.width);
      this.draw();
    }).observe(box);
  }

  show(points, from, to) {
    Object.assign(this, { from, to, points: points.filter((p) => p.t >= from - 10000) });
    this.draw();
  }

  x(t) { return left + ((t - this.from) / (this.to - this.from)) * (this.width - left - right); }
  y(v) { return top + (1 - v / this.ceiling) * (this.options.height - top - bottom); }

  draw() {
    if (this.width < 80) return;
    const { height, series } = this.options, points = this.points, last = points.at(-1);
    this.limits = last && this.options.limits ? this.options.limits(last) : [];
    this.ticks = this.scale();
    this.empty = !points.some((p) => series.some((s) => p[s.key] !== null && p[s.key] !== undefined));
    this.waiting.hidden = !this.empty;
    setText(this.waiting, points.length > 1 ? this.options.nothing || "Nothing in this time" : "Collecting: the first points come within seconds");
    this.drawing.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    this.drawing.setAttribute("height", height);
    this.drawing.replaceChildren(...this.axes(), ...this.drawBars(), ...this.drawLimits(), ...series.flatMap((s) => this.drawLine(s)),
      this.cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" }));
    this.tell(last);
    if (this.at !== undefined) this.moveTo(this.at);
  }

  // scale sets the top of the axis and returns its ticks.
  scale() {
    const values = this.points.flatMap((p) => this.options.series.map((s) => p[s.key] || 0));
    const most = Math.max(...values, ...this.limits.map((l) => l.value), this.options.ceiling?.(this.points) || 0, 0);
    if (this.options.quarters && most > 0) {
      const max = this.points.at(-1)?.max || most;
      this.ceiling = Math.max(most, max) * 1.04;
      const step = (this.ceiling > 1.6 * max ? 0.5 : 0.25) * max;
      return Array.from({ length: Math.min(13, Math.floor(this.ceiling / step) + 1) }, (_, i) => i * step);
    }
    const rough = (most || 1) / 3, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    this.ceiling = Math.max(step * Math.ceil((most || 1) / step), step);
    return Array.from({ length: Math.round(this.ceiling / step) + 1 }, (_, i) => i * step);
  }

  axes() {
    const { height, format } = this.options, list = [];
    for (const v of this.empty ? [0] : this.ticks) {
      const y = Math.round(this.y(v)) + 0.5;
      list.push(svg("line", { class: "gridline", x1: left, x2: this.width - right, y1: y, y2: y }),
        svg("text", { x: left - 8, y: y + 3.5, "text-anchor": "end" }, this.empty ? "" : format(v)));
    }
    const span = this.to - this.from, room = Math.max(2, Math.floor((this.width - left) / 90));
    const step = [15, 30, 60, 120, 300, 600, 900, 1200].map((s) => s * 1000).find((s) => span / s <= room) || 1800000;
    for (let t = Math.ceil(this.from / step) * step; t <= this.to; t += step) {
      const x = this.x(t);
      if (x > left + 12 && x < this.width - right - 12) {
        list.push(svg("text", { x, y: height - 5, "text-anchor": "middle" }, clock(t, step < 60000)));
      }
    }
    return list;
  }

  drawLimits() {
    return this.limits.map((l) => svg("line", { class: `limit c-${l.color}`, x1: left, x2: this.width - right, y1: this.y(l.value), y2: this.y(l.value) }));
  }

  drawBars() {
    const { bars, height } = this.options;
    if (!bars) return [];
    const sum = (p) => bars.of(p).reduce((n, b) => n + b.n, 0);
    const most = Math.max(1, ...this.points.map(sum)), floor = height - bottom;
    const wide = Math.max(2, Math.min(6, (this.width / ((this.to - this.from) / 5000)) * 0.7));
    return this.points.filter((p) => sum(p) > 0 && p.t >= this.from).map((p) => {
      const tall = 5 + Math.sqrt(sum(p) / most) * (floor - top) * 0.2;
      return svg("rect", { class: `f-${bars.color}`, x: this.x(p.t) - wide / 2, y: floor - tall, width: wide, height: tall, rx: 1, opacity: 0.85 });
    });
  }

  drawLine(s) {
    const floor = this.y(0), list = [];
    for (const run of this.runs(s.key)) {
      const path = run.map((p, i) => `${i ? "L" : "M"}${this.x(p.t).toFixed(1)} ${this.y(p[s.key]).toFixed(1)}`).join("");
      if (s.area) {
        list.push(svg("path", { class: `area f-${s.color}`, d: `${path}L${this.x(run.at(-1).t).toFixed(1)} ${floor}L${this.x(run[0].t).toFixed(1)} ${floor}Z` }));
      }
      if (run.length === 1) list.push(svg("circle", { class: `f-${s.color}`, cx: this.x(run[0].t), cy: this.y(run[0][s.key]), r: 2 }));
      list.push(svg("path", { class: `line c-${s.color}`, d: path }));
    }
    return list;
  }

  // runs parts the points where some are missing: no line is drawn over what nobody knows.
  runs(key) {
    const list = [];
    let before = -Infinity;
    for (const p of this.points) {
      if (p.t < this.from || p[key] === null || p[key] === undefined) continue;
      if (p.t - before > 30000) list.push([]);
      list.at(-1).push(p);
      before = p.t;
    }
    return list;
  }

  tell(p) {
    const items = this.options.series.map((s) => ({ kind: "", color: s.color, label: s.label, value: p ? this.valueOf(s, p) : "" }));
    for (const l of this.limits) items.push({ kind: " dash", color: l.color, label: l.label, value: this.options.format(l.value) });
    if (this.options.bars) items.push({ kind: " bar", color: this.options.bars.color, label: this.options.bars.label, value: "" });
    const text = JSON.stringify(items);
    if (text === this.told) return;
    this.told = text;
    this.legend.replaceChildren(...items.map((i) => el("span", {}, el("i", { class: `key b-${i.color}${i.kind}` }), i.label, i.value && el("b", {}, i.value))));
  }

  valueOf(s, p) { return p[s.key] === null || p[s.key] === undefined ? "–" : (s.format || this.options.format)(p[s.key]); }

  point(e) {
    const box = this.drawing.getBoundingClientRect();
    this.at = this.from + ((e.clientX - box.left - left) / (this.width - left - right)) * (this.to - this.from);
    this.moveTo(this.at);
  }

  leave() {
    this.at = undefined;
    this.tip.hidden = true;
    this.cursor?.setAttribute("visibility", "hidden");
  }

  moveTo(t) {
    const p = this.points.filter((q) => q.t >= this.from).reduce((best, q) => (!best || Math.abs(q.t - t) < Math.abs(best.t - t) ? q : best), null);
    if (!p) return;
    const x = this.x(p.t);
    for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, x);
    this.cursor.setAttribute("visibility", "visible");
    const lines = this.options.series.map((s) => [s.color, s.label, this.valueOf(s, p)]);
    for (const b of this.options.bars?.of(p) || []) if (b.n) lines.push([this.options.bars.color, b.label, String(b.n)]);
    for (const [label, value] of this.options.also?.(p) || []) lines.push(["grey", label, value]);
    this.tip.replaceChildren(el("div", { class: "muted" }, clock(p.t)),
      ...lines.map(([color, label, value]) => el("div", {}, el("i", { class: `key b-${color}` }), label, el("b", {}, value))));
    this.tip.hidden = false;
    const wide = this.tip.offsetWidth;
    this.tip.style.left = `${x + 14 + wide > this.width ? x - 14 - wide : x + 14}px`;
    this.tip.style.top = "34px";
  }
}
