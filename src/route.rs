//! Which rule a request falls under: a canonical path, one table, one decision
//! (`contract/surfaces.md`). The query never takes part.

mod path;
mod pattern;
mod rule;
mod table;

pub use path::{CanonicalPath, NotCanonical};
pub use rule::{BearerRule, LocalEndpoint, Upstream};
pub use table::{Decision, Generation, PAGE_ASSETS, RouteTable, Surface};
