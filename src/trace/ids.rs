//! New names for traces and spans.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{SpanId, TraceId};
use crate::entropy::Entropy;

/// Draws names at the price of one atomic addition a request.
///
/// They have to be unique and evenly spread, since others sample by their digits; they guard
/// nothing, so nobody has to be kept from guessing them. Each is the number of the request, set off
/// by a secret of the process and mixed by SplitMix64's function, which maps no two numbers to one.
#[derive(Debug)]
pub(super) struct Ids {
    offsets: [u64; 6],
    next: AtomicU64,
}

/// What one request draws.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn {
    /// The name of its trace, if it begins one.
    pub(super) trace: TraceId,
    /// The span of the request itself.
    pub(super) request: SpanId,
    /// The span of the call to the upstream.
    pub(super) upstream: SpanId,
    /// The span of the token check.
    pub(super) check: SpanId,
    /// A number from 0 to 1, without 1, to decide by whether it is recorded.
    pub(super) chance: f64,
}

impl Ids {
    pub(super) fn new(entropy: &dyn Entropy) -> Self {
        let offsets = std::array::from_fn(|_| {
            let mut bytes = [0; 8];
            entropy.fill(&mut bytes);
            u64::from_be_bytes(bytes)
        });
        Self {
            offsets,
            next: AtomicU64::new(0),
        }
    }

    pub(super) fn draw(&self) -> Drawn {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let [high, low, request, upstream, check, chance] =
            self.offsets.map(|offset| mixed(offset, number));
        Drawn {
            trace: TraceId::from_bits(u128::from(high) << 64 | u128::from(low)),
            request: SpanId::from_bits(request),
            upstream: SpanId::from_bits(upstream),
            check: SpanId::from_bits(check),
            // As many bits as a double holds exactly.
            chance: (chance >> 11) as f64 / (1_u64 << 53) as f64,
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014), its state computed instead of kept.
const fn mixed(offset: u64, number: u64) -> u64 {
    let state = offset.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::entropy::OsEntropy;

    #[test]
    fn the_function_is_splitmix64() {
        // The first numbers of the published generator for the seed 1234567.
        let seed = 1_234_567;
        let numbers = [1, 2, 3].map(|number| mixed(seed, number));
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn no_name_is_given_twice_and_chances_are_even() {
        let ids = Ids::new(&OsEntropy);
        let (mut names, mut below) = (HashSet::new(), 0);
        for _ in 0..10_000 {
            let drawn = ids.draw();
            let spans = [drawn.request, drawn.upstream, drawn.check];
            assert!(names.insert(drawn.trace.to_string()));
            assert!(spans.iter().all(|span| names.insert(span.to_string())));
            assert!((0.0..1.0).contains(&drawn.chance));
            below += u32::from(drawn.chance < 0.25);
        }
        // 2,500 expected; ten standard deviations either way.
        assert!((2_067..=2_933).contains(&below), "{below}");
    }
}
