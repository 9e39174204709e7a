//! Values of the shared Redis, which Dify writes too.

use difygate::{
    check::entry::{ACCOUNT_ISSUER, Cached, ClientIds},
    clock::Timestamp,
    device::FlowState,
    dify_json,
    token::TokenKind,
};
use serde_json::Value;

/// An entry that is understood says the same when it is written again, and never one thing of an
/// account and another of an external person.
pub fn cache_entry(bytes: &[u8]) {
    let clients = ClientIds::default();
    match Cached::parse(bytes, &clients) {
        Cached::Live { context, .. } => {
            let account = context.subject.kind() == TokenKind::Account;
            assert_eq!(context.subject.account_id().is_some(), account);
            assert_eq!(context.subject.issuer() == ACCOUNT_ISSUER, account);
            assert!(!context.subject.issuer().trim().is_empty());
            let written = Cached::write(&context);
            assert!(written.is_ascii());
            let again = Cached::parse(&written, &clients);
            assert_eq!(again, Cached::Live { context, own: true });
        }
        Cached::Refused => assert_eq!(bytes, b"invalid"),
        Cached::Leased => {
            assert!(bytes.windows(7).any(|part| part == b"\"lease\"") || bytes.contains(&b'\\'))
        }
        Cached::Unusable => {}
    }
    if let Some(at) = str::from_utf8(bytes)
        .ok()
        .and_then(Timestamp::parse_iso8601)
    {
        assert_eq!(Timestamp::parse_iso8601(&at.to_iso8601()), Some(at));
        assert_eq!(Timestamp::parse_iso8601(&at.to_rfc3339_zulu()), Some(at));
    }
}

/// A login's state that is understood says the same when it is written again.
pub fn device_state(bytes: &[u8]) {
    let Some(state) = FlowState::parse(bytes) else {
        return;
    };
    let written = state.to_bytes();
    assert!(written.is_ascii());
    let again = FlowState::parse(&written).expect("what was written is understood");
    assert!(again.to_bytes() == written);
    assert_eq!(again, state);
    // What the device calls itself is shown, whatever it looks like; what was approved is not.
    assert!(!format!("{:?}", state.status).contains("dfoa_"));
}

/// What is written as Python writes it is ASCII, and the same value to whoever reads it.
pub fn python_json(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let written = dify_json::to_vec(&value);
    assert!(written.is_ascii());
    let again: Value = serde_json::from_slice(&written).expect("JSON");
    assert_eq!(again, value);
    assert_eq!(value.is_object(), written.starts_with(b"{"));
}
