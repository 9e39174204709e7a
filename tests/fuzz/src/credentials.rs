//! `Authorization`, and the two codes of the device flow.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use difygate::{
    device::{DeviceCode, UserCode},
    token::{BearerToken, NoToken, TokenHash, TokenKind, is_user_level},
};

/// A token is what 32 bytes encode to behind a known prefix, and only that; another token has
/// another hash. What an application could take for one is recognised, whatever parts its words.
pub fn authorization(value: &[u8]) {
    if as_python_splits(value) {
        assert!(is_user_level(value), "{}", value.escape_ascii());
    }
    let parsed = BearerToken::from_authorization(value);
    let expected = reference(value);
    match (&parsed, expected) {
        (Ok(token), Some((kind, text))) => {
            assert_eq!(token.kind(), kind);
            assert!(is_user_level(value));
            let hash = token.hash();
            assert_eq!(
                BearerToken::parse(text).expect("the token alone").hash(),
                hash
            );
            assert_eq!(TokenHash::from_hex(hash.to_hex().as_str()), Some(hash));
            assert!(!format!("{token:?} {hash:?}").contains(&*String::from_utf8_lossy(&text[5..])));
            for at in [0, 4, 5, 46, 47] {
                let mut other = text.to_vec();
                other[at] ^= 4;
                assert_ne!(
                    BearerToken::parse(&other).map(|other| other.hash()).ok(),
                    Some(hash)
                );
            }
        }
        (Err(NoToken::Absent | NoToken::Malformed), None) => {}
        _ => panic!("{parsed:?}"),
    }
}

/// Reads the value by another way than the parser does.
fn reference(value: &[u8]) -> Option<(TokenKind, &[u8])> {
    let text = str::from_utf8(value).ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    let token = rest.trim_matches(' ');
    let kind = TokenKind::from_prefix(token.get(..5)?)?;
    let random = URL_SAFE_NO_PAD.decode(&token[5..]).ok()?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && random.len() == 32;
    fits.then_some((kind, token.as_bytes()))
}

/// Whether Python's `split(None, 1)` finds a user-level token: the characters of a header are those of
/// Latin-1 to a WSGI application (PEP 3333).
fn as_python_splits(value: &[u8]) -> bool {
    let text: String = value.iter().copied().map(char::from).collect();
    let is_space = |c: char| c.is_whitespace() || matches!(c, '\x1c'..='\x1f');
    let Some((scheme, token)) = text.trim_start_matches(is_space).split_once(is_space) else {
        return false;
    };
    let token = token.trim_start_matches(is_space);
    scheme.eq_ignore_ascii_case("bearer")
        && TokenKind::ALL
            .iter()
            .any(|kind| token.starts_with(kind.prefix()))
}

/// What a person types is a code in one spelling or no code at all.
pub fn codes(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Some(code) = UserCode::parse(text) {
        let shown = code.to_text();
        assert_eq!((shown.len(), shown.find('-')), (9, Some(4)));
        assert!(
            shown
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        );
        assert!(!shown.contains(['0', 'O', '1', 'I', '2', 'Z']));
        for spelling in [shown.clone(), shown.to_lowercase(), shown.replace('-', " ")] {
            assert_eq!(UserCode::parse(&spelling).as_ref(), Some(&code));
        }
        assert!(UserCode::parse(&format!("{text}A")).is_none());
        assert!(!format!("{code:?}").contains(&shown[..4]));
    }
    if let Some(code) = DeviceCode::parse(text) {
        assert_eq!(code.as_str(), text);
        assert_eq!(text.len(), 35);
        assert!(text.is_ascii() && !text.contains(['{', '}', ':', ' ', '\n']));
        assert!(!format!("{code:?}").contains(&text[3..]));
    }
    if let Some(hash) = TokenHash::from_hex(text) {
        assert_eq!(hash.to_hex().as_str(), text);
    }
}
