//! Where requests may go, as one value: the rules, and the upstreams that they name.

use std::{collections::HashSet, sync::Arc};

use super::{Backend, Backends};
use crate::{config::RouteRule, route::RouteTable, tls::Unusable};

/// The route table in force and its upstreams. They are replaced together, so that no request finds
/// a rule whose upstream is not there.
#[derive(Debug)]
pub struct Routing {
    /// Which rule applies.
    pub table: RouteTable,
    /// Where to.
    pub backends: Backends,
}

impl Routing {
    /// Puts a table and the upstreams that it names together.
    pub const fn new(table: RouteTable, backends: Backends) -> Self {
        Self { table, backends }
    }

    /// Returns what follows on this with another table, built of `rules`. An upstream that was there
    /// before stays the same, with what is known about it.
    ///
    /// # Errors
    ///
    /// When a new upstream is to be verified and there are no authorities.
    pub fn next(&self, table: RouteTable, rules: &[RouteRule]) -> Result<Self, Unusable> {
        let backends = self.backends.next(rules)?;
        Ok(Self { table, backends })
    }

    /// Returns the upstreams that are not among those of `before`.
    pub fn new_backends(&self, before: &Self) -> Vec<Arc<Backend>> {
        let known: HashSet<_> = before.backends.all().map(Arc::as_ptr).collect();
        let all = self.backends.all();
        let new = all.filter(|backend| !known.contains(&Arc::as_ptr(backend)));
        new.cloned().collect()
    }
}
