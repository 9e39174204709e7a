//! Which paths a rule is about.

/// Which paths a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// This path alone.
    Exact(String),
    /// This path and everything below; kept without a slash at the end.
    AtAndBelow(String),
    /// Everything below, but not the path itself; kept with its slash.
    Below(String),
}

impl Pattern {
    /// Tells whether it is about `path`.
    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::AtAndBelow(base) => path
                .strip_prefix(base.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Below(base) => path.starts_with(base.as_str()),
        }
    }

    /// Reads a rule's `match`, which has been validated.
    pub(super) fn parse(text: &str) -> Self {
        match text.strip_suffix("/*") {
            Some(base) => Self::AtAndBelow(base.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// Spells it as a rule's `match`; what is below a path alone ends with `/*` too, but the path
    /// itself is not among it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Exact(exact) => exact.clone(),
            Self::AtAndBelow(base) => format!("{base}/*"),
            Self::Below(base) => format!("{base}*"),
        }
    }

    /// Tells whether there is a path that both are about.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.root(), other.root());
        match (self, other) {
            (Self::Exact(path), _) => other.matches(path),
            (_, Self::Exact(path)) => self.matches(path),
            _ => below(mine, theirs) || below(theirs, mine),
        }
    }

    /// Returns where it begins, without a slash at the end.
    pub(super) fn root(&self) -> &str {
        match self {
            Self::Exact(path) | Self::AtAndBelow(path) => path,
            Self::Below(path) => path.trim_end_matches('/'),
        }
    }
}

fn below(base: &str, path: &str) -> bool {
    path.strip_prefix(base)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
