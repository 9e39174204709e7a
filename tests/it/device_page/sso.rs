//! People without a Dify account: to the company's sign-in page, and back with a grant.

use serde_json::{Value, json};

use super::views::looks_finished;
use super::visit::Visit;
use crate::support::{
    Behaviour, Login, Upstream, assertion, enterprise, is_licensed, with_enterprise,
};

/// Who signs in at the company.
const EVE: &str = "eve@partner.example";

/// A visit, and the company's service with a sign-in page.
async fn begin() -> (Visit, Upstream) {
    let service = enterprise().await;
    let visit = Visit::with(|gateway| {
        with_enterprise(gateway, &service)
            // Plain HTTP, so that the browser keeps the grant's cookie here.
            .set("dify.console_api_url", "\"http://console.example\"")
            .set("dify.console_web_url", "\"http://console.example\"")
    });
    let visit = visit.await;
    is_licensed(&visit.stage.gateway).await;
    visit.offers_sso(true);
    let page = json!({"url": format!("http://{}/login", service.addr())});
    service.on("/device-flow/sso-initiate", Behaviour::Json(200, page));
    (visit, service)
}

/// Comes back from the company's sign-in page.
async fn returns(visit: &Visit, login: &Login, email: &str) {
    let assertion = assertion(&login.user_code, email);
    let path = format!("/openapi/v1/oauth/device/sso-complete?sso_assertion={assertion}");
    visit.browser.goes_to(&path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_without_an_account_signs_in_at_the_company_and_approves() {
    let (visit, service) = begin().await;
    let login = visit.login().await;
    visit.enters(&login.user_code).await;
    visit.sees("choose").await;

    visit.browser.clicks("#to-sso").await;
    let there = format!("location.host === '{}'", service.addr());
    visit.browser.waits_until(&there).await;
    visit.browser.requested().await;
    returns(&visit, &login, EVE).await;
    visit.sees("approve").await;

    let address = "return location.pathname + location.search";
    assert_eq!(visit.browser.eval(address).await, "/device");
    for (selector, text) in [
        ("[data-fill=name]", EVE),
        ("[data-fill=email]", ""),
        ("[data-fill=context]", "Through https://idp.partner.example"),
        ("[data-fill=device]", "difyctl on ada-laptop"),
        ("dd [data-fill=code]", login.user_code.as_str()),
    ] {
        assert_eq!(visit.browser.text(selector).await, text, "{selector}");
    }
    let able = visit.browser.text("#abilities").await;
    assert!(able.contains("run the apps"), "{able}");
    assert!(!able.contains("everything"), "{able}");
    looks_finished(&visit, "5-approve-sso").await;
    visit.browser.clicks("#approve").await;
    visit.sees_outcome("done").await;
    let granted = login.polls(&visit.stage.gateway).await.json();
    assert_eq!(granted["subject_email"], EVE);
    assert_eq!(granted["account"], Value::Null);
    visit.has_kept_to_itself().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_approves_nothing_and_a_grant_that_has_ended_says_so() {
    let (visit, _service) = begin().await;
    let login = visit.login().await;
    returns(&visit, &login, EVE).await;
    visit.sees("approve").await;

    visit.browser.clicks("#cancel").await;
    visit.sees_outcome("cancelled").await;
    assert_eq!(visit.status(&login).await, "pending");
    visit.browser.forgets_everything().await;
    visit.browser.goes_to("/device?sso_verified=1").await;
    visit.sees_outcome("ended").await;
    looks_finished(&visit, "7-ended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sso_that_does_not_work_has_a_way_on() {
    let (visit, service) = begin().await;
    let login = visit.login().await;
    let broken = Behaviour::Json(500, json!({}));
    service.on("/device-flow/sso-initiate", broken);
    visit.enters(&login.user_code).await;
    visit.sees("choose").await;

    visit.browser.clicks("#to-sso").await;
    visit.sees_outcome("sso").await;
    visit.browser.clicks("[data-go=again]").await;
    visit.sees("choose").await;
    returns(&visit, &login, "ada@example.com").await;
    visit.sees_outcome("belongs").await;
    visit.browser.clicks("[data-go=again]").await;
    visit.sees("choose").await;
}
