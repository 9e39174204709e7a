//! Every view, in both languages, light and dark, narrow and wide: nothing for axe-core to find.

use std::path::PathBuf;

use super::visit::Visit;
use crate::support::Behaviour;

/// Where pictures go, when somebody asks for them: `make screenshots`.
const PICTURES: &str = "DIFYGATE_SCREENSHOTS";

const LANGUAGES: [(&str, &str); 2] = [("en", "English"), ("zh-Hans", "中文")];

/// Looks at the view as it is, in every way in which it can appear.
pub(super) async fn looks_finished(visit: &Visit, name: &str) {
    let browser = &visit.browser;
    for (language, _) in LANGUAGES {
        browser.clicks(&format!("[data-language={language}]")).await;
        assert_eq!(
            browser.eval("return document.documentElement.lang").await,
            language
        );
        for scheme in ["light", "dark"] {
            browser.appears("en-US", scheme).await;
            let violations = browser.axe_violations().await;
            assert_eq!(
                violations,
                Vec::<String>::new(),
                "{name} {language} {scheme}"
            );
            for width in [320, 768, 1280] {
                browser.is_sized(width, 900).await;
                // The body's own box: a scroll bar's room beside it is no room for content.
                let overflow = "return document.body.scrollWidth - document.body.clientWidth";
                let overflow = browser.eval(overflow).await;
                assert_eq!(overflow, 0, "{name} {language} {width}");
                take_picture(visit, &format!("{name}-{language}-{scheme}-{width}.png")).await;
            }
        }
    }
    browser.appears("en-US", "light").await;
    browser.clicks("[data-language=en]").await;
}

async fn take_picture(visit: &Visit, file: &str) {
    if let Some(folder) = std::env::var_os(PICTURES) {
        let folder = PathBuf::from(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file), visit.browser.screenshot().await).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_a_decision_looks_finished() {
    let visit = Visit::begin().await;
    visit.offers_sso(true);
    let login = visit.login().await;

    visit.browser.goes_to("/device").await;
    visit.sees("enter").await;
    looks_finished(&visit, "1-enter").await;
    visit.browser.types("abc").await;
    visit.browser.clicks("#enter button").await;
    looks_finished(&visit, "2-enter-fault").await;
    visit.enters(&login.user_code).await;
    visit.sees("choose").await;
    looks_finished(&visit, "3-choose").await;
    visit.signs_in().await;
    visit.enters(&login.user_code).await;
    visit.sees("approve").await;
    looks_finished(&visit, "4-approve").await;
    visit.browser.clicks("#approve").await;
    visit.sees_outcome("done").await;
    looks_finished(&visit, "6-done").await;
    visit.has_kept_to_itself().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_outcome_looks_finished() {
    let visit = Visit::with(|gateway| gateway.set("rate_limits.approve", "\"2/1h\"")).await;
    let taken = visit.is_asked().await;
    let guard = format!("device_code:{}:approving", taken.device_code);
    visit.stage.redis.set_ex(&guard, "another window", 60).await;

    visit.browser.clicks("#approve").await;
    visit.sees_outcome("busy").await;
    looks_finished(&visit, "7-busy").await;
    visit.browser.clicks("[data-go=again]").await;
    visit.sees("approve").await;
    visit.browser.clicks("#cancel").await;
    visit.sees_outcome("cancelled").await;
    looks_finished(&visit, "7-cancelled").await;
    visit.enters(&taken.user_code).await;
    visit.sees_outcome("expired").await;
    looks_finished(&visit, "7-expired").await;
    let login = visit.login().await;
    visit.enters(&login.user_code).await;
    visit.sees("approve").await;
    visit.browser.clicks("#approve").await;
    visit.sees_outcome("limited").await;
    looks_finished(&visit, "7-limited").await;
    for outcome in ["belongs", "sso"] {
        let error = outcome.replace("belongs", "email_belongs_to_dify_account");
        visit
            .browser
            .goes_to(&format!("/device?sso_error={error}"))
            .await;
        visit.sees_outcome(outcome).await;
        looks_finished(&visit, &format!("7-{outcome}")).await;
    }
    let broken = Behaviour::Json(500, serde_json::json!({"code": "unknown"}));
    visit
        .stage
        .upstream
        .on("/console/api/account/profile", broken);
    visit.browser.clicks("[data-go=again]").await;
    visit.sees_outcome("problem").await;
    looks_finished(&visit, "7-problem").await;
    visit.browser.is_offline(true).await;
    visit.browser.clicks("[data-go=again]").await;
    visit.sees_outcome("offline").await;
    looks_finished(&visit, "7-offline").await;
    visit.has_kept_to_itself().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_looks_finished_and_moves_nothing() {
    let visit = Visit::begin().await;
    let login = visit.login().await;
    // It waits for longer than a picture may take to be made.
    let for_ever = "AbortSignal.timeout = () => new AbortController().signal";
    visit.browser.runs_first(for_ever).await;
    let hang = Behaviour::HangBeforeHeader;
    visit
        .stage
        .upstream
        .on("/console/api/account/profile", hang);

    let address = format!("/device?user_code={}", login.user_code);
    visit.browser.goes_to(&address).await;
    let waits = "document.querySelector('[data-view=wait]:not([hidden])') && document.title";
    visit.browser.waits_until(waits).await;
    looks_finished(&visit, "0-wait").await;
    let top = "return document.querySelector('main').getBoundingClientRect().top";
    let before = visit.browser.eval(top).await;
    visit.browser.goes_to("/device?sso_error=x").await;
    visit.sees_outcome("sso").await;
    assert_eq!(visit.browser.eval(top).await, before);
}
