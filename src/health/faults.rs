//! What has gone wrong lately, for somebody who looks at the status page.
//!
//! The log has all of it; this is the last of it, bounded, and with nothing in it that belongs to a
//! person or opens a door.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::clock::{Clock, Timestamp};

/// Most faults that are kept. What is older is in the log.
const MAX_FAULTS: usize = 20;

/// Most characters of a fault that are kept.
const MAX_LENGTH: usize = 200;

/// Longest word that is kept, in characters: names and addresses are shorter, tokens and envelopes
/// longer.
const MAX_WORD: usize = 40;

/// Something that went wrong, once or several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What, in one line.
    pub what: String,
    /// When for the first time since it is kept.
    pub first: Timestamp,
    /// When for the last time.
    pub last: Timestamp,
    /// How often.
    pub times: u64,
}

/// The last faults, the newest first.
pub struct Faults {
    clock: Arc<dyn Clock>,
    newest_first: Mutex<VecDeque<Fault>>,
}

impl Faults {
    /// Starts with none.
    pub fn new(clock: &Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::clone(clock),
            newest_first: Mutex::default(),
        })
    }

    /// Notes a fault; one that is known already is counted.
    pub fn note(&self, what: &str) {
        let (what, now) = (harmless(what), self.clock.now());
        let faults = self.newest_first.lock();
        let mut faults = faults.unwrap_or_else(PoisonError::into_inner);
        let known = faults.iter().position(|fault| fault.what == what);
        let mut fault = known.and_then(|at| faults.remove(at)).unwrap_or(Fault {
            what,
            first: now,
            last: now,
            times: 0,
        });
        fault.last = now;
        fault.times += 1;
        faults.push_front(fault);
        faults.truncate(MAX_FAULTS);
    }

    /// Returns them, the newest first.
    pub fn newest_first(&self) -> Vec<Fault> {
        let faults = self.newest_first.lock();
        let faults = faults.unwrap_or_else(PoisonError::into_inner);
        faults.iter().cloned().collect()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults(…)")
    }
}

/// Takes the first line (Postgres quotes rows in the others), and out of it what might be
/// somebody's: addresses of people, tokens, codes, queries.
fn harmless(what: &str) -> String {
    let line = what.lines().next().unwrap_or_default();
    let words: Vec<&str> = line
        .split_whitespace()
        .map(|word| if is_telling(word) { "…" } else { word })
        .collect();
    words.join(" ").chars().take(MAX_LENGTH).collect()
}

fn is_telling(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let user_code = bare.len() == 9
        && bare.as_bytes()[4] == b'-'
        && bare
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_uppercase() || byte.is_ascii_digit());
    user_code || word.contains(['@', '?', '=', '%']) || word.chars().count() > MAX_WORD
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn the_same_fault_is_counted_and_the_oldest_is_forgotten() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(0)));
        let faults = Faults::new(&(Arc::clone(&clock) as Arc<dyn Clock>));

        faults.note("redis is gone");
        for number in 0..MAX_FAULTS - 1 {
            faults.note(&format!("fault {number}"));
        }
        clock.advance(Duration::from_secs(5));
        faults.note("redis is gone");

        let kept = faults.newest_first();
        assert_eq!(kept.len(), MAX_FAULTS);
        assert_eq!((kept[0].what.as_str(), kept[0].times), ("redis is gone", 2));
        assert_eq!(kept[0].first.until(kept[0].last), Duration::from_secs(5));
        faults.note("one more");
        let kept = faults.newest_first();
        assert_eq!(kept.len(), MAX_FAULTS);
        assert!(kept.iter().all(|fault| fault.what != "fault 0"));
    }

    #[test]
    fn nothing_that_is_somebodys_is_kept() {
        let long = "a".repeat(MAX_WORD + 1);
        for secret in [
            "ada@example.com",
            "(email)=(ada)",
            "/device?user_code=X",
            "ABCD-2345",
            "'ABCD-2345':",
            "dfoa_0123456789012345678901234567890123456",
            &long,
        ] {
            assert_eq!(harmless(&format!("no {secret} here")), "no … here");
        }
        assert_eq!(harmless("ERROR: twice\nDETAIL: Ada"), "ERROR: twice");
        let usual = "dependency is down: redis: Connection refused (os error 111) 10.0.0.1:6379";
        assert_eq!(harmless(usual), usual);
    }
}
