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
const INSERTS: [&[u8]; 38] = [
    b"/",
    b"//",
    b"/./",
    b"/../",
    b"/.",
    b"/..",
    b"%2e",
    b"%2e%2e/",
    b"..%2f",
    b"%2f",
    b"%2F",
    b"%5c",
    b"\\",
    b"%00",
    b"%0a",
    b"%25",
    b"%252f",
    b"%252e%252e/",
    b";",
    b";x=1",
    b"%3b",
    b"%3f",
    b"?",
    b"?x=/openapi/v1/apps",
    b"#",
    b"%23",
    b"%20",
    b"%e2%82%ac",
    b"%c0%af",
    b"x/..",
    b"%ef%bc%8f",
    b"%u002f",
    b"%09",
    b"%0d",
    b"\xef\xbc\x8f",
    b"\xc3\xa9",
    b"\x80",
    b"\xff",
];

/// Methods, the common ones more often.
const METHODS: [&str; 9] = [
    "GET", "GET", "GET", "POST", "HEAD", "DELETE", "PUT", "PATCH", "OPTIONS",
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

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// The next method and target.
    pub(super) fn next(&mut self) -> (&'static str, Vec<u8>) {
        let method = self.one(&METHODS);
        let mut target = self.one(&PATHS).as_bytes().to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(target.len() + 1);
            match self.below(8) {
                0 => insert(&mut target, at, self.one(&INSERTS)),
                1..=3 if at < target.len() => self.encode(&mut target, at),
                4 if at < target.len() => {
                    let changed = target[at] ^ 0x20;
                    if changed.is_ascii_graphic() {
                        target[at] = changed;
                    }
                }
                5 => {
                    let mut slashes = (0..target.len()).filter(|at| target[*at] == b'/');
                    let slash = slashes.nth(self.below(4));
                    insert(&mut target, slash.unwrap_or(at), self.one(&INSERTS));
                }
                6 => {
                    let other = self.one(&["//", "/%2f", "/./", "/x/../", "/"]);
                    let slashes = (0..target.len()).filter(|at| target[*at] == b'/');
                    // From behind, so that the first stays where it is.
                    for slash in slashes.take(2).collect::<Vec<_>>().into_iter().rev() {
                        target.splice(slash..=slash, other.bytes());
                    }
                }
                _ => target.extend(self.one(&INSERTS)),
            }
        }
        // In absolute form, now and then (RFC 9112 section 3.2.2).
        if self.below(25) == 0 {
            insert(&mut target, 0, b"http://gateway.test");
        }
        (method, target)
    }

    /// Percent-encodes the byte at `at`, once or twice.
    fn encode(&mut self, target: &mut Vec<u8>, at: usize) {
        let byte = target[at];
        let encoded = match self.below(5) {
            0 => format!("%{byte:02x}"),
            1 => format!("%25{byte:02x}"),
            2 => format!("%{byte:02x}").replace('%', "%%"),
            _ => format!("%{byte:02X}"),
        };
        target.splice(at..=at, encoded.bytes());
    }
}

fn insert(target: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    target.splice(at..at, bytes.iter().copied());
}
