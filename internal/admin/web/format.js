// How numbers and times are written.
const grouped = new Intl.NumberFormat("en-US");

export const count = (n) => grouped.format(Math.round(n));

export function bytes(n) {
  if (!(n >= 1024)) return `${Math.round(n || 0)} B`;
  const units = ["KB", "MB", "GB", "TB"];
  let i = -1;
  do { n /= 1024; i++; } while (n >= 999.5 && i < units.length - 1);
  return `${n < 99.95 && n % 1 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

// rate keeps small numbers from being rounded away.
export const rate = (n) => (n > 0 && n < 10 ? n.toFixed(1) : count(n));

export function micros(us) {
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${trim(us / 1000)} ms`;
  return `${trim(us / 1e6)} s`;
}

const trim = (n) => (n < 10 ? n.toFixed(1) : count(n));

export const millis = (ms) => (ms === 0 ? "0 ms" : ms < 60000 ? micros(ms * 1000) : span(ms));

// span is a length of time in its one or two largest units.
export function span(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const i = units.findIndex(([, n]) => s >= n);
  const [[a, an], second] = [units[i], units[i + 1]];
  const rest = second ? Math.floor((s % an) / second[1]) : 0;
  return `${Math.floor(s / an)} ${a}${rest ? ` ${rest} ${second[0]}` : ""}`;
}

export const ago = (ms) => (ms < 1500 ? "just now" : `${span(ms)} ago`);

const pad = (n) => String(n).padStart(2, "0");

export function clock(ms, seconds = true) {
  const d = new Date(ms);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}${seconds ? `:${pad(d.getSeconds())}` : ""}`;
}

// percent calls nothing 100 % of which a little is missing.
export const percent = (n) => (n >= 100 || n === 0 ? `${Math.round(n)} %` : `${Math.min(n, 99.9).toFixed(1)} %`);
