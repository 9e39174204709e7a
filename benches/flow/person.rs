//! One login: a device that polls and a person at the console.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::{
    meter::{Call, Meter},
    support::{Browser, Login, RequestBuilder, Response, request},
};

const DEVICE: &str = "/openapi/v1/oauth/device";
const ACCOUNT: &str = "/openapi/v1/account";

/// The interval that RFC 8628 has, and a moment more: the gateway counts from when a poll arrives.
const BETWEEN_POLLS: Duration = Duration::from_millis(5_100);

/// Logs in on a host, looks at the account, and logs out; tells what was unexpected.
pub(crate) async fn logs_in_and_out(
    meter: &Meter,
    browser: &Browser,
    host: &str,
) -> Result<(), String> {
    let login = begins(meter, host).await?;
    for _ in 0..2 {
        let poll = meter.sends(Call::PendingPoll, &login.poll()).await;
        let polled = Instant::now();
        let body = expect(Call::PendingPoll, &poll, 400)?;
        if body["error"] != "authorization_pending" {
            return Err(format!("a pending poll: {poll:?}"));
        }
        sleep_until(polled + BETWEEN_POLLS).await;
    }
    let approve = browser.posts(&format!("{DEVICE}/approve"), &login.user_code);
    calls(meter, Call::Approve, &approve).await?;
    let granted = calls(meter, Call::GrantedPoll, &login.poll()).await?;
    let token = granted["token"].as_str().ok_or("a grant without a token")?;

    let account = request("GET", ACCOUNT).bearer(token);
    calls(meter, Call::Account, &account).await?;
    let revoke = request("DELETE", &format!("{ACCOUNT}/sessions/self")).bearer(token);
    calls(meter, Call::Revoke, &revoke).await?;
    Ok(())
}

async fn begins(meter: &Meter, host: &str) -> Result<Login, String> {
    let body = json!({"client_id": "difyctl", "device_label": format!("difyctl on {host}")});
    let code = request("POST", &format!("{DEVICE}/code")).json(&body);
    let body = calls(meter, Call::Code, &code).await?;
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    Ok(Login {
        device_code: text("device_code").ok_or("no device code")?,
        user_code: text("user_code").ok_or("no user code")?,
    })
}

async fn calls(meter: &Meter, call: Call, request: &RequestBuilder) -> Result<Value, String> {
    let response = meter.sends(call, request).await;
    expect(call, &response, 200)
}

fn expect(call: Call, response: &Response, status: u16) -> Result<Value, String> {
    if response.status == status {
        Ok(response.json())
    } else {
        Err(format!("{}: {response:?}", call.name()))
    }
}
