
// Keeps the page fresh: asks for /status.json and puts what has changed in its place. All texts
// come from the gateway, which has written the page with the same ones.

"use strict";

// Between two questions, and how long an answer may take, in milliseconds.
const INTERVAL = 2_000;
const PATIENCE = 5_000;

const all = (attribute) => document.querySelectorAll(`[${attribute}]`);

// What has not changed is left alone, so that it can be selected and copied.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function set(element, attribute, value) {
  if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
}

// A row as the gateway writes it: its name first, or one cell that says there is none.
function build(row) {
  const tr = document.createElement("tr");
  row.cells.forEach((_, at) => {
    const cell = document.createElement(row.cells.length > 1 && at === 0 ? "th" : "td");
    if (row.cells.length === 1) cell.colSpan = 3;
    else if (at === 0) cell.scope = "row";
    tr.append(cell);
  });
  return tr;
}

function fill(body, rows) {
  const fits = (row, at) => body.rows[at]?.cells.length === row.cells.length;
  if (body.rows.length !== rows.length || !rows.every(fits)) {
    body.replaceChildren(...rows.map(build));
  }
  rows.forEach((row, at) => {
    set(body.rows[at], "data-state", row.state);
    row.cells.forEach((text, cell) => say(body.rows[at].cells[cell], text));
  });
}

// A screen reader hears of changes of state, and not of every number.
let known = document.querySelector("[data-text=status]").textContent;

function announce(status) {
  if (status.status === known) return;
  known = status.status;
  const down = status.dependencies.filter(({ state }) => state === "down").map(({ name }) => name);
  const away = down.length ? `; down: ${down.join(", ")}` : "";
  say(document.querySelector("#news"), `The gateway is ${known}${away}.`);
}

function show(status) {
  const { texts, states, curves, tables } = status.page;
  for (const element of all("data-text")) say(element, texts[element.dataset.text] ?? "");
  for (const element of all("data-state-of")) {
    set(element, "data-state", states[element.dataset.stateOf] ?? "");
  }
  for (const element of all("data-curve")) {
    set(element, "points", curves[element.dataset.curve] ?? "");
  }
  for (const element of all("data-table")) fill(element, tables[element.dataset.table] ?? []);
  announce(status);
}

function isOld(old) {
  document.body.classList.toggle("is-old", old);
  document.querySelector("#silence").hidden = !old;
}

async function refresh() {
  try {
    const options = { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) };
    const response = await fetch("/status.json", options);
    if (!response.ok) throw new Error(response.status);
    show(await response.json());
    isOld(false);
  } catch {
    isOld(true);
  }
}

// One question at a time, and none while nobody looks.
async function keepFresh() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
    if (!document.hidden) await refresh();
  }
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
keepFresh();
