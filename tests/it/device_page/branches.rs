//! Who is not signed in yet: to Dify's sign-in page or to SSO, and back.

use super::visit::Visit;
use crate::support::Behaviour;

#[tokio::test(flavor = "multi_thread")]
async fn the_code_is_kept_for_this_tab_while_its_person_signs_in() {
    let visit = Visit::begin().await;
    let login = visit.login().await;
    visit.enters(&login.user_code).await;
    visit.sees("choose").await;
    let hidden = "return document.querySelector('#to-sso').hidden";
    assert_eq!(visit.browser.eval(hidden).await, true, "nobody offers SSO");

    visit.browser.clicks("#to-account").await;

    visit
        .browser
        .waits_until("location.pathname === '/signin'")
        .await;
    let address = visit.browser.eval("return location.search").await;
    assert_eq!(address, "?redirect_url=%2Fdevice");
    let entry = "return JSON.parse(sessionStorage.getItem('dify_post_login_redirect')).target";
    assert_eq!(visit.browser.eval(entry).await, "/device");
    visit.signs_in().await;
    visit.browser.goes_to("/device").await;
    visit.sees("approve").await;
    assert_eq!(
        visit.browser.text("dd [data-fill=code]").await,
        login.user_code
    );
    let entry = "return sessionStorage.getItem('dify_post_login_redirect')";
    assert_eq!(visit.browser.eval(entry).await, serde_json::Value::Null);
    // Another tab knows nothing of it.
    visit.browser.opens_a_window().await;
    visit.browser.goes_to("/device").await;
    visit.sees("enter").await;
    visit.has_kept_to_itself().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coming_back_from_the_sign_in_page_by_the_back_button_finds_a_page_that_works() {
    let visit = Visit::begin().await;
    let login = visit.login().await;
    visit.enters(&login.user_code).await;
    visit.sees("choose").await;
    visit.browser.clicks("#to-account").await;
    visit
        .browser
        .waits_until("location.pathname === '/signin'")
        .await;

    visit.signs_in().await;
    visit.browser.goes_back().await;

    visit.sees("approve").await;
    visit.browser.clicks("#approve").await;
    visit.sees_outcome("done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn query_parameters_leave_the_address_bar_once_read() {
    let visit = Visit::begin().await;
    let login = visit.login().await;
    let clean = "location.pathname + location.search + location.hash === '/device'";

    let typed = login.user_code.to_lowercase();
    visit
        .browser
        .goes_to(&format!("/device?user_code={typed}"))
        .await;
    visit.sees("choose").await;
    visit.browser.waits_until(clean).await;
    assert_eq!(visit.browser.text(".chosen code").await, login.user_code);
    visit
        .browser
        .goes_to("/device?user_code=%3Cimg%20src%3Dx%3E")
        .await;
    visit.sees("choose").await;
    visit.browser.waits_until(clean).await;
    visit
        .browser
        .clicks("[data-view=choose] [data-go=enter]")
        .await;
    visit.sees("enter").await;
    for (query, outcome) in [
        ("sso_error=email_belongs_to_dify_account", "belongs"),
        ("sso_error=%3Cscript%3E", "sso"),
    ] {
        visit.browser.goes_to(&format!("/device?{query}")).await;
        visit.sees_outcome(outcome).await;
        visit.browser.waits_until(clean).await;
    }
    visit.has_kept_to_itself().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browsers_language_is_spoken_and_a_choice_is_remembered() {
    let visit = Visit::begin().await;
    let language = "return document.documentElement.lang";
    for (preferred, spoken, title) in [
        ("zh-CN", "zh-Hans", "连接设备"),
        ("fr-FR,zh-TW", "zh-Hans", "连接设备"),
        ("fr-FR", "en", "Connect a device"),
        ("en-GB,zh-CN", "en", "Connect a device"),
    ] {
        visit.browser.appears(preferred, "light").await;
        visit.browser.goes_to("/device").await;
        visit.sees("enter").await;
        assert_eq!(visit.browser.eval(language).await, spoken, "{preferred}");
        assert_eq!(visit.browser.eval("return document.title").await, title);
    }

    visit.browser.clicks("[data-language=zh-Hans]").await;
    assert_eq!(
        visit.browser.text("h1[data-text='enter.title']").await,
        "连接设备"
    );
    visit.browser.goes_to("/device").await;
    visit.sees("enter").await;
    assert_eq!(visit.browser.eval(language).await, "zh-Hans");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_has_a_code_and_nothing_else_or_none() {
    let visit = Visit::begin().await;
    let value = "return document.querySelector('#code').value";
    for none in [
        "ABCD-3456-EVIL",
        "Z0O1-ABCD2IZ-3456",
        "ABCD-3456.",
        "ABCD-345",
        // Capital letters are made of these, and of full-width ones by who types them.
        "ABCD-345%C3%9F",
        "%EF%BC%A1BCD-3456",
    ] {
        let address = format!("/device?user_code={none}");
        visit.browser.goes_to(&address).await;
        visit.sees("enter").await;
        assert_eq!(visit.browser.eval(value).await, "", "{none}");
    }

    let login = visit.login().await;
    let spaced = login.user_code.to_lowercase().replace('-', "%20-+");
    let address = format!("/device?user_code=+{spaced}");
    visit.browser.goes_to(&address).await;
    visit.sees("choose").await;
    assert_eq!(visit.browser.text(".chosen code").await, login.user_code);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_to_the_sign_in_page_that_leads_nowhere_leaves_a_page_that_works() {
    let visit = Visit::begin().await;
    let nowhere = Behaviour::Answer(204, Vec::new(), Vec::new());
    visit.stage.upstream.on("/signin", nowhere);
    // The page's patience, in a hand of ours.
    let hold = "const set = setTimeout; window.setTimeout = (done, delay) => \
        delay === 8_000 ? void (window.itStays = done) : set(done, delay);";
    visit.browser.runs_first(hold).await;
    let login = visit.login().await;
    visit.enters(&login.user_code).await;
    visit.sees("choose").await;

    visit.browser.clicks("#to-account").await;
    visit.browser.waits_until("window.itStays").await;
    let busy = "return document.querySelector('main').ariaBusy";
    assert_eq!(visit.browser.eval(busy).await, "true");
    visit.browser.eval("itStays()").await;

    visit.sees("choose").await;
    let status = "return document.querySelector('#status').textContent";
    assert_eq!(visit.browser.eval(status).await, "");
    visit
        .browser
        .clicks("[data-view=choose] [data-go=enter]")
        .await;
    visit.sees("enter").await;
}
