//! The envelopes of the SSO branch (`contract/jws.md`, "Claims").

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Envelope, Readable};
use crate::check::entry::ACCOUNT_ISSUER;

/// Life of a state: as long as the login that it is about.
const STATE_LIFE: Duration = Duration::from_secs(900);

/// Life of an assertion and of a grant.
const SHORT_LIFE: Duration = Duration::from_secs(300);

/// What the gateway tells the enterprise service about a sign-in that begins.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsoState {
    /// Empty here; the enterprise service has other uses of the envelope.
    pub redirect_url: String,
    /// Empty here.
    pub app_code: String,
    /// What the sign-in is for: `device_flow`.
    pub intent: String,
    /// The login's user code.
    pub user_code: String,
    /// Makes every state another one.
    pub nonce: String,
    /// Empty here.
    pub return_to: String,
    /// Where the browser comes back to with an assertion.
    pub idp_callback_url: String,
}

/// What the enterprise service asserts about a person whom an identity provider has verified.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectAssertion {
    /// The person's e-mail.
    pub email: String,
    /// The identity provider.
    pub issuer: String,
    /// The login that the person signs in for.
    pub user_code: String,
    /// Lets the assertion be used once.
    pub nonce: String,
}

/// The right of one browser to approve one login, once: the grant cookie.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalGrant {
    /// Who granted it: the console's API.
    pub iss: String,
    /// The person's e-mail.
    pub subject_email: String,
    /// The identity provider.
    pub subject_issuer: String,
    /// The login.
    pub user_code: String,
    /// Lets the grant be used once.
    pub nonce: String,
    /// What the page has to send along with the approval.
    pub csrf_token: String,
}

/// Leaves everything out: codes, nonces and CSRF tokens let others go on.
macro_rules! never_printed {
    ($($envelope:ident)*) => {$(
        impl fmt::Debug for $envelope {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($envelope), "(…)"))
            }
        }
    )*};
}

never_printed!(SsoState SubjectAssertion ApprovalGrant);

impl Envelope for SsoState {
    const AUDIENCE: &'static str = "api.sso.state_envelope";
    const LIFE: Duration = STATE_LIFE;
}

impl Readable for SsoState {
    fn is_well_formed(&self) -> bool {
        has_length(&self.user_code, 32) && has_length(&self.nonce, 128)
    }
}

impl Envelope for SubjectAssertion {
    const AUDIENCE: &'static str = "api.device_flow.external_subject_assertion";
    const LIFE: Duration = SHORT_LIFE;
}

impl Readable for SubjectAssertion {
    fn is_well_formed(&self) -> bool {
        is_email(&self.email)
            && is_issuer(&self.issuer)
            && has_length(&self.user_code, 32)
            && has_length(&self.nonce, 128)
    }
}

impl Envelope for ApprovalGrant {
    const AUDIENCE: &'static str = "api.device_flow.approval_grant";
    const LIFE: Duration = SHORT_LIFE;
}

impl Readable for ApprovalGrant {
    fn is_well_formed(&self) -> bool {
        is_email(&self.subject_email)
            && is_issuer(&self.subject_issuer)
            && has_length(&self.user_code, 32)
            && has_length(&self.nonce, 128)
            && has_length(&self.csrf_token, 128)
    }
}

/// 3 to 320 characters, one `@` with something on either side, no white space and no controls.
fn is_email(text: &str) -> bool {
    let blank = |character: char| character.is_whitespace() || character.is_control();
    let halves = text.split_once('@');
    (3..=320).contains(&text.chars().count())
        && !text.contains(blank)
        && halves
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
}

/// 1 to 255 characters; one that is blank would be nobody, and Dify's own is no provider's.
fn is_issuer(text: &str) -> bool {
    has_length(text, 255)
        && !text.trim().is_empty()
        && text != ACCOUNT_ISSUER
        && !text.contains(char::is_control)
}

/// 1 to `most` characters.
fn has_length(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_e_mail_has_two_halves_and_nothing_blank() {
        let long = format!("{}@x", "a".repeat(318));
        for email in ["a@b", "Ada@Partner.example", "zoë@example", long.as_str()] {
            assert!(is_email(email), "{email}");
        }
        let too_long = format!("{}@x", "a".repeat(319));
        for email in [
            "",
            "a@",
            "@b",
            "ab",
            "aab",
            "a@b@c",
            "a b@c",
            "a@b\n",
            "a@\u{a0}b",
            "a\0@b",
            &too_long,
        ] {
            assert!(!is_email(email), "{email:?}");
        }
    }

    #[test]
    fn an_issuer_is_somebody() {
        assert!(is_issuer("https://idp.example") && is_issuer(&"x".repeat(255)));
        for issuer in ["", "  ", "a\nb", "dify:account", &"x".repeat(256)] {
            assert!(!is_issuer(issuer), "{issuer:?}");
        }
    }
}
