//! Where browsers say that a request comes from, against the URL standard.

use difygate::http::origin::Origin;
use url::Url;

/// What hosts are made of, with their ports.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._:[]".contains(character)
}

/// Longest host with its port, in bytes.
const LONGEST: usize = 260;

/// Any text as an `Origin`, a `Referer` and a `Host`: what is taken is what a browser would see in
/// it, and nobody else something else.
pub fn origin(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let browsers = Url::parse(text).ok();
    let of_the_web = browsers.filter(|url| matches!(url.scheme(), "http" | "https"));
    let standard = of_the_web
        .as_ref()
        .map(|url| url.origin().ascii_serialization());

    let page = Origin::of_page(text);
    let field = Origin::parse(text);
    if let Some(page) = &page {
        let url = of_the_web.as_ref().expect("a page on the web");
        assert_eq!(Some(page.as_str()), standard.as_deref());
        assert!(url.username().is_empty() && url.password().is_none());
        assert!(field.is_none() || field.as_ref() == Some(page));
    }
    if let Some(origin) = &field {
        assert_eq!(page.as_ref(), Some(origin));
        assert_eq!(Origin::parse(origin.as_str()).as_ref(), Some(origin));
        let behind = format!("{text}/a?b=https://evil.example#@evil.example");
        assert_eq!(Origin::of_page(&behind).as_ref(), Some(origin));
        let (scheme, host) = text.split_once("://").expect("a scheme");
        assert_eq!(Origin::of_host(scheme, host).as_ref(), Some(origin));
        for other in [
            format!("{text}/"),
            format!("{text}@evil.example"),
            format!("{text}\\@evil.example"),
            format!("{text}, {text}"),
            format!(" {text}"),
            format!("blob:{text}"),
        ] {
            assert_eq!(Origin::parse(&other), None, "{other:?}");
        }
    }
    // What a browser sends is taken: the standard's own spelling of a plain host.
    if let Some(standard) = standard {
        let (_, host) = standard.split_once("://").expect("a scheme");
        let plain = host.chars().all(is_plain) && host.len() <= LONGEST;
        assert_eq!(Origin::parse(&standard).is_some(), plain, "{standard:?}");
    }
    if let Some(asked) = Origin::of_host("http", text) {
        assert!(text.chars().all(is_plain) && (1..=LONGEST).contains(&text.len()));
        assert_eq!(Origin::parse(&format!("http://{text}")), Some(asked));
    }
}
