//! Spellings of paths, made from a seed: the same each time, and others where another is given.

/// What paths are made from: some guarded, some open, some neither.
const PATHS: [&str; 24] = [
    "/openapi/v1/apps",
    "/openapi/v1/apps/x",
    "/openapi/v1/workspaces",
    "/openapi/v1/permitted-external-apps",
    "/openapi/v1/permitted-external-apps/x",
    "/openapi/v1/files/a/b",
    "/openapi/v1/account",
    "/openapi/v1/account/sessions",
    "/openapi/v1/account/sessions/self",
    "/openapi/v1/oauth/device/code",
    "/openapi/v1/_health",
    "/openapi/v1/_version",
    "/openapi/v1/",
    "/openapi/v1",
    "/inner/api/x",
    "/inner/api/x/y",
    "/v1/info",
    "/v1/files/a",
    "/v1/me",
    "/console/api/x",
    "/files/a/b.txt",
    "/files/inner/api/x",
    "/device",
    "/",
];

/// What is put in between.
const INSERTS: [&str; 30] = [
    "/",
    "//",
    "/./",
    "/../",
    "/.",
    "/..",
    "%2e",
    "%2e%2e/",
    "..%2f",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    "%00",
    "%0a",
    "%25",
    "%252f",
    "%252e%252e/",
    ";",
    ";x=1",
    "%3b",
    "%3f",
    "?",
    "?x=/openapi/v1/apps",
    "#",
    "%23",
    "%20",
    "%e2%82%ac",
    "%c0%af",
    "x/..",
];

/// A small generator (xorshift64*): no quality is needed, only the same numbers everywhere.
pub(super) struct Targets(u64);

impl Targets {
    /// Begins at the seed in `DIFYGATE_SEED`, or at one of our own.
    pub(super) fn from_environment() -> (u64, Self) {
        let given = std::env::var("DIFYGATE_SEED").ok();
        let seed = given.map_or(0x5eed, |seed| {
            seed.parse().expect("DIFYGATE_SEED is a number")
        });
        (seed, Self(seed.wrapping_mul(2).wrapping_add(1)))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % bound
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// The next method and target.
    pub(super) fn next(&mut self) -> (&'static str, String) {
        let method = self.one(&["GET", "GET", "GET", "POST", "HEAD", "DELETE", "PUT"]);
        let mut target = self.one(&PATHS).to_owned();
        for _ in 0..self.below(4) {
            let at = self.below(target.len() + 1);
            match self.below(8) {
                0 => target.insert_str(at, self.one(&INSERTS)),
                1..=3 if at < target.len() => self.encode(&mut target, at),
                4 if at < target.len() => {
                    let changed = target.as_bytes()[at] ^ 0x20;
                    if changed.is_ascii_graphic() {
                        target.replace_range(at..=at, &char::from(changed).to_string());
                    }
                }
                5 => {
                    let slash = target
                        .match_indices('/')
                        .nth(self.below(4))
                        .map(|(at, _)| at);
                    target.insert_str(slash.unwrap_or(at), self.one(&INSERTS));
                }
                6 => {
                    target =
                        target.replacen('/', self.one(&["//", "/%2f", "/./", "/x/../", "/"]), 2)
                }
                _ => target.push_str(self.one(&INSERTS)),
            }
        }
        (method, target)
    }

    /// Percent-encodes the character at `at`, once or twice.
    fn encode(&mut self, target: &mut String, at: usize) {
        let byte = target.as_bytes()[at];
        let encoded = match self.below(5) {
            0 => format!("%{byte:02x}"),
            1 => format!("%25{byte:02x}"),
            2 => format!("%{byte:02x}").replace('%', "%%"),
            _ => format!("%{byte:02X}"),
        };
        target.replace_range(at..=at, &encoded);
    }
}
