//! Who a request speaks for, in headers that nobody else can set, and signed.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName};
use pingora::{ErrorType, OrErr as _, Result};

use super::value;
use crate::{
    check::entry::Entry,
    gateway::Gateway,
    jws::{IdentityClaims, SignedIdentity},
    token::TokenKind,
};

const SUBJECT_TYPE: HeaderName = HeaderName::from_static("x-dify-subject-type");
const SUBJECT_EMAIL: HeaderName = HeaderName::from_static("x-dify-subject-email");
const SUBJECT_ISSUER: HeaderName = HeaderName::from_static("x-dify-subject-issuer");
const ACCOUNT_ID: HeaderName = HeaderName::from_static("x-dify-account-id");
const CLIENT_ID: HeaderName = HeaderName::from_static("x-dify-client-id");
const TOKEN_ID: HeaderName = HeaderName::from_static("x-dify-token-id");
const SCOPES: HeaderName = HeaderName::from_static("x-dify-scopes");
const IDENTITY: HeaderName = HeaderName::from_static("x-dify-identity");

/// Least life that a cached signed identity must have left when it is sent: it has to
/// survive the way to the upstream and a request that waits there.
const LEAST_IDENTITY_LIFE: Duration = Duration::from_secs(10);

impl Gateway {
    /// Adds the identity once more, signed; signs it at a token's first use.
    pub(super) fn add_signed_identity(&self, headers: &mut HeaderMap, entry: &Entry) -> Result<()> {
        let now = self.clock.now();
        let keys = self.keys.get();
        let keys = &keys.envelopes;
        let made = entry.identity.get();
        if let Some(signed) = made.filter(|it| it.is_fresh(keys, now, LEAST_IDENTITY_LIFE)) {
            headers.insert(IDENTITY, value(signed.as_str().as_bytes())?);
            return Ok(());
        }
        let signed = SignedIdentity::sign(&claims(entry), keys, now)
            .or_err(ErrorType::InternalError, "an identity could not be signed")?;
        headers.insert(IDENTITY, value(signed.as_str().as_bytes())?);
        // Another request may have been first; either is good.
        let _ = entry.identity.set(Box::new(signed));
        Ok(())
    }
}

/// Says who the request speaks for.
pub(super) fn add_identity(headers: &mut HeaderMap, entry: &Entry) -> Result<()> {
    let claims = claims(entry);
    let always = [
        (SUBJECT_TYPE, claims.subject_type),
        (SUBJECT_EMAIL, claims.subject_email),
        (SUBJECT_ISSUER, claims.subject_issuer),
        (TOKEN_ID, claims.token_id.as_str()),
        (SCOPES, claims.scopes),
    ];
    let optional = [
        (ACCOUNT_ID, claims.account_id.as_deref()),
        (CLIENT_ID, claims.client_id),
    ];
    let known = optional
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)));
    for (name, text) in always.into_iter().chain(known) {
        headers.insert(name, value(&visible(text))?);
    }
    Ok(())
}

fn claims(entry: &Entry) -> IdentityClaims<'_> {
    let context = &entry.context;
    let subject = &context.subject;
    IdentityClaims {
        subject_type: subject.kind().subject_type(),
        subject_email: subject.email(),
        subject_issuer: subject.issuer(),
        account_id: subject.account_id().map(|id| id.to_string()),
        client_id: context.client_id.as_deref(),
        token_id: context.token_id.to_string(),
        scopes: scopes_of(subject.kind()),
    }
}

/// The scopes in one string, parted by spaces as OAuth writes them (RFC 6749 section 3.3).
const fn scopes_of(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Account => "full",
        TokenKind::ExternalSso => "apps:run apps:read:permitted-external",
    }
}

/// Returns `text` as it may stand in a header: as it is where all of it is visible ASCII,
/// otherwise percent-encoded (RFC 3986 section 2.1), so that no server has to guess a charset and
/// nobody can smuggle a line break. Decoded once it is the text again: no two are sent alike, and
/// no server trims one.
fn visible(text: &str) -> std::borrow::Cow<'_, [u8]> {
    /// Controls, spaces and the sign of the encoding itself; non-ASCII always is encoded.
    const ENCODED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b' ').add(b'%');
    let plain = |byte: u8| byte != b'%' && (byte.is_ascii_graphic() || byte == b' ');
    if text.bytes().all(plain) && text.trim_matches(' ') == text {
        return text.as_bytes().into();
    }
    percent_encoding::utf8_percent_encode(text, ENCODED)
        .to_string()
        .into_bytes()
        .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_registry_of_scopes_is_what_is_sent() {
        for kind in TokenKind::ALL {
            let names: Vec<_> = kind.scopes().iter().map(|scope| scope.as_str()).collect();
            assert_eq!(scopes_of(kind), names.join(" "));
        }
    }

    #[test]
    fn what_is_not_visible_ascii_is_percent_encoded() {
        for (text, sent) in [
            ("ada+x@example.com", "ada+x@example.com"),
            ("a b", "a b"),
            ("é%", "%C3%A9%25"),
            ("%C3%A9", "%25C3%25A9"),
            ("a\r\nb", "a%0D%0Ab"),
            (" dify:account", "%20dify:account"),
            ("a ", "a%20"),
        ] {
            assert_eq!(&*visible(text), sent.as_bytes(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_is_the_text_when_it_is_decoded(text in "[ -~é%\r\t]{0,12}") {
            let sent = visible(&text);
            prop_assert!(sent.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '));
            prop_assert_eq!(sent.trim_ascii(), &*sent);
            let decoded = percent_encoding::percent_decode(&sent).decode_utf8().unwrap();
            prop_assert_eq!(decoded, &*text);
        }
    }
}
