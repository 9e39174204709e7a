// From a code to a decision. The views follow one another here and nowhere else.

// What is being decided: the code, who decides, and by which branch. `null` between logins.
let pending = null;

// Ends a login that nobody has decided when its time is over.
let deadline;

// For so long, in milliseconds, after it appears or the window comes to the front, Approve takes no
// click: it was meant for what was there before, as somebody may have arranged.
const SETTLING = 700;
let settling;

// How long it may take to leave, in milliseconds, before the page can be used again.
const LEAVING = 8_000;

// Counts journeys: what an earlier one still finds out no longer matters.
let journey = 0;

// Takes a code as far as it goes: to the choice of a sign-in, or to the decision.
async function proceed(code, notice) {
  const mine = ++journey;
  const stale = () => mine !== journey;
  kept.code = code;
  try {
    const person = await account();
    const [login, extra] = await Promise.all(
      person ? [request(code, person), workspace(person)] : [lookup(code), ssoAvailable()],
    );
    if (stale()) return;
    if (!login.valid) return end("expired");
    if (history.state?.step !== "decide") history.pushState({ step: "decide" }, "");
    if (person) offer({ code, person: { ...person, workspace: extra }, branch: "account" }, login, notice);
    else showChoose(code, extra);
  } catch (error) {
    if (!stale()) fail(error);
  }
}

// Back from SSO: the grant cookie says who and about which code.
async function proceedWithGrant() {
  const mine = ++journey;
  try {
    const grant = await approvalContext();
    const person = { email: grant.subject_email, issuer: grant.subject_issuer, csrf: grant.csrf_token };
    const login = await grantedRequest(person);
    if (mine !== journey) return;
    if (!login.valid) return end("expired");
    kept.code = grant.user_code;
    offer({ code: grant.user_code, person, branch: "sso" }, login);
  } catch (error) {
    if (mine === journey) fail(error, "sso");
  }
}

function offer(decision, login, notice) {
  pending = decision;
  clearTimeout(deadline);
  deadline = setTimeout(() => pending === decision && end("expired"), login.expires_in_remaining * 1000);
  showApprove(decision.code, decision.person, login, notice);
  letSettle();
}

function letSettle() {
  const { dataset } = find("#approve");
  dataset.settling = "";
  clearTimeout(settling);
  settling = setTimeout(() => delete dataset.settling, SETTLING);
}

async function approve() {
  const { code, person, branch } = pending;
  await settle(branch === "sso" ? "approve-external" : "approve", code, person, "done");
}

// Nothing has to be told for SSO: a login that nobody approves ends by itself.
async function cancel() {
  const { code, person, branch } = pending;
  if (branch === "sso") return end("cancelled");
  await settle("deny", code, person, "cancelled");
}

async function settle(path, code, person, outcome) {
  const { branch } = pending;
  try {
    await decide(path, code, person);
    end(outcome);
  } catch (error) {
    // Somebody else has signed in since, or nobody is any more: who it is is shown anew.
    if (branch === "account" && error.status === 401) return proceed(code, "approve.changed");
    fail(error, branch);
  }
}

// The end of a login, or of what can be done about it now.
function end(kind, values) {
  clearTimeout(deadline);
  pending = null;
  if (!OUTCOMES[kind].again) kept.forget();
  showOutcome(kind, values);
}

function fail(error, branch) {
  if (!(error instanceof Refusal)) {
    console.error(error);
    return end("problem");
  }
  const byCode = {
    expired_or_unknown: "expired",
    already_resolved: "expired",
    state_lost: "expired",
    invalid_user_code: "expired",
    user_code_not_pending: "expired",
    approve_in_progress: "busy",
    email_belongs_to_dify_account: "belongs",
    sso_initiate_failed: "sso",
    sso_initiate_missing_url: "sso",
    console_api_url_unset: "sso",
  };
  if (error.status === 0) end("offline");
  else if (error.status === 429) end("limited", { wait: error.retryAfter || 60 });
  else if (Object.hasOwn(byCode, error.code)) end(byCode[error.code]);
  else if (branch === "sso" && error.status === 401) end("ended");
  else end("problem");
}

// Goes on with the code of this tab, or asks for one.
function resume() {
  const code = kept.code;
  if (!code) return enter();
  show("wait");
  return proceed(code);
}

function enter(code) {
  journey += 1;
  clearTimeout(deadline);
  pending = null;
  showEnter(code);
}

function enterAnew() {
  kept.forget();
  if (history.state?.step === "decide") history.back();
  else enter();
}

function start() {
  speak(language.chosen);
  forgetReturn();
  const query = new URLSearchParams(location.search);
  // Read once, then gone from the address bar, the history and whatever is told the address.
  history.replaceState({ step: "enter" }, "", PAGE);
  if (query.has("sso_verified")) return proceedWithGrant();
  if (query.has("sso_error")) {
    return end(query.get("sso_error") === "email_belongs_to_dify_account" ? "belongs" : "sso");
  }
  const code = linked(query.get("user_code") ?? "");
  if (code) kept.code = code;
  return resume();
}

find("#code").addEventListener("input", (event) => {
  if (event.isComposing) return;
  normalise(event.target);
  showFault("");
});
find("#code").addEventListener("compositionend", (event) => normalise(event.target));

find("#enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const code = written(find("#code").value);
  if (isComplete(code)) return during(event.submitter ?? find("#enter button"), "enter.busy", () => proceed(code));
  showFault(say("enter.fault"));
  find("#code").focus();
});

const press = (id, message, action) =>
  find(id).addEventListener("click", (event) => during(event.currentTarget, message, action));

find("#approve").addEventListener("click", ({ currentTarget }) => {
  if (!("settling" in currentTarget.dataset)) return during(currentTarget, "approve.approving", approve);
});
press("#cancel", "approve.cancelling", cancel);
press("#to-account", "choose.busy", () => leaveFor(signInAddress()));
press("#to-sso", "choose.busy", async () => {
  try {
    await leaveFor(await ssoAddress(kept.code));
  } catch (error) {
    fail(error, "sso");
  }
});

// Stays busy: the page is about to go away. Should it be shown again, `pageshow` takes over. Should it
// stay, since somebody has stopped the browser or the answer was no page, nothing says so: then it can be
// used again after a while.
function leaveFor(address) {
  location.assign(address);
  return new Promise((resolve) => {
    addEventListener("pageshow", resolve, { once: true });
    setTimeout(resolve, LEAVING);
  });
}

for (const button of all("[data-go=again]")) {
  button.addEventListener("click", () => during(button, "wait.title", resume));
}
for (const button of all("[data-go=enter]")) button.addEventListener("click", () => working || enterAnew());
for (const button of all("[data-language]")) {
  button.addEventListener("click", () => {
    language.chosen = button.dataset.language;
    speak(button.dataset.language);
  });
}

addEventListener("popstate", ({ state }) => {
  if (state?.step === "decide" && kept.code) resume();
  else enter(kept.code);
});
addEventListener("pageshow", ({ persisted }) => persisted && resume());

addEventListener("focus", letSettle);
document.addEventListener("visibilitychange", letSettle);

// "A minute ago" becomes two.
setInterval(() => currentView().dataset.view === "approve" && write(), 15_000);

start();
