//! One name for a request, wherever it is spoken of.

use serde_json::Value;

use super::{APPS, Stage, request};
use crate::support::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn the_request_id_of_a_refusal_is_the_one_in_the_access_log() {
    let stage = Stage::set().await;

    let response = stage.refuses(&request("GET", APPS), 401).await;

    let id = response.header("x-request-id").map(Value::from);
    let is_line = |line: &Value| {
        line["target"] == "access" && Gateway::log_field(line, "request_id") == id.as_ref()
    };
    let line = stage.gateway.wait_for_log(is_line).await;
    assert_eq!(Gateway::log_field(&line, "status"), Some(&401.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_id_that_is_forwarded_is_the_one_in_the_access_log() {
    let stage = Stage::with(|gateway| gateway.set("log.access", "\"all\"")).await;

    stage.gateway.get("/x", None).await;

    let seen = stage.upstream.take_requests().remove(0);
    let id = seen.header("x-request-id").map(Value::from);
    let is_line = |line: &Value| {
        line["target"] == "access" && Gateway::log_field(line, "request_id") == id.as_ref()
    };
    stage.gateway.wait_for_log(is_line).await;
}
