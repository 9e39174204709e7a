//! `[forward]`: what the upstream is told about the caller.

use super::parse::choice;
use super::reader::Reader;

const AUTHORIZATIONS: &[(&str, ForwardAuthorization)] = &[
    ("keep", ForwardAuthorization::Keep),
    ("strip", ForwardAuthorization::Strip),
];

const IDENTITIES: &[(&str, ForwardIdentity)] = &[
    ("none", ForwardIdentity::None),
    ("headers", ForwardIdentity::Headers),
    ("signed", ForwardIdentity::Signed),
];

/// What goes on with a checked request.
#[derive(Debug, Clone)]
pub struct ForwardConfig {
    /// The caller's own token.
    pub authorization: ForwardAuthorization,
    /// What the check found out.
    pub identity: ForwardIdentity,
}

/// What becomes of the `Authorization` header of a checked request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardAuthorization {
    /// It goes on, so that Dify can resolve the token itself.
    Keep,
    /// It is removed.
    Strip,
}

/// How the upstream learns who is calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardIdentity {
    /// Not at all.
    None,
    /// By `X-Dify-…` headers.
    Headers,
    /// By the same headers and a signed `X-Dify-Identity`.
    Signed,
}

impl ForwardConfig {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            authorization: reader.value("forward.authorization", choice(AUTHORIZATIONS)),
            identity: reader.value("forward.identity", choice(IDENTITIES)),
        }
    }
}
