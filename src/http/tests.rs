use std::time::Duration;

use super::*;

#[test]
fn every_refusal_has_its_status_code_and_headers() {
    let table: Vec<String> = Rejection::EXAMPLES
        .iter()
        .map(|rejection| {
            let reply = rejection.reply();
            let body: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
            let bare = matches!(
                rejection,
                Rejection::Flow(_) | Rejection::Sso(_) | Rejection::NoConsoleSession
            );
            if !bare {
                assert_eq!(body["status"], reply.status().as_u16());
            }
            let text = ["message", "error_description"].map(|name| body[name].is_string());
            assert!(text.contains(&true));
            let code = body.get("code").or_else(|| body.get("error"));
            let headers: Vec<String> = reply
                .headers()
                .map(|(name, value)| format!(" {name}: {value}"))
                .collect();
            format!(
                "{} {} {}{}",
                rejection.reason(),
                reply.status().as_u16(),
                code.unwrap().as_str().unwrap(),
                headers.concat()
            )
        })
        .collect();
    assert_eq!(
        table,
        [
            "target 400 bad_request",
            "malformed 400 bad_request",
            "header_too_large 431 request_header_fields_too_large",
            "bearer_required 401 unauthorized www-authenticate: Bearer realm=\"api\"",
            "invalid_token 401 unauthorized www-authenticate: Bearer realm=\"api\", error=\"invalid_token\"",
            "wrong_surface 403 forbidden",
            "insufficient_scope 403 forbidden www-authenticate: Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"apps:run\"",
            "not_found 404 not_found",
            "method_not_allowed 405 method_not_allowed allow: OPTIONS, POST",
            "connect_refused 405 method_not_allowed allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
            "bearer_disabled 503 bearer_auth_disabled",
            "auth_unavailable 503 auth_unavailable retry-after: 2",
            "store_unavailable 503 auth_unavailable retry-after: 5",
            "unsupported_client 400 unsupported_client",
            "unsupported_grant_type 400 unsupported_grant_type",
            "user_code_exhausted 503 user_code_exhausted",
            "slow_down 400 slow_down",
            "authorization_pending 400 authorization_pending",
            "access_denied 400 access_denied",
            "expired_token 400 expired_token",
            "invalid_grant 400 invalid_grant",
            "mint_policy_violation 400 mint_policy_violation",
            "expired_or_unknown 404 expired_or_unknown",
            "already_resolved 409 already_resolved",
            "approve_in_progress 409 approve_in_progress",
            "state_lost 409 state_lost",
            "user_code required 400 user_code required",
            "invalid_user_code 400 invalid_user_code",
            "console_api_url_unset 502 console_api_url_unset",
            "sso_initiate_failed 502 sso_initiate_failed",
            "sso_initiate_missing_url 502 sso_initiate_missing_url",
            "invalid_sso_assertion 400 invalid_sso_assertion",
            "user_code_not_pending 404 user_code_not_pending",
            "user_code_not_pending 409 user_code_not_pending",
            "no_session 401 no_session www-authenticate: Bearer realm=\"api\"",
            "invalid_session 401 invalid_session www-authenticate: Bearer realm=\"api\"",
            "csrf_mismatch 403 csrf_mismatch",
            "user_code_mismatch 400 user_code_mismatch",
            "email_belongs_to_dify_account 403 email_belongs_to_dify_account",
            "session_already_consumed 401 session_already_consumed www-authenticate: Bearer realm=\"api\"",
            "oauth_request 400 bad_request",
            "body 400 bad_request",
            "query 422 invalid_param",
            "body_too_large 413 request_entity_too_large",
            "slow_body 408 request_timeout",
            "limited 429 too_many_requests retry-after: 2 ratelimit-policy: \"lookup\";q=60;w=300 ratelimit: \"lookup\";r=0;t=2",
            "no_console_session 401 unauthorized www-authenticate: Bearer realm=\"api\"",
            "not_set_up 401 not_setup www-authenticate: Bearer realm=\"api\"",
            "account_not_initialized 400 account_not_initialized",
            "csrf 401 unauthorized www-authenticate: Bearer realm=\"api\"",
            "bad_gateway 502 bad_gateway",
            "gateway_timeout 504 gateway_timeout",
            "internal 500 internal_server_error",
        ]
    );
}

#[test]
fn every_code_of_the_device_flow_is_in_the_table() {
    for error in FlowError::ALL {
        assert!(Rejection::EXAMPLES.contains(&Rejection::Flow(error)));
    }
    for error in SsoError::ALL {
        assert!(Rejection::EXAMPLES.contains(&Rejection::Sso(error)));
    }
}

#[test]
fn every_member_at_fault_is_named_in_the_details() {
    let faults = vec![
        Fault::new("client_id", "missing", "client_id is required"),
        Fault::new("", "json_invalid", "the body is not valid JSON"),
    ];
    let body = |rejection: Rejection| -> serde_json::Value {
        serde_json::from_slice(rejection.reply().body()).unwrap()
    };
    let expected = serde_json::json!({
        "code": "bad_request",
        "message": "client_id is required; the body is not valid JSON",
        "status": 400,
        "details": [
            {"type": "missing", "loc": ["client_id"], "msg": "client_id is required"},
            {"type": "json_invalid", "loc": [], "msg": "the body is not valid JSON"},
        ],
    });
    assert_eq!(body(Rejection::Body(faults.clone())), expected);
    let mut oauth = expected;
    oauth["error"] = "invalid_request".into();
    assert_eq!(body(Rejection::OAuthRequest(faults)), oauth);
}

#[test]
fn a_console_session_is_refused_in_difys_very_words() {
    assert_eq!(
        Rejection::NoConsoleSession.reply().body(),
        br#"{"code": "unauthorized", "message": "Unauthorized."}"#
    );
}

#[test]
fn nobody_is_told_to_come_back_at_once() {
    assert_eq!(reply::whole_seconds(Duration::ZERO), 1);
    assert_eq!(reply::whole_seconds(Duration::from_millis(1_001)), 2);
}
