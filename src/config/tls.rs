//! The files that TLS to a server is spoken with.

use std::path::PathBuf;

use super::Problem;
use super::parse::filled;
use super::reader::Reader;
use crate::tls::{Authorities, ClientTls, Identity, Unusable};

/// The rank from which on a layer is the operator's own; below it, what Dify's `.env` sets for
/// Dify may simply not apply here.
pub(crate) const OPERATORS_OWN: u8 = 2;

/// Where the files are named.
pub(crate) struct TlsKeys {
    /// Authorities that are believed in place of the operating system's.
    pub(crate) ca: &'static str,
    /// The certificate that the gateway shows.
    pub(crate) cert: &'static str,
    /// Its key.
    pub(crate) key: &'static str,
}

/// Reads the files; `None` when one cannot be used, which is recorded.
pub(crate) fn read(reader: &mut Reader<'_>, keys: &TlsKeys) -> Option<ClientTls> {
    let trust = read_authorities(reader, keys.ca)?;
    let [cert, key] = [keys.cert, keys.key].map(|path| file(reader, path));
    let identity = match (cert, key) {
        (None, None) => None,
        (Some(cert), Some(key)) => match Identity::read(&cert, &key) {
            Ok(identity) => Some(identity),
            Err(error) => {
                unusable(reader, keys.cert, &error);
                return None;
            }
        },
        (cert, _) => {
            let (set, missing) = match cert {
                Some(_) => (keys.cert, keys.key),
                None => (keys.key, keys.cert),
            };
            reader.problem(Problem {
                key: missing.to_owned(),
                origin: reader.origin(set),
                got: Some(format!("only {set}")),
                need: format!("both {} and {}, or neither", keys.cert, keys.key),
                remedy: None,
            });
            return None;
        }
    };
    Some(ClientTls { identity, ..trust })
}

/// Reads whom to believe, where nothing is shown; `None` when that cannot be used.
pub(crate) fn read_authorities(reader: &mut Reader<'_>, path: &str) -> Option<ClientTls> {
    let Some(file) = file(reader, path) else {
        return Some(ClientTls::default());
    };
    match Authorities::read(&file) {
        Ok(authorities) => Some(ClientTls {
            authorities: Some(authorities),
            identity: None,
        }),
        Err(error) => {
            unusable(reader, path, &error);
            None
        }
    }
}

/// Refuses files that an operator names where TLS is off: to go on in plain text would be weaker
/// than what was asked for. Returns whether all is well.
pub(crate) fn refuse_idle(reader: &mut Reader<'_>, keys: &TlsKeys, need: &str) -> bool {
    let idle = [keys.ca, keys.cert, keys.key]
        .into_iter()
        .find(|path| reader.layer(path) >= OPERATORS_OWN);
    let Some(path) = idle else { return true };
    reader.problem(Problem {
        key: path.to_owned(),
        origin: reader.origin(path),
        got: Some("it without TLS".to_owned()),
        need: need.to_owned(),
        remedy: None,
    });
    false
}

fn file(reader: &mut Reader<'_>, path: &str) -> Option<PathBuf> {
    reader.optional(path, filled).map(PathBuf::from)
}

fn unusable(reader: &mut Reader<'_>, path: &str, error: &Unusable) {
    reader.problem(Problem {
        key: path.to_owned(),
        origin: reader.origin(path),
        got: Some(error.to_string()),
        need: "a PEM file that can be read and used".to_owned(),
        remedy: None,
    });
}
