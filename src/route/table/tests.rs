use super::*;
use crate::config::RouteUpstream;

fn table(rules: &[RouteRule]) -> Result<RouteTable, Vec<Problem>> {
    let surface = Surface {
        legacy_paths: true,
        enterprise: true,
        device_page: true,
    };
    RouteTable::new(rules, surface)
}

fn rule(pattern: &str, policy: RoutePolicy) -> RouteRule {
    RouteRule {
        pattern: pattern.to_owned(),
        methods: Vec::new(),
        policy,
        accept: Vec::new(),
        scope: None,
        upstream: RouteUpstream::Api,
        allow_unsafe: false,
        line: 7,
    }
}

/// Names the row that a request falls in.
fn row(table: &RouteTable, method: &str, target: &str) -> String {
    let path = CanonicalPath::parse(target.as_bytes()).unwrap();
    let method: Method = method.parse().unwrap();
    match table.decide(&path, &method) {
        Ok(Decision::Local(endpoint)) => format!("local {endpoint:?}"),
        Ok(Decision::LocalOptions(_)) => "options".to_owned(),
        Ok(Decision::MethodNotAllowed(_)) => "405".to_owned(),
        Ok(Decision::Bearer(rule)) => {
            let kinds: Vec<_> = rule.accept.iter().map(|kind| kind.prefix()).collect();
            format!("bearer {}", kinds.join(" "))
        }
        Ok(Decision::BearerOptions(_)) => "bearer options".to_owned(),
        Ok(Decision::Pass {
            upstream,
            refuse_user_level,
        }) => format!(
            "pass {upstream:?}{}",
            if refuse_user_level {
                " no user tokens"
            } else {
                ""
            }
        ),
        Ok(Decision::Deny) => "deny".to_owned(),
        Err(reason) => format!("{reason:?}"),
    }
}

#[test]
fn every_request_falls_in_its_row() {
    let table = table(&[]).unwrap();
    for (method, target, expected) in [
        ("POST", "/openapi/v1/oauth/device/code", "local DeviceCode"),
        (
            "POST",
            "/openapi/v1/oauth/device/token",
            "local DeviceToken",
        ),
        (
            "POST",
            "/openapi/v1/oauth/device/approve",
            "local DeviceApprove",
        ),
        ("POST", "/openapi/v1/oauth/device/deny", "local DeviceDeny"),
        (
            "POST",
            "/openapi/v1/oauth/device/approve-external",
            "local ApproveExternal",
        ),
        (
            "GET",
            "/openapi/v1/oauth/device/lookup?user_code=x",
            "local DeviceLookup",
        ),
        (
            "HEAD",
            "/openapi/v1/oauth/device/lookup",
            "local DeviceLookup",
        ),
        (
            "GET",
            "/openapi/v1/oauth/device/sso-initiate",
            "local SsoInitiate",
        ),
        (
            "GET",
            "/openapi/v1/oauth/device/sso-complete",
            "local SsoComplete",
        ),
        (
            "GET",
            "/openapi/v1/oauth/device/approval-context",
            "local ApprovalContext",
        ),
        ("GET", "/openapi/v1/oauth/device/code", "405"),
        ("OPTIONS", "/openapi/v1/oauth/device/code", "options"),
        ("POST", "/openapi/v1/oauth/device/code/", "deny"),
        ("GET", "/openapi/v1/oauth/device/unknown", "deny"),
        ("GET", "/openapi/v1/oauth/device/", "deny"),
        ("GET", "/openapi/v1/account", "local Account"),
        ("GET", "/openapi/v1/account/", "bearer dfoa_ dfoe_"),
        ("GET", "/openapi/v1/account/sessions", "local Sessions"),
        (
            "DELETE",
            "/openapi/v1/account/sessions/self",
            "local RevokeSelf",
        ),
        (
            "DELETE",
            "/openapi/v1/account/sessions/0196c3a0",
            "local RevokeSession",
        ),
        ("GET", "/openapi/v1/account/sessions/self", "405"),
        ("GET", "/openapi/v1/_health", "pass Api"),
        ("GET", "/openapi/v1/_version", "pass Api"),
        ("POST", "/openapi/v1/_version", "bearer dfoa_ dfoe_"),
        ("GET", "/openapi/v1/permitted-external-apps", "bearer dfoe_"),
        (
            "GET",
            "/openapi/v1/permitted-external-apps/1",
            "bearer dfoe_",
        ),
        ("GET", "/openapi/v1/apps", "bearer dfoa_"),
        ("POST", "/openapi/v1/apps/1/run", "bearer dfoa_"),
        ("GET", "/openapi/v1/appsx", "bearer dfoa_ dfoe_"),
        ("GET", "/openapi/v1/workspaces/1", "bearer dfoa_"),
        ("GET", "/openapi/v1/", "bearer dfoa_ dfoe_"),
        ("OPTIONS", "/openapi/v1/apps", "bearer options"),
        ("GET", "/openapi/v1", "pass Api"),
        ("GET", "/OpenAPI/v1/apps", "pass Api"),
        ("GET", "/inner/api", "deny"),
        ("POST", "/inner/api/x", "deny"),
        ("GET", "/inner/apix", "pass Api"),
        ("GET", "/v1/chat-messages", "pass Api no user tokens"),
        ("GET", "/console/api/apps", "pass Api"),
        ("GET", "/", "pass Api"),
    ] {
        assert_eq!(row(&table, method, target), expected, "{method} {target}");
    }
}

#[test]
fn the_first_generation_is_the_same_endpoints() {
    let table = table(&[]).unwrap();
    for (method, target, expected) in [
        ("POST", "/v1/oauth/device/code", "local DeviceCode"),
        ("POST", "/v1/oauth/device/token", "local DeviceToken"),
        ("GET", "/v1/oauth/device/lookup", "local DeviceLookup"),
        ("GET", "/v1/oauth/device/sso-initiate", "local SsoInitiate"),
        (
            "GET",
            "/v1/oauth/device/approval-context",
            "local ApprovalContext",
        ),
        (
            "POST",
            "/v1/oauth/device/approve-external",
            "local ApproveExternal",
        ),
        ("GET", "/v1/device/sso-complete", "local SsoComplete"),
        (
            "POST",
            "/console/api/oauth/device/approve",
            "local DeviceApprove",
        ),
        ("POST", "/console/api/oauth/device/deny", "local DeviceDeny"),
        ("GET", "/v1/me", "local Account"),
        (
            "DELETE",
            "/v1/oauth/authorizations/self",
            "local RevokeSelf",
        ),
        (
            "POST",
            "/v1/oauth/device/approve",
            "pass Api no user tokens",
        ),
        ("POST", "/console/api/oauth/device/code", "pass Api"),
        (
            "GET",
            "/v1/oauth/device/sso-complete",
            "pass Api no user tokens",
        ),
    ] {
        assert_eq!(row(&table, method, target), expected, "{method} {target}");
    }
    let without = RouteTable::new(
        &[],
        Surface {
            legacy_paths: false,
            enterprise: false,
            device_page: false,
        },
    )
    .unwrap();
    assert_eq!(row(&without, "GET", "/v1/me"), "pass Api no user tokens");
    let external_apps = "/openapi/v1/permitted-external-apps";
    assert_eq!(row(&without, "GET", external_apps), "deny");
    assert_eq!(row(&without, "GET", "/device"), "pass Web");
    let asset = "/openapi/v1/oauth/device/assets/device.js";
    assert_eq!(row(&without, "GET", asset), "deny");
}

#[test]
fn the_page_and_what_it_loads_and_asks_are_local() {
    let table = table(&[]).unwrap();
    for (method, target, expected) in [
        ("GET", "/device", "local DevicePage"),
        ("POST", "/device", "405"),
        ("GET", "/device/", "pass Api"),
        (
            "GET",
            "/openapi/v1/oauth/device/assets/device.js",
            "local DevicePageAsset",
        ),
        ("GET", "/openapi/v1/oauth/device/assets/", "deny"),
        ("GET", "/openapi/v1/oauth/device/assets/x/y", "deny"),
        (
            "GET",
            "/openapi/v1/oauth/device/request",
            "local DeviceRequest",
        ),
    ] {
        assert_eq!(row(&table, method, target), expected, "{method} {target}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let table = table(&[]).unwrap();
    for target in [
        "/openapi/v1/apps;x=1",
        "/openapi/v1;x/apps",
        "/inner;x/api",
        "/%256fpenapi/v1/apps",
        "/openapi/v1/apps/%252e%252e/x",
        "/x/%252e%252e/openapi/v1/apps",
        "/%252finner/api",
    ] {
        assert_eq!(row(&table, "GET", target), "Ambiguous", "{target}");
    }
    assert_eq!(row(&table, "GET", "/files/a;b"), "pass Api");
    assert_eq!(row(&table, "GET", "/files/100%2525"), "pass Api");
}

#[test]
fn configured_rules_come_before_the_built_in_rows() {
    let rules = [
        rule("/v1/datasets/*", RoutePolicy::Deny),
        RouteRule {
            accept: vec![TokenKind::Account],
            ..rule("/internal", RoutePolicy::Bearer)
        },
        RouteRule {
            methods: vec![Method::DELETE],
            ..rule("/openapi/v1/apps/*", RoutePolicy::Deny)
        },
    ];
    let table = table(&rules).unwrap();
    assert_eq!(row(&table, "GET", "/v1/datasets"), "deny");
    assert_eq!(row(&table, "GET", "/v1/datasets/1"), "deny");
    assert_eq!(row(&table, "GET", "/internal"), "bearer dfoa_");
    assert_eq!(row(&table, "GET", "/internal/x"), "pass Api");
    assert_eq!(row(&table, "DELETE", "/openapi/v1/apps/1"), "deny");
    assert_eq!(row(&table, "GET", "/openapi/v1/apps/1"), "bearer dfoa_");
}

#[test]
fn a_rule_that_names_get_is_about_head_too_and_not_the_other_way_round() {
    let by = |method, rule| RouteRule {
        methods: vec![method],
        ..rule
    };
    let rules = [
        by(Method::HEAD, rule("/a", RoutePolicy::Pass)),
        by(Method::GET, rule("/a", RoutePolicy::Deny)),
        by(Method::GET, rule("/b", RoutePolicy::Bearer)),
        by(Method::HEAD, rule("/c", RoutePolicy::Deny)),
    ];
    let table = table(&rules).unwrap();
    for (method, target, expected) in [
        ("HEAD", "/a", "pass Api"),
        ("GET", "/a", "deny"),
        ("HEAD", "/b", "bearer dfoa_ dfoe_"),
        ("POST", "/b", "pass Api"),
        ("HEAD", "/c", "deny"),
        ("GET", "/c", "pass Api"),
        ("HEAD", "/openapi/v1/_health", "pass Api"),
    ] {
        assert_eq!(row(&table, method, target), expected, "{method} {target}");
    }
}

#[test]
fn a_rule_that_opens_what_is_guarded_must_say_so() {
    let opening = [
        rule("/openapi/v1/apps/public/*", RoutePolicy::Pass),
        rule("/inner/api", RoutePolicy::Bearer),
        rule("/openapi/*", RoutePolicy::Pass),
        rule("/*", RoutePolicy::Pass),
        RouteRule {
            accept: vec![TokenKind::ExternalSso],
            ..rule("/openapi/v1/workspaces/*", RoutePolicy::Bearer)
        },
    ];
    for rule in opening {
        let problems = table(std::slice::from_ref(&rule)).unwrap_err();
        assert_eq!(problems.len(), 1, "{}", rule.pattern);
        let meant = RouteRule {
            allow_unsafe: true,
            ..rule
        };
        table(&[meant]).unwrap();
    }
}
