//! Bearer tokens: their kinds, their wire format and their hash (`contract/tokens.md`).
//!
//! A plaintext token exists only inside [`BearerToken`], which borrows the bytes of the request
//! header it was parsed from and can be neither printed, stored nor copied.

use std::fmt;

use sha2::{Digest, Sha256};

/// Length of a whole token in bytes: a prefix of 5 and 43 base64url characters.
pub const TOKEN_LENGTH: usize = 48;

/// Length of a prefix, underscore included.
const PREFIX_LENGTH: usize = 5;

/// The scheme of bearer credentials, in any case (RFC 9110 section 11.1).
const SCHEME: &[u8] = b"bearer";

/// Who a token speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// `dfoa_`: a Dify account.
    Account,
    /// `dfoe_`: an e-mail that an identity provider has verified; no Dify account.
    ExternalSso,
}

impl TokenKind {
    /// Every kind there is, for tables.
    pub const ALL: [Self; 2] = [Self::Account, Self::ExternalSso];

    /// Returns the prefix of this kind's tokens.
    ///
    /// Never change one: that would revoke every token in the field.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Account => "dfoa_",
            Self::ExternalSso => "dfoe_",
        }
    }

    /// Returns the kind whose tokens begin with exactly `prefix`.
    pub fn from_prefix(prefix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.prefix() == prefix)
    }

    /// Returns the subject type, as it is spelled on the wire.
    pub const fn subject_type(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::ExternalSso => "external_sso",
        }
    }

    /// Returns what tokens of this kind may do.
    ///
    /// This is the one registry of scopes. They follow from the prefix and never from a database
    /// row, so that a corrupt row cannot raise them.
    pub const fn scopes(self) -> &'static [Scope] {
        match self {
            Self::Account => &[Scope::Full],
            Self::ExternalSso => &[Scope::AppsRun, Scope::AppsReadPermittedExternal],
        }
    }

    /// Tells whether tokens of this kind may do what `needed` stands for.
    pub fn permits(self, needed: Scope) -> bool {
        self.scopes()
            .iter()
            .any(|scope| *scope == Scope::Full || *scope == needed)
    }
}

/// A permission, as Dify's registry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything; satisfies every check.
    Full,
    /// Running apps.
    AppsRun,
    /// Reading the apps that external people are permitted to use.
    AppsReadPermittedExternal,
}

impl Scope {
    /// Returns the scope's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::AppsRun => "apps:run",
            Self::AppsReadPermittedExternal => "apps:read:permitted-external",
        }
    }

    /// Returns the scope that is named `name`.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Full, Self::AppsRun, Self::AppsReadPermittedExternal]
            .into_iter()
            .find(|scope| scope.as_str() == name)
    }
}

/// Why an `Authorization` header gave no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// Absent, empty, another scheme, or something else than spaces after the scheme.
    #[error("no bearer credentials")]
    Absent,
    /// Bearer credentials that cannot be a user-level token: another prefix, length or alphabet.
    #[error("not a user-level token")]
    Malformed,
}

/// A token that has the right form; whether it is live is for [`crate::check`] to say.
pub struct BearerToken<'a> {
    kind: TokenKind,
    bytes: &'a [u8; TOKEN_LENGTH],
}

impl<'a> BearerToken<'a> {
    /// Parses the value of an `Authorization` header (RFC 6750 section 2.1).
    ///
    /// The scheme is compared without regard to case. One or more spaces part it from the token
    /// and trailing spaces are accepted, as Dify does; a tab is not a space.
    ///
    /// # Errors
    ///
    /// [`NoToken::Absent`] when there are no bearer credentials, [`NoToken::Malformed`] when they
    /// cannot be a token of ours.
    pub fn from_authorization(value: &'a [u8]) -> Result<Self, NoToken> {
        Self::parse(credentials(value).ok_or(NoToken::Absent)?)
    }

    /// Parses a token alone.
    ///
    /// # Errors
    ///
    /// [`NoToken::Malformed`] for anything but a known prefix and 43 characters that 32 bytes
    /// encode to.
    pub fn parse(token: &'a [u8]) -> Result<Self, NoToken> {
        let bytes: &[u8; TOKEN_LENGTH] = token.try_into().map_err(|_| NoToken::Malformed)?;
        let (prefix, body) = bytes.split_at(PREFIX_LENGTH);
        let kind = match prefix {
            b"dfoa_" => TokenKind::Account,
            b"dfoe_" => TokenKind::ExternalSso,
            _ => return Err(NoToken::Malformed),
        };
        // 43 characters carry 258 bits for 256, so the last character's low two bits are zero.
        let canonical = body.iter().all(|byte| BASE64URL[usize::from(*byte)] < 64)
            && BASE64URL[usize::from(bytes[TOKEN_LENGTH - 1])].is_multiple_of(4);
        if !canonical {
            return Err(NoToken::Malformed);
        }
        Ok(Self { kind, bytes })
    }

    /// Returns the kind that the prefix says.
    pub const fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Returns the hash under which the token is stored.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.bytes).into())
    }
}

impl fmt::Debug for BearerToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BearerToken({}…)", self.kind.prefix())
    }
}

/// Tells whether an `Authorization` value shows bearer credentials with a user-level prefix,
/// well-formed or not, to anybody at all.
///
/// Routes that speak for `app-` keys use it to refuse user-level tokens without judging others. What
/// reads the value next is more generous than [`BearerToken::from_authorization`]: gunicorn trims it,
/// and an application parts it at any white space, of Latin-1 or of what it decodes to. Here all that
/// is no visible ASCII parts words.
pub fn is_user_level(authorization: &[u8]) -> bool {
    let Some((scheme, rest)) = unspaced(authorization).split_at_checked(SCHEME.len()) else {
        return false;
    };
    let token = unspaced(rest);
    scheme.eq_ignore_ascii_case(SCHEME)
        && token.len() < rest.len()
        && TokenKind::ALL
            .into_iter()
            .any(|kind| token.starts_with(kind.prefix().as_bytes()))
}

/// Cuts off what comes before the first byte of visible ASCII.
fn unspaced(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(u8::is_ascii_graphic);
    start.map_or(&[], |start| &bytes[start..])
}

/// Returns what follows the `Bearer` scheme, or `None` when there is no such scheme.
fn credentials(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) || rest.first() != Some(&b' ') {
        return None;
    }
    let token = trim_spaces(rest);
    (!token.is_empty()).then_some(token)
}

fn trim_spaces(mut bytes: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' '] = bytes {
        bytes = rest;
    }
    bytes
}

/// The SHA-256 of a whole token: the only form in which one is stored.
///
/// It is a lookup secret: whoever has it can find the row, so it is never printed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Wraps a digest that was computed elsewhere.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Reads the form in which the table's column and Redis's keys hold it: 64 lowercase
    /// hexadecimal digits, and nothing else.
    pub fn from_hex(hex: &str) -> Option<Self> {
        const fn digit(byte: u8) -> Option<u8> {
            match byte {
                b'0'..=b'9' => Some(byte - b'0'),
                b'a'..=b'f' => Some(byte - b'a' + 10),
                _ => None,
            }
        }
        let hex: &[u8; 64] = hex.as_bytes().try_into().ok()?;
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(digest))
    }

    /// Returns the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the lowercase hexadecimal form, which Redis keys and the table's column hold.
    pub fn to_hex(&self) -> HexHash {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        HexHash(hex)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A [`TokenHash`] in hexadecimal, on the stack.
#[derive(Clone, Copy)]
pub struct HexHash([u8; 64]);

impl HexHash {
    /// Returns the digits.
    #[expect(
        clippy::expect_used,
        reason = "the bytes come from a table of ASCII digits"
    )]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

impl fmt::Debug for HexHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HexHash(…)")
    }
}

/// The value of every base64url character, 64 for all other bytes.
const BASE64URL: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut table = [64; 256];
    let mut value = 0;
    while value < alphabet.len() {
        table[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    table
};

#[cfg(test)]
mod tests;
