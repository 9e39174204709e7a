//! One line for each request, where `log.access` wants one. Never the query: codes and assertions
//! travel in it.

use std::time::Duration;

use pingora::{Error, proxy::Session};

use super::Ctx;
use crate::{metrics::Outcome, telemetry::shortened};

mod lines;

pub use lines::AccessLines;

/// Writes the line.
pub(super) fn log(
    lines: &AccessLines,
    session: &Session,
    error: Option<&Error>,
    ctx: &Ctx,
    took: Duration,
) {
    let failed = ctx.status >= 400 || ctx.status == 0 || error.is_some();
    if !lines.wants(failed) {
        return;
    }
    let head = session.req_header();
    let path = String::from_utf8_lossy(head.raw_path());
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let (method, path) = (shortened(head.method.as_str()), shortened(path));
    let client = ctx.client.map(tracing::field::display);
    let token_id = ctx
        .principal
        .as_ref()
        .map(|entry| tracing::field::display(entry.context.token_id));
    let trace_id = ctx
        .trace
        .as_ref()
        .map(|trace| tracing::field::display(trace.id()));
    let duration_ms = took.as_secs_f64() * 1_000.0;
    // The kind of failure alone: pingora's full text may quote what a client sent.
    let error = error.map(|error| {
        tracing::field::display(format!(
            "{}: {}",
            error.esource().as_str(),
            error.etype().as_str()
        ))
    });
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: "access",
                request_id = ctx.request_id(),
                method,
                path,
                status = ctx.status,
                outcome = ctx.outcome.map(Outcome::as_str),
                reason = ctx.reason,
                client,
                token_id,
                trace_id,
                duration_ms,
                error,
                "request"
            )
        };
    }
    // 4xx is traffic, not a fault; 5xx is a fault, whosever.
    if ctx.status >= 500 {
        line!(warn);
    } else {
        line!(info);
    }
}
