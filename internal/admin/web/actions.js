// What operators can do, with the token that the configuration names.
import { ask, askNow, hasToken, known, setToken } from "./data.js";
import { byId, el, setText } from "./dom.js";
import { count } from "./format.js";

export const mayAct = () => Boolean(known.live?.actions && known.live?.unlocked);

const done = {
  evict: (n) => `${count(n)} evicted`, restore: (n) => `${count(n)} restored`, pin: () => "Pinned", unpin: () => "No longer pinned",
  check: (n) => `Checked: ${count(n)} evicted`, sync: (n) => `Everything is in Postgres: ${count(n)} keys saved`,
  pause: () => "Eviction is paused", resume: () => "Eviction goes on",
};

export async function act(name, sessions = []) {
  try {
    const reply = await ask(`/api/actions/${name}`, { sessions });
    say(done[name](reply.done));
  } catch (err) {
    say(err.message, true);
  }
  await askNow();
}

let sayTimer = 0;

function say(text, bad) {
  clearTimeout(sayTimer);
  byId("toast").replaceChildren(el("div", { class: bad ? "bad" : "" }, text));
  sayTimer = setTimeout(() => byId("toast").replaceChildren(), bad ? 8000 : 3500);
}

let told = "";

export function showActions() {
  const lock = byId("lock"), bar = byId("actions"), live = known.live;
  lock.hidden = !live;
  setText(lock, !live?.actions ? "Read-only" : mayAct() ? "Lock" : "Unlock actions");
  const can = mayAct(), paused = Boolean(live?.stats.paused), text = `${can} ${paused}`;
  if (text === told) return;
  told = text;
  bar.hidden = !can;
  const button = (label, name) => el("button", { onclick: (e) => busy(e.currentTarget, name) }, label);
  bar.replaceChildren(button("Check memory now", "check"), button("Save everything now", "sync"),
    paused ? button("Resume eviction", "resume") : button("Pause eviction", "pause"));
}

async function busy(button, name) {
  button.disabled = true;
  await act(name);
  button.disabled = false;
}

// tokenForm asks for the token; a wrong one is told at once.
export function tokenForm(why, after) {
  const input = el("input", { type: "password", autocomplete: "off", placeholder: "Token", "aria-label": "Token" }), problem = el("p", { class: "problem", hidden: true });
  const form = el("form", { onsubmit: async (e) => {
    e.preventDefault();
    setToken(input.value.trim());
    try {
      await ask("/api/live?history=-1");
      after();
    } catch (err) {
      setToken("");
      problem.hidden = false;
      problem.textContent = err.message;
    }
    askNow();
  } }, el("p", { class: "muted" }, why), input, problem, el("div", { class: "row" }, el("button", { class: "primary", type: "submit" }, "Unlock")));
  return form;
}

export function beginActions() {
  const box = byId("unlock");
  byId("lock").addEventListener("click", () => {
    if (mayAct()) {
      setToken("");
      askNow();
      return;
    }
    const body = known.live?.actions
      ? tokenForm("The token is the one of admin { token } in proxy.hcl. It is kept in this tab until it is closed.", () => box.close())
      : el("p", { class: "muted" }, "Nothing can be changed from here: proxy.hcl has no admin { token = env(\"CREDPROXY_TOKEN\") }. Set one and restart to evict, restore, pin and pause from this page.");
    box.replaceChildren(el("h3", {}, known.live?.actions ? "Unlock actions" : "Read-only"), body);
    if (!known.live?.actions) box.append(el("div", { class: "row" }, el("span", { class: "grow" }), el("button", { onclick: () => box.close() }, "Close")));
    box.showModal();
  });
  box.addEventListener("click", (e) => { if (e.target === e.currentTarget) box.close(); });
}

// showClosed takes the place of the page where the server does not let it read.
let closedFor = "";

export function showClosed() {
  const box = byId("closed"), refused = known.refused;
  const closed = Boolean(refused && (refused.status === 401 || refused.status === 403));
  box.hidden = !closed;
  const text = closed ? refused.message : "";
  if (text === closedFor) return closed;
  closedFor = text;
  if (closed && refused.status === 401 && hasToken()) setToken("");
  box.replaceChildren(el("h2", {}, "This page is locked"), !closed ? "" : refused.status === 401
    ? tokenForm("Give the token of admin { token } in proxy.hcl.", () => {}) : el("p", { class: "muted" }, refused.message));
  return closed;
}
