//! Keeps the last warnings and errors of the gateway's own for the status page.
//!
//! Only our own words are kept, with few of their fields: what libraries and the access log say may
//! quote a request.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, filter::Targets, layer::Context};

use crate::health::Faults;

/// The fields that are kept, besides the message.
const FIELDS: [&str; 5] = ["dependency", "key", "reason", "location", "error"];

/// The layer that remembers.
pub(super) struct Remember(pub(super) Arc<Faults>);

impl Remember {
    /// What it hears, whatever `log.level` says.
    pub(super) fn hears() -> Targets {
        Targets::new().with_target("difygate", LevelFilter::WARN)
    }
}

impl<S: Subscriber> Layer<S> for Remember {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        self.0.note(&format!("{}{}", words.message, words.fields));
    }
}

/// An event in one line.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name if FIELDS.contains(&name) => write!(self.fields, ": {value:?}"),
            _ => Ok(()),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::clock::{Clock, ManualClock, Timestamp};

    #[test]
    fn our_own_faults_are_remembered_and_nobody_elses() {
        let clock = ManualClock::at(Timestamp::from_unix_seconds(0));
        let faults = Faults::new(&(Arc::new(clock) as Arc<dyn Clock>));
        let layer = Remember(Arc::clone(&faults)).with_filter(Remember::hears());
        let log = tracing_subscriber::registry().with(layer);

        tracing::subscriber::with_default(log, || {
            tracing::warn!(
                dependency = "redis",
                error = "refused",
                "dependency is down"
            );
            tracing::warn!(client = "10.1.2.3", "codes are being guessed");
            tracing::info!("all is well");
            tracing::warn!(target: "access", path = "/v1/ABCD-2345", "request");
            tracing::error!(target: "pingora_proxy", "GET /device?user_code=ABCD-2345");
        });

        let kept = faults.newest_first();
        let what: Vec<&str> = kept.iter().map(|fault| fault.what.as_str()).collect();
        assert_eq!(
            what,
            [
                "codes are being guessed",
                "dependency is down: redis: refused"
            ]
        );
    }
}
