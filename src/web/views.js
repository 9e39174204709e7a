// What the page shows. Text gets in as text only: nothing here parses markup.

const main = document.querySelector("main");
const all = (selector, within = document) => within.querySelectorAll(selector);
const find = (selector, within = document) => within.querySelector(selector);

// How each outcome looks, and whether there is anything to try again.
const OUTCOMES = {
  done: { icon: "tick" },
  cancelled: { icon: "stop" },
  expired: { icon: "clock", mood: "warn" },
  limited: { icon: "clock", mood: "warn", again: true },
  offline: { icon: "away", mood: "warn", again: true },
  problem: { icon: "alert", mood: "warn", again: true },
  busy: { icon: "clock", mood: "warn", again: true },
  ended: { icon: "clock", mood: "warn", again: true },
  belongs: { icon: "alert", mood: "warn", again: true },
  sso: { icon: "alert", mood: "warn", again: true },
};

// Writes what is on the screen, in the language of the moment.
let write = () => {};

function speak(tag) {
  document.documentElement.lang = tag;
  for (const element of all("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of all("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
  for (const button of all("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === tag));
  }
  write();
  entitle();
}

const currentView = () => find("[data-view]:not([hidden])");

function entitle() {
  document.title = find("h1", currentView()).textContent;
}

// Changes to a view. Its heading takes the focus, so that a screen reader begins there and the
// keyboard goes on from there.
function show(name, writeView = () => {}, focus = "h1") {
  const view = find(`[data-view="${name}"]`);
  for (const other of all("[data-view]")) other.hidden = other !== view;
  main.setAttribute("aria-busy", String(name === "wait"));
  write = () => writeView(view);
  write();
  entitle();
  announce("");
  if (name !== "wait") {
    scrollTo(0, 0);
    find(focus, view).focus({ preventScroll: true });
  }
}

function fill(view, values) {
  for (const [name, text] of Object.entries(values)) {
    find(`[data-fill="${name}"]`, view).textContent = shown(text ?? "");
  }
}

// What belongs to a character and is not seen: joiners between letters, as many scripts and emoji have
// them (in Malayalam at a word's end too), the two selectors of how an emoji looks, and those of how a
// Chinese character is written, in names above all.
const JOINED =
  /(?!\p{DI})[\p{L}\p{M}\p{Emoji}]\ufe0f?[\u200c\u200d](?=[\p{L}\p{ExtPict}])|\p{Emoji}[\ufe0e\ufe0f]|\u0d4d\u200d|\p{Ideo}[\u{e0100}-\u{e01ef}]/u;

// All else that is not seen, or turns the direction of writing.
const UNSEEN = new RegExp(String.raw`(${JOINED.source})|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{DI}\u2800]`, "gu");

// Somebody else's text so that there is no more and no less to it than one sees: no long spaces, no mark
// without a letter, and no more on one than any script has.
function shown(text) {
  return text
    .replace(/\p{Zs}+/gu, " ")
    .replace(UNSEEN, (_, joined) => joined ?? "\ufffd")
    .replace(/(^|\s)(?=\p{M})/gu, "$1\u25cc")
    .replace(/(\p{M}{4})\p{M}+/gu, "$1");
}

function announce(text) {
  find("#status").textContent = text;
}

function showFault(text) {
  find("#fault").textContent = text;
  find("#code").setAttribute("aria-invalid", String(text !== ""));
}

function showEnter(code = "") {
  find("#code").value = written(code);
  showFault("");
  show("enter", () => {}, "#code");
}

function showChoose(code, withSso) {
  find("#to-sso").hidden = !withSso;
  show("choose", (view) => fill(view, { code }));
}

// `person` is who decides: name, email, and a workspace or an issuer. `login` is what about.
function showApprove(code, person, login, notice) {
  const seen = Date.now();
  show("approve", (view) => {
    const context = person.issuer
      ? say("approve.issuer", { name: person.issuer })
      : person.workspace && say("approve.workspace", { name: person.workspace });
    const named = person.name && person.name !== person.email;
    fill(view, {
      initial: [...(person.name || person.email)][0].toUpperCase(),
      name: named ? person.name : person.email,
      email: named ? person.email : "",
      context,
      client: login.client_id,
      device: login.device_label,
      address: login.created_ip ?? say("approve.unknown"),
      // Only ever a warning. An address that is the same may be a proxy's, or one that was claimed.
      whose: login.same_address === false ? say("approve.elsewhere") : "",
      ago: whenAsked(login, seen),
      code,
    });
    find("#notice").textContent = notice ? say(notice) : "";
    const abilities = login.scopes.map((scope) => TEXTS.en[`scope.${scope}`] ? say(`scope.${scope}`) : scope);
    abilities.push(say("scope.life", { life: duration(login.token_expires_in) }));
    find("#abilities").replaceChildren(...abilities.map(item));
  });
}

function whenAsked(login, seen) {
  if (login.created_seconds_ago === null) return say("approve.unknown");
  return ago(login.created_seconds_ago + (Date.now() - seen) / 1000);
}

function item(text) {
  const element = document.createElement("li");
  element.textContent = text;
  return element;
}

function showOutcome(kind, values) {
  const { icon, mood = "", again = false } = OUTCOMES[kind];
  show("outcome", (view) => {
    view.dataset.outcome = kind;
    view.dataset.mood = mood;
    find("use", view).setAttribute("href", `#${icon}`);
    find("[data-go=again]", view).hidden = !again;
    const wait = values?.wait && duration(values.wait);
    fill(view, { title: say(`${kind}.title`), text: say(`${kind}.text`, { wait }) });
  });
}

// Runs one action at a time. The button that began it shows so and keeps the focus; the others wait.
let working = false;

async function during(button, message, action) {
  if (working) return;
  working = true;
  setBusy(button, true);
  announce(say(message));
  try {
    await action();
  } finally {
    working = false;
    setBusy(button, false);
    announce("");
  }
}

function setBusy(button, busy) {
  main.setAttribute("aria-busy", String(busy));
  button.classList.toggle("busy", busy);
  for (const each of all("main button")) {
    if (busy) each.setAttribute("aria-disabled", "true");
    else each.removeAttribute("aria-disabled");
  }
}

