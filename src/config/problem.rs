//! What is wrong with a configuration, told so that it can be put right in one go.

use std::{error::Error, fmt};

/// One thing to put right; never holds a secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the key.
    pub key: String,
    /// `config.toml:12`, or the name of the environment variable; `None` when nothing set it.
    pub origin: Option<String>,
    /// What was found there, shortened; `None` when nothing was, or when it is a secret.
    pub got: Option<String>,
    /// What is allowed.
    pub need: String,
    /// What to do about it, where that does not follow from `need`.
    pub remedy: Option<String>,
}

impl Problem {
    /// Writes the problem on one line, its first two columns padded to the given widths.
    fn write(&self, f: &mut fmt::Formatter<'_>, key: usize, origin: usize) -> fmt::Result {
        write!(f, "{:key$}  {:origin$}  ", self.key, self.place())?;
        if let Some(got) = &self.got {
            write!(f, "got {got}, ")?;
        }
        write!(f, "need {}", self.need)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }

    fn place(&self) -> &str {
        self.origin.as_deref().unwrap_or("not set")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0, 0)
    }
}

impl Error for Problem {}

/// A configuration that cannot be used: every problem at once, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The problems, unknown names first; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: fn(&Problem) -> &str| {
            let widths = self.problems.iter().map(|p| text(p).chars().count());
            widths.max().unwrap_or(0)
        };
        let (key, origin) = (width(|p| &p.key), width(Problem::place));

        f.write_str("invalid configuration")?;
        for problem in &self.problems {
            f.write_str("\n  ")?;
            problem.write(f, key, origin)?;
        }
        Ok(())
    }
}

impl Error for Invalid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_aligned_one_a_line() {
        let problem = |key: &str, origin: Option<&str>, remedy: Option<&str>| Problem {
            key: key.into(),
            origin: origin.map(Into::into),
            got: origin.map(|_| "\"x\"".into()),
            need: "a whole number".into(),
            remedy: remedy.map(Into::into),
        };
        let invalid = Invalid {
            problems: vec![
                problem("a.b", Some("config.toml:12"), None),
                problem("section.key", None, Some("set it")),
            ],
        };

        assert_eq!(
            invalid.to_string(),
            "invalid configuration\n  \
             a.b          config.toml:12  got \"x\", need a whole number\n  \
             section.key  not set         need a whole number; set it"
        );
    }
}
