//! Request targets that have more than one reading, or none.

use super::{assert_nothing_went_through, open, send};

/// Targets in absolute form.
const ABSOLUTE: &[&str] = &[
    "http://a/openapi/v1/apps",
    "http://other.test/x",
    "HTTPS://a/x",
    "http://a",
    "ftp://a/x",
];

/// Targets that begin with no slash.
const NO_PATH: &[&str] = &["*", "gateway.test:80", "x", "?x", "%2Fopenapi/v1/apps"];

/// Paths with a dot segment, in every spelling.
const DOTS: &[&str] = &[
    "/openapi/v1/../../x",
    "/x/../openapi/v1/apps",
    "/./openapi/v1/apps",
    "/x/..",
    "/x/.",
    "/openapi/v1/%2e%2e/x",
    "/openapi/v1/%2E./x",
    "/x/.%2e",
    "/x/%2e",
    "/x/..;a/openapi/v1/apps",
    "/x/.;/openapi/v1/apps",
];

/// Paths with a separator or a control in disguise.
const SEPARATORS: &[&str] = &[
    "/openapi%2Fv1/apps",
    "/files%2fx",
    "/openapi%5cv1/apps",
    "/files%5Cx",
    "/files\\x",
    "/openapi\\v1\\apps",
    "/x%00",
    "/openapi/v1/apps%00",
    "/x%0a",
    "/x%0d%0aX-A:b",
    "/x%7f",
    "/x%1f",
];

/// Targets with a control as it is.
const CONTROLS: &[&str] = &["/x\0", "/openapi/v1/apps\0", "/x\x01", "/x\x7f", "/x\ty"];

/// Targets of a request line that is no three words.
const MENDED: &[&str] = &[
    "/x y",
    "/x ",
    " /x",
    "/x HTTP/1.1",
    "/x HTTP/1.1 /openapi/v1/apps",
    "/openapi/v1/apps HTTP/1.1",
    "/x?a b",
    "/x?a \"<b>\"",
    "/x?a\0b",
    "/x?a\tb",
    "/x?a\rb",
    "/x?a\x7fb",
];

/// Paths with a parameter in a guarded prefix.
const PARAMETERS: &[&str] = &[
    "/openapi/v1;a=b/apps",
    "/openapi;x/v1/apps",
    "/openapi/v1/apps;x",
    "/openapi/v1/account;x",
    "/openapi/v1/apps%3Bx",
    "/inner;x/api",
    "/;/inner/api",
    "/v1/me;x",
];

/// Paths that would be others if they were decoded twice.
const TWICE: &[&str] = &[
    "/%256fpenapi/v1/apps",
    "/openapi/v1/%2561pps",
    "/%2569nner/api",
    "/x/%252e%252e/openapi/v1/apps",
    "/openapi%252Fv1/apps",
    "/openapi/v1/apps%2500",
    "/openapi/v1/acc%256funt",
];

/// Paths that cannot be decoded.
const MALFORMED: &[&str] = &[
    "/x%",
    "/x%4",
    "/x%zz",
    "/%u002e/x",
    "/openapi/v1/%",
    "/x%ff",
    "/x%c0%af",
];

/// All of them.
pub(crate) const REFUSED: [&[&str]; 9] = [
    ABSOLUTE, NO_PATH, DOTS, SEPARATORS, CONTROLS, MENDED, PARAMETERS, TWICE, MALFORMED,
];

/// Paths below `/openapi/v1`, spelt otherwise.
pub(crate) const OF_OPENAPI: [&str; 4] = [
    "//openapi//v1/apps",
    "/openapi/v1//apps",
    "/%6Fpenapi/v1/apps",
    "/openapi/%761/x",
];

/// Paths below `/inner/api`, spelt otherwise.
pub(crate) const OF_INNER: [&str; 3] = ["//inner/api/x", "/inner//api/x", "/inner/%61pi/x"];

/// Each of these targets is refused with 400, and the upstream does not see it.
async fn refused(targets: &[&str]) {
    let (gateway, upstream) = open().await;
    for target in targets {
        for method in ["GET", "POST", "OPTIONS"] {
            let bytes =
                format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            let (response, _) = send(&gateway, &bytes).await;
            assert_eq!(response.status, 400, "{method} {target:?} got {response:?}");
        }
        assert_nothing_went_through(&gateway, &upstream).await;
    }
    upstream.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absolute_form_is_refused() {
    refused(ABSOLUTE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asterisk_and_authority_form_are_refused() {
    refused(NO_PATH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused_with_405_and_allow() {
    let (gateway, upstream) = open().await;
    for target in ["gateway.test:443", "/x"] {
        let bytes = format!("CONNECT {target} HTTP/1.1\r\nHost: gateway.test:443\r\n\r\n");
        let (response, _) = send(&gateway, &bytes).await;
        assert_eq!(response.status, 405, "{target} {response:?}");
        assert!(response.header("allow").is_some(), "{target} {response:?}");
        assert_nothing_went_through(&gateway, &upstream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dot_segments_are_refused_in_every_spelling() {
    refused(DOTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encoded_and_literal_separators_and_controls_are_refused() {
    refused(SEPARATORS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_literal_nul_or_control_is_refused() {
    refused(CONTROLS).await;
}

/// pingora would mend most of these (`design/engine.md` section 1.6), and what it makes of them is not what
/// others read.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_line_that_would_have_to_be_mended_is_refused() {
    refused(MENDED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_in_a_guarded_prefix_is_refused() {
    refused(PARAMETERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn double_encoding_that_would_change_the_row_is_refused() {
    refused(TWICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_encoding_is_refused() {
    refused(MALFORMED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_is_refused() {
    refused(&["/x#y", "/openapi/v1/apps#", "/x?y#z", "/#/openapi/v1/apps"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_slashes_and_mixed_case_do_not_get_past_a_guard() {
    let (gateway, upstream) = open().await;
    for path in OF_OPENAPI {
        assert_eq!(gateway.get(path, None).await.status, 401, "{path}");
    }
    for path in OF_INNER {
        assert_eq!(gateway.get(path, None).await.status, 404, "{path}");
    }
    assert_nothing_went_through(&gateway, &upstream).await;
}
