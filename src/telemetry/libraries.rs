//! What libraries say, within bounds.
//!
//! They complain of whatever they meet, at any length and as often as they meet it. Most of what they
//! meet comes from strangers, who so could choose what the log holds and how much of it. So few of
//! their lines are written in a second, and little of each; what any client can bring about is heard
//! only where somebody looks for a fault (`log.level = "debug"`). What fails for a reason that
//! operators have to know, a listener, a store or the upstream, the gateway says in its own words.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use serde::Serialize;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    subscriber::Interest,
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    layer::{Context, Filter},
    registry::LookupSpan,
};

use super::{OWN_TARGETS, queue::Queue, rate::LineRate, shortened::LONGEST, visible::Visible};
use crate::clock::Clock;

/// Most lines of all libraries in a second: enough to see what is the matter, and 30 KiB.
const LINES_A_SECOND: u64 = 20;

/// What clients can bring about as often as they like: names that no server has and messages out of
/// turn (rustls), frames out of turn (h2), connections that end in their first bytes and requests
/// that are none (pingora). Targets, or their beginnings.
pub(super) const CHATTER: [&str; 4] = [
    "rustls",
    "h2",
    "pingora_core::apps",
    "pingora_core::protocols::http::v2::server",
];

/// Tells whether an event is the gateway's own. One that came by way of the `log` crate never is:
/// its target is "log".
fn is_own(event: &Metadata<'_>) -> bool {
    let target = event.target();
    OWN_TARGETS.iter().any(|own| target.starts_with(own))
}

/// Lets so many events of libraries through, and counts the others.
#[derive(Debug)]
pub(super) struct Gate {
    rate: LineRate,
    clock: Arc<dyn Clock>,
    queue: Arc<Queue>,
}

impl Gate {
    pub(super) fn new(clock: Arc<dyn Clock>, queue: Arc<Queue>) -> Self {
        Self {
            rate: LineRate::new(LINES_A_SECOND),
            clock,
            queue,
        }
    }

    fn lets_in(&self, event: &Metadata<'_>) -> bool {
        if is_own(event) {
            return true;
        }
        let asked = self.rate.ask(self.clock.monotonic());
        if asked.left_out > 0 {
            self.queue.say_left_out(asked.left_out);
        }
        if !asked.granted {
            self.queue.leave_out();
        }
        asked.granted
    }
}

impl<S> Filter<S> for Gate {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    /// What is decided anew for each event must not be remembered.
    fn callsite_enabled(&self, event: &'static Metadata<'static>) -> Interest {
        if is_own(event) {
            Interest::always()
        } else {
            Interest::sometimes()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    /// Before the line is made: of a flood, that is most of the work.
    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.lets_in(event.metadata())
    }
}

/// How lines look: our own as `own` has them, those of libraries alike, and short.
#[derive(Debug)]
pub(super) struct Lines<F> {
    pub(super) own: F,
    pub(super) json: bool,
}

/// A library's line as JSON.
#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: &'a str,
    level: &'a str,
    message: &'a str,
    target: &'a str,
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if is_own(event.metadata()) {
            return self.own.format_event(context, line, event);
        }
        let mut said = Said::default();
        event.record(&mut said);
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let level = event.metadata().level().as_str();
        let target = said.target.as_deref();
        let target = target.unwrap_or_else(|| event.metadata().target());
        let message = said.text.0.as_str();
        if !self.json {
            return writeln!(
                line,
                "{timestamp} {level:>5} {target}: {}",
                Visible(message)
            );
        }
        let json = JsonLine {
            timestamp: &timestamp,
            level,
            message,
            target,
        };
        let json = serde_json::to_string(&json).map_err(|_| fmt::Error)?;
        writeln!(line, "{json}")
    }
}

/// The beginning of an event's message and fields.
#[derive(Default)]
struct Said {
    text: Beginning,
    /// Who said it, where that came by way of the `log` crate.
    target: Option<String>,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // It fails where there is enough of it, and the value is spared writing the rest.
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            // Where in its sources a library said it.
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.text, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "log.target" => self.target = Some(value.to_owned()),
            _ => self.record_debug(field, &format_args!("{value}")),
        }
    }
}

/// The first bytes of a text, cut between two characters.
#[derive(Debug, Default)]
struct Beginning(String);

impl fmt::Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut room = (LONGEST - self.0.len()).min(text.len());
        while !text.is_char_boundary(room) {
            room -= 1;
        }
        self.0.push_str(text.get(..room).unwrap_or_default());
        if room < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::mpsc};

    use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _};

    use super::*;
    use crate::{
        clock::{ManualClock, Timestamp},
        metrics::LogMetrics,
    };

    /// Logs in one second, and returns what was written.
    fn written(json: bool, log: impl FnOnce()) -> Vec<String> {
        let (sender, lines) = mpsc::channel();
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(0)));
        let queue = Arc::new(Queue::new(LogMetrics::new()));
        let gate = Gate::new(clock, queue);
        let writer = move || Sent(sender.clone());
        let layer = tracing_subscriber::fmt::layer().with_ansi(false);
        let layer: Box<dyn Layer<Registry> + Send + Sync> = if json {
            let layer = layer.json().with_writer(writer);
            Box::new(layer.map_event_format(|own| Lines { own, json }))
        } else {
            let layer = layer.with_writer(writer);
            Box::new(layer.map_event_format(|own| Lines { own, json }))
        };
        let all = tracing_subscriber::registry().with(layer.with_filter(gate));
        tracing::subscriber::with_default(all, log);
        lines.iter().collect()
    }

    struct Sent(mpsc::Sender<String>);

    impl io::Write for Sent {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0
                .send(String::from_utf8_lossy(line).into_owned())
                .unwrap();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_of_libraries_leaves_our_own_lines_alone_in_either_format() {
        for json in [true, false] {
            let lines = written(json, || {
                for number in 0..100 {
                    let long = "\n".repeat(4 * LONGEST);
                    tracing::warn!(target: "h2::proto", number, long, "a frame");
                    tracing::warn!(number, "our own");
                }
            });

            let (libraries, own): (Vec<&String>, _) =
                lines.iter().partition(|line| line.contains("h2::proto"));
            assert_eq!((libraries.len() as u64, own.len()), (LINES_A_SECOND, 100));
            for line in libraries {
                assert!(line.contains("a frame number="), "{line}");
                assert!(line.len() < 3 * LONGEST, "{} bytes", line.len());
                assert_eq!(line.find('\n'), Some(line.len() - 1));
            }
        }
    }

    #[test]
    fn the_beginning_of_a_long_text_is_kept_and_the_rest_never_made() {
        let mut beginning = Beginning::default();
        assert!(write!(beginning, "{}€", "a".repeat(LONGEST - 1)).is_err());
        assert_eq!(beginning.0.len(), LONGEST - 1);
        let mut short = Beginning::default();
        assert!(write!(short, "{}€", 1).is_ok());
        assert_eq!(short.0, "1€");
    }
}
