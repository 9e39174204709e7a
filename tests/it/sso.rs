//! The enterprise branch, walked as a browser walks it, with a stand-in for the enterprise service
//! on a socket of its own.

mod existence;
mod refusals;
mod replays;
mod rotation;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use crate::support::{
    ENTERPRISE_SECRET, Gateway, Grant, IDP_PAGE, Login, SECRET_KEY, Stage, assertion, claims_of,
    completes, enterprise_stage, request,
};

const DEVICE: &str = "/openapi/v1/oauth/device";
const EVE: &str = "eve@partner.example";
const IDP: &str = "https://idp.partner.example";

/// How many `dfoe_` rows there are beside the stage's own.
async fn minted(stage: &Stage) -> i64 {
    let client = stage.database.client().await;
    let sql = "SELECT count(*) FROM oauth_access_tokens WHERE prefix = 'dfoe_' AND id <> $1";
    let row = client.query_one(sql, &[&stage.external.id]).await.unwrap();
    row.get(0)
}

/// The keys of used nonces.
async fn nonces(stage: &Stage) -> Vec<String> {
    let keys = stage.redis.keys().await.into_iter();
    keys.filter(|key| key.contains("_nonce:")).collect()
}

fn field(line: &Value, name: &str) -> Value {
    Gateway::log_field(line, name).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_without_an_account_walks_the_whole_branch() {
    let (stage, service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    service.take_requests();

    // To the identity provider. People type codes as they like.
    let typed = login.user_code.to_lowercase().replace('-', "%20");
    let begin = request("GET", &format!("{DEVICE}/sso-initiate?user_code={typed}"));
    let begun = stage.refuses(&begin, 302).await;
    assert_eq!(begun.header("location"), Some(IDP_PAGE));
    let cleared = "device_approval_grant=; Path=/openapi/v1/oauth/device; Max-Age=0; HttpOnly; \
                   Secure; SameSite=Lax";
    assert_eq!(begun.header("set-cookie"), Some(cleared));
    let asked = service.take_requests();
    let asked = asked
        .iter()
        .find(|request| request.method() == "POST")
        .unwrap();
    assert_eq!(asked.target(), "/device-flow/sso-initiate");
    let secret = asked.header("enterprise-api-secret-key");
    assert_eq!(secret, Some(ENTERPRISE_SECRET));
    let sent: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(sent.as_object().unwrap().len(), 1);
    let state = sent["signed_state"].as_str().unwrap();
    let (message, signature) = state.rsplit_once('.').unwrap();
    let mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET_KEY.as_bytes()).unwrap();
    let mac = mac.chain_update(message);
    mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap())
        .unwrap();
    let mut state = claims_of(state);
    let life = state["exp"].as_i64().unwrap() - state["iat"].as_i64().unwrap();
    assert_eq!(life, 900);
    assert_eq!(state["nonce"].as_str().unwrap().len(), 22);
    for name in ["exp", "iat", "nonce"] {
        state.as_object_mut().unwrap().remove(name);
    }
    let callback = "https://console.example/openapi/v1/oauth/device/sso-complete";
    let expected = json!({
        "redirect_url": "", "app_code": "", "intent": "device_flow",
        "user_code": login.user_code, "return_to": "", "idp_callback_url": callback,
        "aud": "api.sso.state_envelope",
    });
    assert_eq!(state, expected);

    // Back from it.
    let completed = completes(&assertion(&login.user_code, EVE));
    let completed = stage.refuses(&completed, 302).await;
    assert_eq!(completed.header("location"), Some("/device?sso_verified=1"));
    let set = completed.header("set-cookie").unwrap();
    let attributes = "; Path=/openapi/v1/oauth/device; Max-Age=300; HttpOnly; Secure; SameSite=Lax";
    assert!(set.ends_with(attributes), "{set}");
    let grant = Grant::from(&completed, &login.user_code);

    // What the page shows, as often as it likes.
    let context = stage.refuses(&grant.context(), 200).await.json();
    let again = stage.refuses(&grant.context(), 200).await.json();
    assert_eq!(context, again);
    let expires_at = context["expires_at"].as_str().unwrap();
    assert!(expires_at.ends_with("+00:00"), "{expires_at}");
    let expected = json!({
        "subject_email": EVE, "subject_issuer": IDP, "user_code": login.user_code,
        "csrf_token": grant.csrf, "expires_at": expires_at,
    });
    assert_eq!(context, expected);

    // The approval.
    let approved = stage.refuses(&grant.approves(), 200).await;
    assert_eq!(approved.text(), r#"{"status": "approved"}"#);
    assert_eq!(approved.header("set-cookie"), Some(cleared));

    // What the device gets, and what Dify would read in between.
    let state = login.state(&stage.redis).await.unwrap();
    assert_eq!(state["status"], "approved");
    assert_eq!(state["account_id"], Value::Null);
    assert_eq!(state["subject_issuer"], IDP);
    let granted = login.polls(&stage.gateway).await.json();
    let token = granted["token"].as_str().unwrap();
    assert!(token.starts_with("dfoe_"));
    let expected = json!({
        "token": token, "expires_at": granted["expires_at"], "subject_type": "external_sso",
        "subject_email": EVE, "subject_issuer": IDP, "account": null, "workspaces": [],
        "default_workspace_id": null, "token_id": granted["token_id"],
        "access_token": token, "token_type": "Bearer", "expires_in": granted["expires_in"],
    });
    assert_eq!(granted, expected);

    // What the token may do.
    let bearer = |path: &str| request("GET", path).bearer(token);
    stage
        .forwards(&bearer("/openapi/v1/permitted-external-apps"))
        .await;
    stage.refuses(&bearer("/openapi/v1/apps"), 403).await;
    let account = stage
        .refuses(&bearer("/openapi/v1/account"), 200)
        .await
        .json();
    assert_eq!(account["subject_email"], EVE);

    let audit = stage.gateway.audit_events("oauth.device_flow_approved");
    assert_eq!(audit.len(), 1);
    for (name, value) in [
        ("token_id", granted["token_id"].clone()),
        ("subject_type", json!("external_sso")),
        ("subject_email", json!(EVE)),
        ("account_id", Value::Null),
        ("tenant_id", Value::Null),
        ("client_id", json!("difyctl")),
        ("device_label", json!("difyctl on eve-laptop")),
        ("scopes", json!("apps:run apps:read:permitted-external")),
        ("rotated", json!(false)),
    ] {
        assert_eq!(field(&audit[0], name), value, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_on_another_site_leads_here_and_its_images_do_not() {
    let (stage, _service) =
        enterprise_stage(|gateway| gateway.set("rate_limits.sso_initiate", "\"1/1h\"")).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    let begin = format!("{DEVICE}/sso-initiate?user_code={}", login.user_code);
    let from = |mode: &str, dest: &str| {
        request("GET", &begin)
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", mode)
            .header("Sec-Fetch-Dest", dest)
    };
    for (mode, dest) in [("no-cors", "image"), ("navigate", "iframe")] {
        stage.refuses(&from(mode, dest), 403).await;
    }
    stage.refuses(&from("navigate", "document"), 302).await;
    stage.refuses(&from("navigate", "document"), 429).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_trip_stays_in_the_generation_it_began_in() {
    let (stage, service) = enterprise_stage(|gateway| gateway).await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;
    service.take_requests();

    let begin = format!(
        "/v1/oauth/device/sso-initiate?user_code={}",
        login.user_code
    );
    let begun = stage.refuses(&request("GET", &begin), 302).await;

    let path = "Path=/v1/oauth/device;";
    assert!(begun.header("set-cookie").unwrap().contains(path));
    let asked = service.take_requests();
    let asked = asked
        .iter()
        .find(|request| request.method() == "POST")
        .unwrap();
    let sent: Value = serde_json::from_slice(&asked.body).unwrap();
    let state = claims_of(sent["signed_state"].as_str().unwrap());
    let callback = "https://console.example/v1/device/sso-complete";
    assert_eq!(state["idp_callback_url"], callback);

    let assertion = assertion(&login.user_code, EVE);
    let back = format!("/v1/device/sso-complete?sso_assertion={assertion}");
    let completed = stage.refuses(&request("GET", &back), 302).await;
    assert!(completed.header("set-cookie").unwrap().contains(path));
    let grant = Grant::from(&completed, &login.user_code);
    let cookie = format!("device_approval_grant={}", grant.cookie);
    let context = request("GET", "/v1/oauth/device/approval-context").header("Cookie", &cookie);
    stage.refuses(&context, 200).await;
    let approve = request("POST", "/v1/oauth/device/approve-external")
        .header("Cookie", &cookie)
        .header("X-CSRF-Token", &grant.csrf)
        .json(&json!({"user_code": login.user_code}));
    let approved = stage.refuses(&approve, 200).await;
    assert!(approved.header("set-cookie").unwrap().contains(path));
    assert_eq!(login.polls(&stage.gateway).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_device_and_person_keep_their_row() {
    let (stage, _service) = enterprise_stage(|gateway| gateway).await;
    let mut granted = Vec::new();
    for _ in 0..2 {
        let login = Login::begin(&stage.gateway, "eve-laptop").await;
        let grant = Grant::of(&stage.gateway, &login, EVE).await;
        stage.refuses(&grant.approves(), 200).await;
        granted.push(login.polls(&stage.gateway).await.json());
    }

    assert_eq!(granted[0]["token_id"], granted[1]["token_id"]);
    assert_eq!(minted(&stage).await, 1);
    let account = |granted: &Value| {
        request("GET", "/openapi/v1/account").bearer(granted["token"].as_str().unwrap())
    };
    stage.refuses(&account(&granted[0]), 401).await;
    stage.refuses(&account(&granted[1]), 200).await;
    let audit = stage.gateway.audit_events("oauth.device_flow_approved");
    let rotated: Vec<Value> = audit.iter().map(|line| field(line, "rotated")).collect();
    assert_eq!(rotated, [json!(false), json!(true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_plain_http_the_cookie_is_not_marked_secure() {
    let (stage, _service) = enterprise_stage(|gateway| {
        gateway.set("dify.console_web_url", "\"http://console.example\"")
    })
    .await;
    let login = Login::begin(&stage.gateway, "eve-laptop").await;

    let completed = completes(&assertion(&login.user_code, EVE));
    let completed = stage.refuses(&completed, 302).await;

    assert!(!completed.header("set-cookie").unwrap().contains("Secure"));
}
