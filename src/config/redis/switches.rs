//! Which of Dify's variables about sentinels and clusters count.
//!
//! Dify goes to `REDIS_SENTINELS` where `REDIS_USE_SENTINEL` is true, else to `REDIS_CLUSTERS` where
//! `REDIS_USE_CLUSTERS` is, and else to `REDIS_HOST`, whatever the lists say. A gateway that went
//! elsewhere would share nothing with it, and hear of none of its revocations. Where a list is handed
//! over without its switch, the list is what was said (`contract/config.md`), and the doubt is said too.

use super::NodeAddress;
use super::{OPERATORS_OWN, node};
use crate::config::Problem;
use crate::config::parse::list;
use crate::config::reader::Reader;
use crate::config::value::{Value, quote};

/// A list of Dify's, and the variable that has to be true for it.
struct Switch {
    /// The key that the list is for.
    path: &'static str,
    /// Dify's variable with the list.
    list: &'static str,
    /// Dify's variable that says whether it counts.
    variable: &'static str,
}

const SENTINELS: Switch = Switch {
    path: "redis.sentinels",
    list: "REDIS_SENTINELS",
    variable: "REDIS_USE_SENTINEL",
};

const CLUSTER: Switch = Switch {
    path: "redis.cluster_nodes",
    list: "REDIS_CLUSTERS",
    variable: "REDIS_USE_CLUSTERS",
};

/// The two lists that stand in for a host.
pub(super) struct Lists {
    pub(super) sentinels: Vec<NodeAddress>,
    pub(super) cluster_nodes: Vec<NodeAddress>,
}

impl Lists {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let own = own_address(reader);
        let (sentinels, cluster) = match (SENTINELS.on(reader), CLUSTER.on(reader)) {
            // Dify goes to one of the two, to its sentinels first, and then the other is nothing to it.
            (Some(true), _) => (Some(true), Some(false)),
            (None, Some(true)) => (Some(false), Some(true)),
            switches => switches,
        };
        Self {
            sentinels: SENTINELS.read(reader, sentinels, own),
            cluster_nodes: CLUSTER.read(reader, cluster, own),
        }
    }
}

impl Switch {
    /// Reads Dify's switch; `None` where it is not set, as with Dify a blank one is.
    fn on(&self, reader: &mut Reader<'_>) -> Option<bool> {
        let given = reader.env().var(self.variable)?.trim();
        if given.is_empty() {
            return None;
        }
        let on = Value::Bare(given.to_owned()).boolean();
        if on.is_none() {
            reader.problem(Problem {
                key: self.path.to_owned(),
                origin: Some(self.variable.to_owned()),
                got: Some(quote(given)),
                need: "true or false".to_owned(),
                remedy: None,
            });
        }
        on
    }

    /// Reads the list, unless it is Dify's and does not count; `own` is a key by which the operator
    /// says where Redis is.
    fn read(
        &self,
        reader: &mut Reader<'_>,
        on: Option<bool>,
        own: Option<&'static str>,
    ) -> Vec<NodeAddress> {
        let origin = reader.found(self.path).map(|found| found.origin);
        let layer = origin.map_or(0, |origin| origin.rank());
        if layer >= OPERATORS_OWN {
            return reader.value(self.path, list(node));
        }
        let is_set = layer > 0;
        match (on, own) {
            (Some(true), None) if is_set => return reader.value(self.path, list(node)),
            (None, None) if is_set => {
                reader.warn(
                    self.path,
                    &format!(
                        "counts, though {} is not set, without which Dify itself goes to its \
                         REDIS_HOST; hand it over as Dify has it",
                        self.variable
                    ),
                );
                return reader.value(self.path, list(node));
            }
            (Some(true), None) => reader.problem(Problem {
                key: self.path.to_owned(),
                origin: Some(self.variable.to_owned()),
                got: Some(format!("true, and no {}", self.list)),
                need: "a list of \"host:port\"".to_owned(),
                remedy: Some(format!(
                    "hand over {} as well, as Dify has it, or set {} to false",
                    self.list, self.variable
                )),
            }),
            (Some(true) | None, Some(own)) if is_set => {
                let place = reader.origin(own).unwrap_or_default();
                reader.warn(
                    self.path,
                    &format!("has no effect beside {own} ({place}), which says where redis is"),
                );
            }
            _ => {}
        }
        Vec::new()
    }
}

/// Finds a key by which the operator, and not Dify's environment, says where Redis is.
fn own_address(reader: &Reader<'_>) -> Option<&'static str> {
    let is_own = |path: &str| reader.layer(path) >= OPERATORS_OWN;
    let names_nodes = |path: &str| {
        let found = reader.found(path);
        found.is_some_and(|found| {
            found.origin.rank() >= OPERATORS_OWN
                && found.value.items().is_none_or(|items| !items.is_empty())
        })
    };
    [SENTINELS.path, CLUSTER.path]
        .into_iter()
        .find(|path| names_nodes(path))
        .or_else(|| {
            ["redis.url", "redis.host"]
                .into_iter()
                .find(|path| is_own(path))
        })
}
