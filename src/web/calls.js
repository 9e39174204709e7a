// What the page asks: the gateway's own endpoints, and Dify's console behind it. All of it is on
// the page's own origin.

const DEVICE = "/openapi/v1/oauth/device";
const CONSOLE = "/console/api";

// How long an answer may take, in milliseconds, and one that the page can do without.
const PATIENCE = 20_000;
const LITTLE_PATIENCE = 4_000;

// An answer that is no success. `status` is 0 where there was none at all.
class Refusal extends Error {
  constructor(status, code = "", retryAfter = 0) {
    super(`${status} ${code}`);
    Object.assign(this, { status, code, retryAfter });
  }
}

// The mode stays what it is by default, "cors": under `no-referrer` any other would send
// `Origin: null` with a POST (Fetch standard, "append a request Origin header").
async function call(method, path, { body, csrf, patience = PATIENCE } = {}) {
  const headers = { Accept: "application/json" };
  if (csrf) headers["X-CSRF-Token"] = csrf;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body && JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(patience),
    });
  } catch {
    throw new Refusal(0);
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  throw new Refusal(response.status, answer?.error ?? answer?.code, retryAfter);
}

// Dify's CSRF cookie, under whichever name it has here.
function csrfToken() {
  const cookies = new Map(document.cookie.split("; ").map((pair) => pair.split(/=(.*)/s, 2)));
  return cookies.get("__Host-csrf_token") ?? cookies.get("csrf_token");
}

// Who is signed in to Dify's console, with the CSRF token of that very session: a decision is sent
// with it, so that it cannot be made in the name of somebody who has signed in since. `null` for
// nobody.
async function account() {
  for (const last of [false, true]) {
    const csrf = csrfToken();
    try {
      const { name, email } = await call("GET", `${CONSOLE}/account/profile`, { csrf });
      return typeof email === "string" ? { name, email, csrf } : null;
    } catch (refusal) {
      if (refusal.status !== 401) throw refusal;
    }
    // A session whose access token has run out is renewed, as Dify's own front end does.
    if (last || !(await succeeds(call("POST", `${CONSOLE}/refresh-token`)))) return null;
  }
}

const succeeds = (call) => call.then(() => true, () => false);

async function workspace({ csrf }) {
  const asked = call("POST", `${CONSOLE}/workspaces/current`, { csrf, patience: LITTLE_PATIENCE });
  const current = await asked.catch(() => null);
  return typeof current?.name === "string" ? current.name : "";
}

// Whether people without an account can sign in, as Dify's own page decides it.
async function ssoAvailable() {
  const asked = call("GET", `${CONSOLE}/system-features`, { patience: LITTLE_PATIENCE });
  const features = await asked.catch(() => null);
  const sso = features?.webapp_auth;
  return Boolean(sso?.enabled && sso.allow_sso && sso.sso_config?.protocol);
}

const withCode = (path, code) => `${DEVICE}/${path}?user_code=${encodeURIComponent(code)}`;

const lookup = (code) => call("GET", withCode("lookup", code));
const request = (code, { csrf }) => call("GET", withCode("request", code), { csrf });
const decide = (path, code, { csrf }) => call("POST", `${DEVICE}/${path}`, { csrf, body: { user_code: code } });

// The SSO branch: the grant cookie says what it is about, the URL nothing.
const approvalContext = () => call("GET", `${DEVICE}/approval-context`);
const grantedRequest = ({ csrf }) => call("GET", `${DEVICE}/request`, { csrf });

// Asks whether SSO can begin, without following it there: a refusal is JSON, which is nothing to
// send a person to.
async function ssoAddress(code) {
  const address = withCode("sso-initiate", code);
  const options = { redirect: "manual", cache: "no-store", signal: AbortSignal.timeout(PATIENCE) };
  const response = await fetch(address, options).catch(() => null);
  if (response?.type === "opaqueredirect") return address;
  const answer = await response?.json().catch(() => null);
  const retryAfter = Number(response?.headers.get("Retry-After")) || 0;
  throw new Refusal(response?.status ?? 0, answer?.error ?? answer?.code, retryAfter);
}

