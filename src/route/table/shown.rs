//! The row that a request fell in, spelt for traces.

use http::Method;

use super::{LocalEndpoint, RouteTable};
use crate::route::CanonicalPath;

impl RouteTable {
    /// Returns the pattern of the row that decides about a path: one of few, whatever clients ask
    /// for. A local endpoint's is its path, ids left out. `None` where no row is about it.
    pub fn pattern_of(&self, path: &CanonicalPath<'_>, method: &Method) -> Option<String> {
        let path = path.as_str();
        if let Some(endpoint) = self.local(path) {
            let named = match endpoint {
                LocalEndpoint::RevokeSession => "{id}",
                LocalEndpoint::DevicePageAsset => "{name}",
                _ => return Some(path.to_owned()),
            };
            let (base, _) = path.rsplit_once('/')?;
            return Some(format!("{base}/{named}"));
        }
        self.configured
            .iter()
            .chain(&self.built_in)
            .find(|rule| rule.matches(path, method))
            .map(|rule| rule.pattern.shown())
    }
}
