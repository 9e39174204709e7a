// User codes: how they are written, and how this tab remembers one.

// No look-alikes: 30 characters (RFC 8628, section 6.1).
const ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXY3456789";
const LENGTH = 8;

// Where the code is kept while its person signs in, for this tab only, and for how long: a code's
// own life, in milliseconds.
const CODE_KEY = "difygate.user_code";
const CODE_LIFE = 900_000;

// A code that stands in a sentence: a word of its own, with its hyphen, or else without, or in two.
const WORDS = ["\\p{Pd}", "", "\\s"].map(
  (gap) => new RegExp(`(?:^|[^\\p{L}\\p{N}\\p{Pd}])([${ALPHABET}]{4}${gap}[${ALPHABET}]{4})(?![\\p{L}\\p{N}\\p{Pd}])`, "u"),
);

// What a person has typed or pasted, without what no code has. Full-width letters are letters.
function significant(text) {
  const upper = text.normalize("NFKC").toUpperCase();
  const word = WORDS.map((form) => form.exec(upper)?.[1]).find(Boolean);
  return [...(word ?? upper)].filter((c) => ALPHABET.includes(c)).join("");
}

// The code in a link, read as the gateway reads one: nobody has looked at it, so that nothing is made up
// for. `""` for what is none.
function linked(text) {
  const bare = text.replace(/[\s-]/g, "");
  return new RegExp(`^[${ALPHABET}]{${LENGTH}}$`, "i").test(bare) ? written(bare) : "";
}

// XXXX-XXXX, as far as it goes.
function written(text) {
  const code = significant(text).slice(0, LENGTH);
  return code.length > 4 ? `${code.slice(0, 4)}-${code.slice(4)}` : code;
}

const isComplete = (text) => significant(text).length >= LENGTH;

// Writes a field's value as a code while it is being typed, and leaves the caret where it was:
// behind as many significant characters as before.
function normalise(field) {
  const before = significant(field.value.slice(0, field.selectionStart)).slice(0, LENGTH).length;
  field.value = written(field.value);
  const caret = before > 4 ? before + 1 : before;
  field.setSelectionRange(caret, caret);
}

const kept = {
  // What a page whose storage is closed remembers until it goes away.
  here: "",
  get code() {
    const stored = storage(() => JSON.parse(sessionStorage.getItem(CODE_KEY)));
    const fresh = stored && Date.now() - stored.at < CODE_LIFE && isComplete(String(stored.code));
    return fresh ? written(stored.code) : this.here;
  },
  set code(code) {
    this.here = code;
    const stored = JSON.stringify({ code, at: Date.now() });
    storage(() => sessionStorage.setItem(CODE_KEY, stored));
  },
  forget() {
    this.here = "";
    storage(() => sessionStorage.removeItem(CODE_KEY));
  },
};

// Tells Dify's sign-in page where to come back to, as its own device page does. Versions differ:
// some read the address, some this entry, which outlives a visit to another sign-in provider.
const RETURN_KEY = "dify_post_login_redirect";

// The page's one address. What stands in the address bar may be spelt otherwise, as `//device`.
const PAGE = "/device";

function signInAddress() {
  const entry = JSON.stringify({ target: PAGE, ts: Date.now() });
  storage(() => sessionStorage.setItem(RETURN_KEY, entry));
  return `/signin?redirect_url=${encodeURIComponent(PAGE)}`;
}

// Back here, the entry has done its work; it must not send somebody here the next time.
const forgetReturn = () => storage(() => sessionStorage.removeItem(RETURN_KEY));

