//! From a code to a decision, as people go: straight on, twice, back, late, and without a mouse.

use serde_json::json;

use super::visit::Visit;
use crate::support::{Behaviour, Browser, Login};

/// Keys, as WebDriver writes them (section 17.4.2, "Keyboard actions").
const ENTER: &str = "\u{e007}";
const TAB: &str = "\u{e004}";
const BACKSPACE: &str = "\u{e003}";

/// What the login's status becomes, once the page has said so.
async fn is_decided(visit: &Visit, login: &Login, status: &str) {
    assert_eq!(visit.status(login).await, status);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clicks_approve_and_the_device_has_its_token() {
    let visit = Visit::begin().await;
    let login = visit.is_asked().await;
    for (selector, text) in [
        ("[data-fill=name]", "Ada"),
        ("[data-fill=email]", "ada@example.com"),
        ("[data-fill=context]", "Workspace: Ada's Workspace"),
        ("[data-fill=client]", "difyctl"),
        ("[data-fill=device]", "difyctl on ada-laptop"),
        ("[data-fill=address]", "127.0.0.1"),
        // That it is the same address would reassure nobody who has thought about it.
        ("[data-fill=whose]", ""),
        ("dd [data-fill=code]", login.user_code.as_str()),
    ] {
        assert_eq!(visit.browser.text(selector).await, text, "{selector}");
    }
    let view = visit.browser.text("[data-view=approve]").await;
    for text in [
        "Was this not you? Cancel.",
        "in all your workspaces",
        "14 days",
    ] {
        assert!(view.contains(text), "{text}");
    }

    visit.browser.clicks("#approve").await;

    visit.sees_outcome("done").await;
    let granted = login.polls(&visit.stage.gateway).await.json();
    assert_eq!(granted["account"]["email"], "ada@example.com");
    visit.has_kept_to_itself().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_that_was_meant_for_another_window_approves_nothing() {
    let visit = Visit::begin().await;
    let login = visit.is_asked().await;

    // The window comes to the front under somebody's second click.
    let clicked = "dispatchEvent(new Event('focus')); \
                   document.querySelector('#approve').click(); \
                   return document.querySelector('main').ariaBusy";
    assert_eq!(visit.browser.eval(clicked).await, "false");
    is_decided(&visit, &login, "pending").await;

    visit.browser.clicks("#approve").await;
    visit.sees_outcome("done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_denies() {
    let visit = Visit::begin().await;
    let login = visit.is_asked().await;

    visit.browser.clicks("#cancel").await;

    visit.sees_outcome("cancelled").await;
    is_decided(&visit, &login, "denied").await;
    visit
        .browser
        .clicks("[data-view=outcome] [data-go=enter]")
        .await;
    visit.sees("enter").await;
    assert_eq!(
        visit
            .browser
            .eval("return document.querySelector('#code').value")
            .await,
        ""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_click_approves_once_and_slow_answers_show_that_they_are_awaited() {
    let visit = Visit::begin().await;
    visit.is_asked().await;
    // Everything that the page asks from here on takes its time.
    visit.browser.answers_slowly(3_000).await;

    visit
        .browser
        .eval(
            "const b = document.querySelector('#approve'); b.click(); b.click(); \
        document.querySelector('#cancel').click()",
        )
        .await;

    let busy = "document.querySelector('#approve').classList.contains('busy') \
        && document.querySelector('#cancel').ariaDisabled === 'true' \
        && document.querySelector('#status').textContent === 'Approving…'";
    visit.browser.waits_until(busy).await;
    visit.sees_outcome("done").await;
    let asked = visit.browser.requested().await;
    let decisions = asked
        .iter()
        .filter(|url| url.ends_with("/approve") || url.ends_with("/deny"));
    assert_eq!(decisions.count(), 1, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_windows_the_second_finds_the_code_used() {
    let visit = Visit::begin().await;
    let login = visit.is_asked().await;
    visit.browser.opens_a_window().await;
    visit.enters(&login.user_code).await;
    visit.sees("approve").await;

    visit.browser.clicks("#approve").await;
    visit.sees_outcome("done").await;
    visit.browser.is_in_window(0).await;
    visit.browser.clicks("#cancel").await;

    visit.sees_outcome("expired").await;
    is_decided(&visit, &login, "approved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn back_leads_to_the_code_and_forward_to_the_decision_but_never_to_a_second_one() {
    let visit = Visit::begin().await;
    let login = visit.is_asked().await;

    visit.browser.goes_back().await;
    visit.sees("enter").await;
    let value = "return document.querySelector('#code').value";
    assert_eq!(visit.browser.eval(value).await, login.user_code);
    visit.browser.eval("history.forward()").await;
    visit.sees("approve").await;
    visit.browser.clicks("#approve").await;
    visit.sees_outcome("done").await;
    visit.browser.goes_back().await;
    visit.sees("enter").await;
    assert_eq!(visit.browser.eval(value).await, "");
    visit.browser.eval("history.forward()").await;
    visit.sees("enter").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_ends_while_it_is_looked_at_and_one_that_never_was() {
    let visit = Visit::begin().await;
    let login = visit.login().await;
    visit.signs_in().await;
    // The page's clock for the code's end, in a hand of ours.
    let hold = "const set = setTimeout; window.setTimeout = (done, delay) => \
        delay > 600_000 ? void (window.timeIsUp = done) : set(done, delay);";
    visit.browser.runs_first(hold).await;
    visit.enters(&login.user_code).await;
    visit.sees("approve").await;

    visit.browser.eval("timeIsUp()").await;
    visit.sees_outcome("expired").await;
    visit
        .browser
        .clicks("[data-view=outcome] [data-go=enter]")
        .await;
    visit.sees("enter").await;
    visit.browser.types("ABCD-3456").await;
    visit.browser.clicks("#enter button").await;
    visit.sees_outcome("expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_attempts_say_how_long_to_wait() {
    let visit = Visit::with(|gateway| {
        gateway
            .set("rate_limits.lookup", "\"3/1h\"")
            .set("rate_limits.approve", "\"1/1h\"")
    });
    let visit = visit.await;
    let login = visit.is_asked().await;
    visit.browser.clicks("#cancel").await;
    visit.sees_outcome("cancelled").await;
    is_decided(&visit, &login, "denied").await;
    let login = visit.login().await;
    visit.enters(&login.user_code).await;
    visit.sees("approve").await;

    visit.browser.clicks("#approve").await;
    visit.sees_outcome("limited").await;
    let said = visit.browser.text("[data-fill=text]").await;
    assert_eq!(said, "Please wait 1 hour, then try again.");
    // The code is kept; the third look is let through, the fourth is not.
    visit.browser.clicks("[data-go=again]").await;
    visit.sees("approve").await;
    visit.enters(&login.user_code).await;
    visit.sees_outcome("limited").await;
    is_decided(&visit, &login, "pending").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_connection_nothing_is_lost() {
    let visit = Visit::begin().await;
    let login = visit.is_asked().await;
    visit.browser.is_offline(true).await;

    visit.browser.clicks("#approve").await;
    visit.sees_outcome("offline").await;
    visit.browser.clicks("[data-go=again]").await;
    visit.sees_outcome("offline").await;
    visit.browser.is_offline(false).await;
    visit.browser.clicks("[data-go=again]").await;
    visit.sees("approve").await;
    visit.browser.clicks("#approve").await;
    visit.sees_outcome("done").await;
    is_decided(&visit, &login, "approved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_elsewhere_is_a_view_with_a_way_on() {
    let visit = Visit::begin().await;
    let login = visit.is_asked().await;
    // One is a word that every object of JavaScript has.
    for code in ["unknown", "constructor"] {
        let broken = Behaviour::Json(500, json!({"code": code}));
        visit
            .stage
            .upstream
            .on("/console/api/account/profile", broken);

        visit.enters(&login.user_code).await;
        visit.sees_outcome("problem").await;
    }
    visit.signs_in().await;
    visit.browser.clicks("[data-go=again]").await;
    visit.sees("approve").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_never_made_in_another_name_than_the_one_shown() {
    let visit = Visit::begin().await;
    let login = visit.is_asked().await;
    let bob = visit.stage.database.account("bob@example.com", "Bob").await;
    let session = Browser::of(bob);
    visit
        .browser
        .has_cookie("access_token", &session.access)
        .await;
    visit.browser.has_cookie("csrf_token", &session.csrf).await;
    let profile = json!({"id": bob, "name": "Bob", "email": "bob@example.com"});
    let profile = Behaviour::Json(200, profile);
    visit
        .stage
        .upstream
        .on("/console/api/account/profile", profile);

    visit.browser.clicks("#approve").await;

    visit
        .browser
        .waits_until("document.querySelector('#notice').textContent")
        .await;
    visit.sees("approve").await;
    assert_eq!(
        visit.browser.text("[data-fill=email]").await,
        "bob@example.com"
    );
    is_decided(&visit, &login, "pending").await;
    visit.browser.clicks("#approve").await;
    visit.sees_outcome("done").await;
    let granted = login.polls(&visit.stage.gateway).await.json();
    assert_eq!(granted["account"]["email"], "bob@example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_alone_is_enough() {
    let visit = Visit::begin().await;
    let login = visit.login().await;
    visit.signs_in().await;
    visit.browser.goes_to("/device").await;
    visit.sees("enter").await;
    // The field has the focus; what no code has is not taken, and hyphens come by themselves.
    let typed = format!(" {}i0", login.user_code.to_lowercase().replace('-', ""));
    visit.browser.types(&typed).await;
    let value = "return document.querySelector('#code').value";
    assert_eq!(visit.browser.eval(value).await, login.user_code);
    visit.browser.types(ENTER).await;
    visit.sees("approve").await;

    let focused = "return document.activeElement.id || document.activeElement.localName";
    let mut path = vec![visit.browser.eval(focused).await];
    for _ in 0..2 {
        visit.browser.types(TAB).await;
        path.push(visit.browser.eval(focused).await);
    }
    assert_eq!(path, ["h1", "cancel", "approve"]);
    let ring = "const style = getComputedStyle(document.activeElement); \
        return style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2";
    assert_eq!(visit.browser.eval(ring).await, true);
    visit.browser.types(ENTER).await;

    visit.sees_outcome("done").await;
    is_decided(&visit, &login, "approved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_can_be_pasted_and_corrected_in_the_middle() {
    let visit = Visit::begin().await;
    visit.browser.goes_to("/device").await;
    visit.sees("enter").await;
    let paste = |text: &str| format!("document.execCommand('insertText', false, {text:?})");
    let value = "return document.querySelector('#code').value";

    for (pasted, code) in [
        ("abcd-3456", "ABCD-3456"),
        (" a b c d 3 4 5 6 ", "ABCD-3456"),
        ("code: 3456abcd", "3456-ABCD"),
        ("Your code: ABCD-3456", "ABCD-3456"),
        ("Please enter ABCD\u{2011}3456.", "ABCD-3456"),
        ("Your code is abcd 3456", "ABCD-3456"),
        // The hyphen tells a code from any other word.
        ("PASSKEYS ABCD-3456", "ABCD-3456"),
        ("ＡＢＣＤ３４５６", "ABCD-3456"),
        ("ABCD", "ABCD"),
        ("12", ""),
    ] {
        visit
            .browser
            .eval("document.querySelector('#code').select()")
            .await;
        visit.browser.eval(&paste(pasted)).await;
        assert_eq!(visit.browser.eval(value).await, code, "{pasted}");
    }
    visit.browser.types("BCDE345").await;
    let caret = "const f = document.querySelector('#code'); f.setSelectionRange(2, 2)";
    visit.browser.eval(caret).await;
    visit.browser.eval(&paste("9")).await;
    assert_eq!(visit.browser.eval(value).await, "BC9D-E345");
    let caret = "return document.querySelector('#code').selectionStart";
    assert_eq!(visit.browser.eval(caret).await, 3);
    visit.browser.types(BACKSPACE).await;
    visit.browser.clicks("#enter button").await;
    assert_eq!(
        visit.browser.text("#fault").await,
        "Enter all 8 characters of the code."
    );
    visit.sees("enter").await;
}
