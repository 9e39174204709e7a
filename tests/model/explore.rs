//! Every reachable state, nearest first, so that the way to a bad one is as short as it can be.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
};

/// What can be explored.
pub(crate) trait Explorable {
    type State: Copy + Eq + Hash + fmt::Debug;
    type Step: Copy + fmt::Display;

    fn beginning(&self) -> Self::State;

    /// Adds every state that may come next.
    fn steps(&self, state: &Self::State, next: &mut Vec<(Self::Step, Self::State)>);

    /// Says what is wrong with a state.
    fn complaint(&self, state: &Self::State) -> Option<&'static str>;
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Report {
    /// How many different states there are, or were seen up to the bad one.
    pub(crate) states: usize,
    pub(crate) violation: Option<Violation>,
}

/// A bad state and a shortest way to it.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) complaint: &'static str,
    pub(crate) trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.trace.iter().enumerate() {
            writeln!(f, "  {:>2}. {step}", n + 1)?;
        }
        write!(f, "  ⇒  {}", self.complaint)
    }
}

/// Visits every reachable state, and hands each to `visit`; stops at the first bad one.
pub(crate) fn explore<M: Explorable>(model: &M, mut visit: impl FnMut(&M::State)) -> Report {
    let beginning = model.beginning();
    let mut seen: HashSet<M::State, BuildHasherDefault<Mixer>> = HashSet::default();
    seen.insert(beginning);
    // In the order of discovery: the state, which one it came from, and how.
    let mut found: Vec<(M::State, usize, Option<M::Step>)> = vec![(beginning, 0, None)];
    let mut next = Vec::new();
    let mut turn = 0;
    while let Some(&(state, ..)) = found.get(turn) {
        visit(&state);
        if let Some(complaint) = model.complaint(&state) {
            let trace = trace(&found, turn);
            return Report {
                states: found.len(),
                violation: Some(Violation { complaint, trace }),
            };
        }
        model.steps(&state, &mut next);
        for (step, state) in next.drain(..) {
            if seen.insert(state) {
                found.push((state, turn, Some(step)));
            }
        }
        turn += 1;
    }
    Report {
        states: found.len(),
        violation: None,
    }
}

fn trace<S, T: Copy + fmt::Display>(
    found: &[(S, usize, Option<T>)],
    mut turn: usize,
) -> Vec<String> {
    let mut steps = Vec::new();
    while let (_, before, Some(step)) = &found[turn] {
        steps.push(step.to_string());
        turn = *before;
    }
    steps.reverse();
    steps
}

/// A quick hash for states of many small fields; states are compared in full all the same.
#[derive(Default)]
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.mix(discriminant as u64);
    }
}
