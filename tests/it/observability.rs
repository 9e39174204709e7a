//! The dashboard and the alerts: made of metrics that exist, and explained.

use std::collections::BTreeSet;

use difygate::{app, health::Health, http::Rejection, metrics::Metrics};

const ALERTS: &str = include_str!("../../helm/files/alerts.yaml");
const ALERT_TESTS: &str = include_str!("../../.ci/chart/alerts.test.yaml");
const DASHBOARD: &str = include_str!("../../helm/files/dashboard.json");
const RUNBOOKS: &str = include_str!("../../docs/alerts.md");

/// The metrics that a scrape has, every series of them.
pub(crate) fn scrape() -> String {
    let metrics = Metrics::new();
    metrics.know_rejections(Rejection::EXAMPLES.iter().map(Rejection::reason));
    let health = Health::new(&app::system_clock());
    health.with_enterprise();
    metrics.render(&health)
}

/// Every name of a metric in a text.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("difygate_"))
        .collect()
}

/// Every `reason="…"` or `reason=~"…|…"` in a text that may be JSON.
fn reasons(text: &str) -> BTreeSet<String> {
    text.replace('\\', "")
        .split("reason=")
        .skip(1)
        .flat_map(|rest| {
            let quoted = rest.trim_start_matches('~').split('"').nth(1).unwrap();
            quoted.split('|').map(ToOwned::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn alerts() -> Vec<&'static str> {
    ALERTS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect()
}

#[test]
fn every_metric_and_reason_of_the_alerts_and_the_dashboard_exists() {
    let scrape = scrape();
    let exist = names(&scrape);

    for text in [ALERTS, DASHBOARD, ALERT_TESTS] {
        let used = names(text);
        assert!(used.len() > 5, "{used:?}");
        let unknown: Vec<&str> = used.difference(&exist).copied().collect();
        assert_eq!(unknown, [""; 0]);
        for reason in reasons(text) {
            // Of whichever metric; no label's name comes after it.
            let label = format!("reason=\"{reason}\"}}");
            assert!(scrape.contains(&label), "{reason}");
        }
    }
}

#[test]
fn every_alert_has_a_runbook_and_a_unit_test() {
    let alerts = alerts();

    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in &alerts {
        assert!(
            RUNBOOKS.contains(&format!("\n## {alert}\n")),
            "docs/alerts.md does not explain {alert}"
        );
        let link = format!("runbook_url: \"#{}\"", alert.to_lowercase());
        assert!(ALERTS.contains(&link), "{alert} has no {link}");
    }
    // A regular expression of a unit test may stand for several.
    let tested = ALERT_TESTS.replace("DifygateRevocations.*", "");
    for alert in alerts {
        assert!(tested.contains(alert), "nothing tests {alert}");
    }
}

#[test]
fn every_runbook_is_of_an_alert() {
    let explained = RUNBOOKS
        .lines()
        .filter_map(|line| line.strip_prefix("## Difygate"));

    for name in explained {
        let alert = format!("Difygate{name}");
        assert!(alerts().contains(&alert.as_str()), "{alert} is no alert");
    }
}
