//! The configuration file.

use difygate::{
    config::{Environment, Invalid, load},
    route::{CanonicalPath, Decision, RouteTable, Surface},
};
use http::Method;

/// What has to be there, with a secret that nothing may show.
const REQUIRED: &str = "\
upstream.url = 'http://127.0.0.1:5001'
dify.secret_key = 'a-key-that-nothing-shows'
postgres.host = 'db'
redis.host = 'cache'
";

const SECRET: &str = "a-key-that-nothing-shows";

/// Whatever a file holds is read or refused, the same way each time and without a secret in any
/// message; and no rule opens what is guarded, unless it says `unsafe`.
pub fn config(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    // A secret may be in a file: the fuzzer must not have every device of its machine opened.
    if text.contains("file") || text.contains('\\') || text.contains(SECRET) {
        return;
    }
    let whole = format!("{REQUIRED}{text}");
    let environment = Environment::default();
    let load = |text: &str| load(Some(("config.toml", text)), &environment);
    let loaded = match load(&whole) {
        Ok(loaded) => loaded,
        Err(invalid) => {
            let said = say(&invalid);
            assert!(!said.is_empty() && !said.contains(SECRET), "{said}");
            let again = load(&whole).expect_err("the same again");
            assert_eq!(say(&again), said);
            return;
        }
    };
    assert!(!format!("{loaded:?}").contains(SECRET));
    if text.contains("unsafe") {
        return;
    }
    let surface = Surface {
        legacy_paths: true,
        enterprise: true,
        device_page: true,
    };
    let Ok(table) = RouteTable::new(&loaded.config.routes, surface) else {
        return;
    };
    for target in [
        "/openapi/v1/apps",
        "/openapi/v1/x/y",
        "/inner/api/z",
        "/openapi/v1/account",
    ] {
        let path = CanonicalPath::parse(target.as_bytes()).expect("a path");
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let decision = table.decide(&path, &method);
            assert!(
                !matches!(decision, Ok(Decision::Pass { .. })),
                "{method} {target}"
            );
        }
    }
}

fn say(invalid: &Invalid) -> String {
    let problems: Vec<String> = invalid.problems.iter().map(ToString::to_string).collect();
    problems.join("\n")
}
