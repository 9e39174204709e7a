//! The status page on the admin listener: what it tells, to whom, and how it looks.

mod browser;
mod connections;

use serde_json::Value;

use crate::support::{
    Behaviour, DedicatedRedis, Gateway, RequestBuilder, Response, Stage, assert_eventually,
    enterprise_stage, request,
};

/// As a browser on the same machine asks.
fn asks_for(path: &str) -> RequestBuilder {
    request("GET", path).header("Host", "localhost:9090")
}

async fn page(gateway: &Gateway) -> Response {
    let page = asks_for("/").send(gateway.admin_addr()).await;
    assert_eq!(page.status, 200, "{page:?}");
    page
}

async fn status(gateway: &Gateway) -> Value {
    let status = asks_for("/status.json").send(gateway.admin_addr()).await;
    assert_eq!(status.status, 200, "{status:?}");
    status.json()
}

fn dependency<'s>(status: &'s Value, name: &str) -> &'s Value {
    let dependencies = status["dependencies"].as_array().unwrap();
    let found = dependencies.iter().find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {status}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_what_the_metrics_say() {
    let stage = Stage::set().await;
    let gateway = &stage.gateway;
    for _ in 0..3 {
        let apps = gateway.get("/openapi/v1/apps", Some(&stage.account.token));
        assert_eq!(apps.await.status, 200);
    }
    assert_eq!(gateway.get("/inner/api/x", None).await.status, 404);
    assert_eventually!(
        {
            let told = status(gateway).await;
            told["requests"]["total"] == 4 && told["status"] == "ready"
        },
        "every request is counted"
    );

    let told = status(gateway).await;

    assert_eq!(told["status"], "ready");
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    for name in ["postgres", "redis", "upstream"] {
        assert_eq!(dependency(&told, name)["state"], "up");
    }
    let of = async |metric| gateway.metric(metric).await;
    assert_eq!(of("difygate_requests_total").await, 4.0);
    assert_eventually!(
        of(r#"difygate_responses_total{class="2xx"}"#).await == 3.0
            && of(r#"difygate_responses_total{class="4xx"}"#).await == 1.0,
        "every answer is counted, after its request"
    );
    assert_eq!(of("difygate_token_checks_total").await, 3.0);
    assert_eq!(told["token_checks"]["total"], 3);
    // A fill's own report may take the new entry out again. The start is less than a rate's window
    // ago, so the rates are of everything.
    let local = of(r#"difygate_token_checks_total{tier="local"}"#).await;
    let ratio = told["token_checks"]["local_ratio"].as_f64().unwrap();
    assert!((ratio - local / 3.0).abs() < 0.001, "{local} {told}");
    let outcomes = &told["requests"]["outcomes_per_second"];
    assert!(outcomes["forwarded"].as_f64() > outcomes["rejected"].as_f64());
    assert!(told["requests"]["classes_per_second"]["2xx"].as_f64() > Some(0.0));
    assert_eq!(told["refusals"][0]["count"], 1, "{told}");
    let listening = told["listening"].as_array().unwrap();
    let addresses = [gateway.addr(), gateway.admin_addr()].map(|it| Value::from(it.to_string()));
    assert!(listening.iter().map(|it| &it["address"]).eq(&addresses));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_revocations_is_told() {
    let stage = Stage::set().await;

    assert_eventually!(
        status(&stage.gateway).await["revocations"]["followed"] == true,
        "changes are followed"
    );

    let told = status(&stage.gateway).await;
    let revocations = &told["revocations"];
    let last = revocations["last_lag_seconds"].as_f64().unwrap();
    let metric = "difygate_token_cache_revocation_lag_last_seconds";
    assert!(last > 0.0 && stage.gateway.metric(metric).await > 0.0);
    assert!(
        revocations["lag_seconds"]["p99"].as_f64() >= revocations["lag_seconds"]["p50"].as_f64()
    );
    assert_eq!(told["page"]["texts"]["revocations.followed"], "followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_script_the_page_says_the_same() {
    // No fault, wherever this runs: the default may need more files than there may be.
    let stage = Stage::with(|gateway| gateway.set("server.max_connections", "1000")).await;
    let gateway = &stage.gateway;
    for _ in 0..7 {
        gateway.get("/v1/info", None).await;
    }
    assert_eventually!(
        {
            let told = status(gateway).await;
            told["requests"]["total"] == 7 && told["status"] == "ready"
        },
        "every request is counted"
    );

    let html = page(gateway).await.text();

    for written in [
        r#"<span data-text="status">ready</span>"#,
        r#"<span data-text="requests.total">7</span>"#,
        r#"<tr data-state="up"><th scope="row">redis</th><td>up</td>"#,
        r#"<tr data-state=""><th scope="row">2xx</th><td>"#,
        "<td colspan=\"3\">none since the start</td>",
    ] {
        assert!(html.contains(written), "{written} is not in {html}");
    }
    assert!(!html.contains("{{"), "a place is not filled");
    let told = status(gateway).await;
    for name in told["page"]["texts"].as_object().unwrap().keys() {
        assert!(html.contains(&format!("data-text=\"{name}\"")), "{name}");
    }
    for name in told["page"]["tables"].as_object().unwrap().keys() {
        assert!(html.contains(&format!("data-table=\"{name}\"")), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_origin_gets_hold_of_it() {
    let gateway = Gateway::builder()
        .set("admin.names", r#"["gate.example.com"]"#)
        .start()
        .await;
    let admin = gateway.admin_addr();
    for path in ["/", "/status.json"] {
        let ask = |host: &str| request("GET", path).header("Host", host);
        // DNS rebinding: a name of somebody else's, led here.
        for host in ["rebound.example", "127.0.0.1.rebound.example:9090"] {
            let refused = ask(host).send(admin).await;
            assert_eq!(refused.status, 421, "{host} {path}");
            assert!(!refused.text().contains("uptime"), "{refused:?}");
        }
        for host in [
            "127.0.0.1:9090",
            "[::1]:9090",
            "GATE.example.com",
            "gate.dify.svc",
        ] {
            assert_eq!(ask(host).send(admin).await.status, 200, "{host} {path}");
        }
        let from_elsewhere = ask("localhost").header("Origin", "https://elsewhere.example");
        let answer = from_elsewhere.send(admin).await;
        assert_eq!(answer.header("access-control-allow-origin"), None);
        for (header, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(header), Some(value), "{path}");
        }
    }
    // Probes and scrapes come by whatever name.
    let scrape = request("GET", "/metrics").header("Host", "gate.monitoring.example");
    assert_eq!(scrape.send(admin).await.status, 200);

    let policy = page(&gateway).await;
    let policy = policy.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_enterprise_service_is_told_of_where_there_is_one() {
    let (stage, service) = enterprise_stage(|gateway| gateway).await;
    let gateway = &stage.gateway;
    let up = r#"difygate_dependency_up{dependency="enterprise"}"#;
    assert_eventually!(gateway.metric(up).await == 1.0, "the service is heard of");
    assert_eq!(
        dependency(&status(gateway).await, "enterprise")["state"],
        "up"
    );

    service.on("/info", Behaviour::Json(500, Value::Null));

    assert_eventually!(gateway.metric(up).await == 0.0, "the outage is noticed");
    let ready = request("GET", "/readyz").send(gateway.admin_addr()).await;
    assert_eq!(ready.status, 200);
    let body = ready.json();
    assert_eq!(body["status"], "ready", "only sign-ins by SSO need it");
    assert_eq!(body["dependencies"]["enterprise"]["state"], "down");
    let without = Gateway::builder().start().await;
    assert!(!without.metrics().await.contains("enterprise"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_errors_are_told_and_quote_nobody() {
    let redis = DedicatedRedis::start().await;
    let gateway = Gateway::builder().redis(redis.space()).start().await;
    let path = "/openapi/v1/oauth/device/lookup?user_code=ABCD-2345";
    gateway.get(path, Some("dfoa_hidden")).await;

    redis.stop();

    let redis_fault = |told: &Value| {
        let faults = told["faults"].as_array().unwrap().iter();
        let mut what = faults.map(|fault| fault["what"].as_str().unwrap());
        what.any(|what| what.starts_with("dependency is down: redis"))
    };
    assert_eventually!(
        redis_fault(&status(&gateway).await),
        "the outage is among the errors"
    );
    let told = format!("{} {}", status(&gateway).await, page(&gateway).await.text());
    for secret in ["ABCD-2345", "dfoa_hidden", "user_code"] {
        assert!(!told.contains(secret), "{secret}");
    }
}
