//! What an input costs, and how that grows with its size.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::recipe::Recipe;

/// The sizes that are compared, in bytes, each twice the one before: the largest is what the
/// fuzzer's longest inputs have, a local endpoint's whole body.
const SIZES: [usize; 3] = [1 << 12, 1 << 13, 1 << 14];

/// Twice the size may cost this many times as much: 2 where the cost is linear, 4 where it is
/// quadratic, 2.83 where it is the size to the power of one and a half.
const STEP: f64 = 2.83;

/// What the largest may cost beyond four times the smallest. Less is a table that had to grow, or
/// memory that had to be fetched.
const EXCESS: Duration = Duration::from_micros(50);

/// How often what was suspicious is looked at again before it is believed, and how many looks are
/// taken each time. The least counts, since nothing makes a computation take less than it does.
const ROUNDS: usize = 6;
const LOOKS: usize = 5;

/// Time between two rounds, in which whatever had the machine has gone.
const PAUSE: Duration = Duration::from_millis(10);

/// A recipe's growth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    /// The cost of the largest input.
    pub(crate) largest: Duration,
    /// The power of the size that the cost grows by.
    pub(crate) power: f64,
    /// Whether it is more than can be put up with.
    pub(crate) excessive: bool,
}

/// Measures what becomes of a recipe's inputs, once.
pub(crate) fn glance(target: fn(&[u8]), recipe: &Recipe<'_>) -> Growth {
    let inputs = SIZES.map(|size| recipe.input(size));
    judge(inputs.each_ref().map(|input| look(target, input)))
}

/// Measures it again and again, for as long as it is not as it should be.
pub(crate) fn look_again(target: fn(&[u8]), recipe: &Recipe<'_>) -> Growth {
    let inputs = SIZES.map(|size| recipe.input(size));
    let mut least = [Duration::MAX; SIZES.len()];
    for _ in 0..ROUNDS {
        for _ in 0..LOOKS {
            for (least, input) in least.iter_mut().zip(&inputs) {
                *least = look(target, input).min(*least);
            }
        }
        if !judge(least).excessive {
            break;
        }
        sleep(PAUSE);
    }
    judge(least)
}

fn judge([small, middle, large]: [Duration; 3]) -> Growth {
    let times = |of: Duration, so_many: Duration| of.as_secs_f64() / so_many.as_secs_f64();
    Growth {
        largest: large,
        power: times(large, small).log2() / 2.0,
        // A single step may be a length from which on there is more to do.
        excessive: times(large, middle) > STEP
            && times(middle, small) > STEP
            && large > small * 4 + EXCESS,
    }
}

fn look(target: fn(&[u8]), input: &[u8]) -> Duration {
    let begun = Instant::now();
    target(input);
    begun.elapsed().max(Duration::from_nanos(1))
}
