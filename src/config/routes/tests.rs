use http::Method;

use super::block::pattern;
use super::*;
use crate::config::value::Value;
use crate::config::{Environment, load};

const REQUIRED: &str = "\
upstream.url = 'http://api:5001'
dify.secret_key = 'k'
postgres.host = 'db'
redis.host = 'cache'
";

/// Reads the blocks, which begin on line 5; problems come back as `key:line`.
fn rules(blocks: &str) -> Result<Vec<RouteRule>, Vec<String>> {
    let text = format!("{REQUIRED}{blocks}");
    match load(Some(("c", &text)), &Environment::default()) {
        Ok(loaded) => Ok(loaded.config.routes),
        Err(invalid) => Err(invalid
            .problems
            .into_iter()
            .map(|p| format!("{} {}", p.key, p.origin.unwrap_or_default()))
            .collect()),
    }
}

#[test]
fn a_full_block_keeps_its_line() {
    let rules = rules(
        "[[routes]]\nmatch = '/a'\npolicy = 'pass'\nunsafe = true\nupstream = 'http://x:1'\n\
         [[routes]]\nmatch = '/b/*'\npolicy = 'bearer'\nmethods = ['GET']\naccept = ['dfoe_']\n\
         scope = 'apps:run'\nupstream = 'web'\n",
    )
    .unwrap();

    assert_eq!(rules.len(), 2);
    let (first, second) = (&rules[0], &rules[1]);
    assert_eq!((first.line, first.pattern.as_str()), (5, "/a"));
    assert!(first.allow_unsafe && first.methods.is_empty());
    assert!(matches!(
        &first.upstream,
        RouteUpstream::Url(Endpoint::Tcp { port: 1, .. })
    ));
    assert_eq!((second.line, second.pattern.as_str()), (10, "/b/*"));
    assert_eq!(second.methods, [Method::GET]);
    assert_eq!(second.accept, [TokenKind::ExternalSso]);
    assert_eq!(second.upstream, RouteUpstream::Web);
    assert!(second.scope.is_some());
}

#[test]
fn problems_of_all_blocks_name_their_lines() {
    let problems = rules(
        "[[routes]]\npolicy = 'open'\nmethod = 'GET'\n\
         [[routes]]\nmatch = '/x'\npolicy = 'pass'\naccept = ['dfoa_']\nmethods = ['get']\n\
         [[routes]]\nmatch = '/x'\npolicy = 'deny'\nupstream = 'api'\n",
    )
    .unwrap_err();

    assert_eq!(
        problems,
        [
            "routes.method c:7",
            "routes.policy c:6",
            "routes.match c:5",
            "routes.accept c:11",
            "routes.methods c:12",
            "routes.upstream c:16",
        ]
    );
}

#[test]
fn routes_are_an_array_of_tables_in_the_file() {
    assert_eq!(rules("routes = 1").unwrap_err(), ["routes c:5"]);
    assert_eq!(rules("[routes]\nmatch = '/x'").unwrap_err(), ["routes c:5"]);

    let env = Environment::from_pairs([("DIFYGATE__ROUTES", "[]")]);
    assert!(load(Some(("c", REQUIRED)), &env).is_err());
}

#[test]
fn patterns_that_no_canonical_path_meets_are_refused() {
    for good in ["/", "/*", "/a", "/a/", "/a/*", "/a.b/c-d", "/ä"] {
        assert!(pattern(&Value::Text(good.into())).is_ok(), "{good}");
    }
    for bad in [
        "", "a", "*", "/a*", "/*/a", "/a/**", "//", "/a//b", "/a//*", "/.", "/../a", "/a/./b",
        "/a%20", "/a?b", "/a#b", "/a;b", "/a\\b", "/a\n",
    ] {
        assert!(pattern(&Value::Text(bad.into())).is_err(), "{bad:?}");
    }
}
