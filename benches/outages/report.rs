//! The table of outages.

use std::time::Duration;

use crate::{
    bounds::{ANSWER, RECOVERY, REPORTED},
    judge::Record,
    scenario::Scenario,
};

/// Writes the table, as Markdown.
pub(crate) fn outages(records: &[Record]) -> String {
    let mut table = String::from(
        "| struck | rounds | requests | 200 | 401 | 503 | live tokens refused | live tokens 503 | \
         longest answer | revocations (not deleted) | longest acceptance | … allowed | \
         recovery: median, longest |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for record in records {
        table.push_str(&line(record));
        table.push('\n');
    }
    table
        + &format!(
            "\nAllowed: no live token refused, no token accepted that nobody has issued, answers \
             within {} s, all well again within {} s of the store's return.\n",
            seconds(ANSWER),
            seconds(RECOVERY)
        )
}

/// Writes one scenario's line.
pub(crate) fn line(record: &Record) -> String {
    let statuses = record.statuses.borrow();
    let status = |status: u16| statuses.get(&status).copied().unwrap_or_default();
    let mut recoveries = record.recoveries.borrow().clone();
    recoveries.sort_unstable();
    let median = recoveries.get(recoveries.len() / 2).copied();
    let undecided = record.live_undecided.get() as f64 / record.live.get().max(1) as f64;
    let bound = match record.scenario {
        Scenario::DifyCutOff => "entry's end, 60 s".to_owned(),
        _ => format!("{} s", seconds(REPORTED)),
    };
    let cells = [
        record.scenario.name().to_owned(),
        record.rounds.get().to_string(),
        record.requests.get().to_string(),
        status(200).to_string(),
        status(401).to_string(),
        status(503).to_string(),
        record.live_refused.get().to_string(),
        format!("{:.1} %", 100.0 * undecided),
        format!("{} s", seconds(record.longest_answer.get())),
        format!("{} ({})", record.revocations.get(), record.undeleted.get()),
        format!("{} s", seconds(record.longest_acceptance.get())),
        bound,
        format!(
            "{} s, {} s",
            seconds(median.unwrap_or_default()),
            seconds(recoveries.last().copied().unwrap_or_default())
        ),
    ];
    format!("| {} |", cells.join(" | "))
}

fn seconds(duration: Duration) -> String {
    let text = format!("{:.3}", duration.as_secs_f64());
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}
