use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = "dfoa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE";

fn parse(token: &str) -> Result<TokenKind, NoToken> {
    BearerToken::parse(token.as_bytes()).map(|token| token.kind())
}

#[test]
fn the_hash_covers_the_whole_token_prefix_included() {
    let token = BearerToken::parse(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(
        token.hash().to_hex().as_str(),
        "20115e7e0ea36fda39003e5c098ec21c588bb32fdbeec2dcf1f99bef9221383b"
    );
}

#[test]
fn foreign_prefixes_and_wrong_lengths_are_malformed() {
    for token in [
        "",
        "dfoa_",
        "app-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE",
        "dfp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE",
        "DFOA_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE",
        "dfoa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE",
        "dfoa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE",
        "dfoa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "dfoa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+E",
        "dfoa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\u{e9}",
    ] {
        assert_eq!(parse(token), Err(NoToken::Malformed), "{token}");
    }
}

#[test]
fn only_sixteen_last_characters_can_occur() {
    let accepted = (0..=255_u8)
        .filter(|last| {
            let mut token = EXAMPLE.as_bytes().to_vec();
            token[TOKEN_LENGTH - 1] = *last;
            BearerToken::parse(&token).is_ok()
        })
        .count();
    assert_eq!(accepted, 16);
}

#[test]
fn the_scheme_is_case_insensitive_and_spaces_are_generous() {
    for value in [format!("Bearer {EXAMPLE}"), format!("bEARER   {EXAMPLE}  ")] {
        assert!(BearerToken::from_authorization(value.as_bytes()).is_ok());
    }
}

#[test]
fn anything_but_bearer_credentials_is_absent() {
    let tab = format!("Bearer\t{EXAMPLE}");
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer    ",
        "Basic YTpi",
        "Bearerdfoa_",
        EXAMPLE,
        &tab,
    ] {
        let parsed = BearerToken::from_authorization(value.as_bytes()).map(|token| token.kind());
        assert_eq!(parsed, Err(NoToken::Absent), "{value:?}");
    }
}

#[test]
fn user_level_credentials_are_told_from_app_keys() {
    assert!(is_user_level(b"Bearer dfoa_whatever"));
    assert!(is_user_level(b"bearer  dfoe_"));
    assert!(!is_user_level(b"Bearer app-123"));
    assert!(!is_user_level(b"dfoa_"));
}

#[test]
fn what_somebody_else_may_take_for_user_level_credentials_is_recognised() {
    for value in [
        &b"  Bearer dfoa_"[..],
        b"\tBearer dfoa_x ",
        b"BEARER\tdfoe_",
        b"Bearer \t dfoa_",
        b"Bearer\xa0dfoa_",
        b"\x85bearer\x1cdfoa_",
        "Bearer\u{2003}dfoa_".as_bytes(),
    ] {
        assert!(is_user_level(value), "{}", value.escape_ascii());
        // Nothing of that is accepted where a token is needed.
        assert!(BearerToken::from_authorization(value).is_err());
    }
    for value in [
        &b""[..],
        b" \t",
        b"Bearer",
        b"Bearer\t",
        b"Bearerdfoa_",
        b" Basic dfoa_",
        b"Bearer\tapp-1 dfoa_",
    ] {
        assert!(!is_user_level(value), "{}", value.escape_ascii());
    }
}

#[test]
fn scopes_follow_from_the_kind() {
    assert!(TokenKind::Account.permits(Scope::AppsRun));
    assert!(TokenKind::ExternalSso.permits(Scope::AppsRun));
    assert!(!TokenKind::ExternalSso.permits(Scope::Full));
}

#[test]
fn nothing_that_holds_a_token_prints_it() {
    let token = BearerToken::parse(EXAMPLE.as_bytes()).unwrap();
    let printed = format!("{token:?} {:?} {:?}", token.hash(), token.hash().to_hex());
    assert_eq!(printed, "BearerToken(dfoa_…) TokenHash(…) HexHash(…)");
}

proptest! {
    #[test]
    fn every_minted_token_parses(secret in any::<[u8; 32]>(), account in any::<bool>()) {
        let kind = if account { TokenKind::Account } else { TokenKind::ExternalSso };
        let token = format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(secret));
        prop_assert_eq!(parse(&token), Ok(kind));
    }

    #[test]
    fn what_parses_is_what_32_bytes_encode_to(body in "[A-Za-z0-9_-]{43}") {
        let canonical = URL_SAFE_NO_PAD.decode(&body).is_ok();
        prop_assert_eq!(parse(&format!("dfoa_{body}")).is_ok(), canonical);
    }

    #[test]
    fn no_authorization_value_panics(value in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = BearerToken::from_authorization(&value);
        let _ = is_user_level(&value);
    }
}

#[test]
fn a_hash_is_read_back_from_its_one_spelling() {
    let hash = TokenHash::from_digest([0xa5; 32]);
    let hex = hash.to_hex().as_str().to_owned();
    assert_eq!(TokenHash::from_hex(&hex), Some(hash));
    for other in ["", &hex[1..], &hex.to_uppercase(), &hex.replace("a5", "g5")] {
        assert_eq!(TokenHash::from_hex(other), None, "{other}");
    }
}
