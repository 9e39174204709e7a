//! Tests of the support library itself: what it promises, without a gateway.

mod servers;
mod traffic;

use std::time::Duration;

/// Long enough to tell silence from an answer.
const SHORT: Duration = Duration::from_millis(150);
