//! What an input costs, and how that grows with its size.

use std::time::{Duration, Instant};

use crate::recipe::Recipe;

/// The sizes that are compared, in bytes: the largest is what the fuzzer's longest inputs have, a
/// local endpoint's whole body, and four times the one before.
const SIZES: [usize; 3] = [1 << 10, 1 << 12, 1 << 14];

/// A step to four times the size may cost this many times as much: 4 where the cost is linear, 16
/// where it is quadratic, 8 where it is the size to the power of one and a half.
const STEP: f64 = 8.0;

/// What the largest may cost beyond four times the middle one. Less is a table that had to grow,
/// or memory that had to be fetched.
const EXCESS: Duration = Duration::from_micros(50);

/// How often an input is measured when the first look was suspicious; the least counts, since
/// nothing makes a computation take less than it does.
const LOOKS: usize = 15;

/// A recipe's growth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    /// The cost of the largest input.
    pub(crate) largest: Duration,
    /// The power of the size that the cost grows by, over the last step.
    pub(crate) power: f64,
    /// Whether it is more than can be put up with.
    pub(crate) excessive: bool,
}

/// Measures what becomes of a recipe's inputs; looks again at what is suspicious.
pub(crate) fn growth(target: fn(&[u8]), recipe: &Recipe<'_>) -> Growth {
    let inputs = SIZES.map(|size| recipe.input(size));
    let first = judge(inputs.each_ref().map(|input| least(target, input, 1)));
    if !first.excessive {
        return first;
    }
    judge(inputs.each_ref().map(|input| least(target, input, LOOKS)))
}

fn judge([small, middle, large]: [Duration; 3]) -> Growth {
    let times = |of: Duration, so_many: Duration| of.as_secs_f64() / so_many.as_secs_f64();
    let last = times(large, middle);
    Growth {
        largest: large,
        power: last.ln() / 4.0_f64.ln(),
        // A single step may be a fixed cost that has just been outgrown.
        excessive: last > STEP && times(large, small) > STEP * 4.0 && large > middle * 4 + EXCESS,
    }
}

fn least(target: fn(&[u8]), input: &[u8], looks: usize) -> Duration {
    let look = |_| {
        let begun = Instant::now();
        target(input);
        begun.elapsed().max(Duration::from_nanos(1))
    };
    (0..looks)
        .map(look)
        .min()
        .expect("an input is measured once at least")
}
