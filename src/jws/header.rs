//! The header of a compact JWS (RFC 7515 section 4).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::Refused;

/// A header that was presented, read before anything is verified. What it says is never followed,
/// only compared.
///
/// The library below reads it again, and takes more for a header than RFC 7515 does: an object for
/// the algorithm's name.
pub(super) struct PresentedHeader {
    /// The key's name, if it has one.
    pub(super) kid: Option<String>,
}

impl PresentedHeader {
    /// Reads the header of `jws`: an object whose `alg` is HS256, without extensions that a reader
    /// must understand (section 4.1.11).
    ///
    /// # Errors
    ///
    /// [`Refused::Malformed`] for what is no header, [`Refused::Algorithm`] for another algorithm's
    /// or one with such extensions.
    pub(super) fn of(jws: &str) -> Result<Self, Refused> {
        let header = jws.split('.').next().unwrap_or_default();
        let header = URL_SAFE_NO_PAD
            .decode(header)
            .map_err(|_| Refused::Malformed)?;
        let header: Map<String, Value> =
            serde_json::from_slice(&header).map_err(|_| Refused::Malformed)?;
        match header.get("alg") {
            Some(Value::String(alg)) if alg == "HS256" => {}
            Some(Value::String(_)) => return Err(Refused::Algorithm),
            _ => return Err(Refused::Malformed),
        }
        if header.get("crit").is_some_and(|crit| !crit.is_null()) {
            return Err(Refused::Algorithm);
        }
        match header.get("kid") {
            None | Some(Value::Null) => Ok(Self { kid: None }),
            Some(Value::String(kid)) => Ok(Self {
                kid: Some(kid.clone()),
            }),
            Some(_) => Err(Refused::Malformed),
        }
    }
}
