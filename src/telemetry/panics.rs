//! A panic says where it happened, and not what it said: its message may quote a request or a secret.

use std::{
    io::{self, Write as _},
    panic,
};

/// From now on a panic prints its place on standard error and nothing else, whatever
/// `RUST_BACKTRACE` says. Once there is a log ([`super::init`]) it has a line there instead.
///
/// The configuration is read before there is a log, and most commands never have one.
pub fn print_panics() {
    panic::set_hook(Box::new(|panic| {
        // A panic in here would be printed by the standard library, with its message.
        let _ = match panic.location() {
            Some(place) => writeln!(io::stderr(), "difygate: a panic at {place}"),
            None => writeln!(io::stderr(), "difygate: a panic"),
        };
    }));
}

/// From now on a panic is logged.
pub(super) fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        tracing::error!(location, "a task panicked; its request was given up");
    }));
}
