use proptest::prelude::*;

use super::*;

/// Values as Dify's own process writes them.
fn fixture(name: &str) -> Vec<u8> {
    let all: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/it/fixtures/redis_values.json")).unwrap();
    all[name].as_str().unwrap().as_bytes().to_vec()
}

fn parse(bytes: &[u8]) -> Cached {
    Cached::parse(bytes, &ClientIds::default())
}

fn live(bytes: &[u8]) -> (TokenContext, bool) {
    match parse(bytes) {
        Cached::Live { context, own } => (context, own),
        other => panic!("not live: {other:?}"),
    }
}

fn record() -> TokenRecord {
    TokenRecord {
        id: Uuid::from_u128(3),
        prefix: "dfoa_".into(),
        subject_email: "ada@example.com".into(),
        subject_issuer: Some("dify:account".into()),
        account_id: Some(Uuid::from_u128(1)),
        account_status: Some(AccountStatus::Usable),
        client_id: "difyctl".into(),
        expires_at: Timestamp::from_unix_seconds(2_000_000_000),
        expired: false,
    }
}

fn judge(record: &TokenRecord, presented: TokenKind) -> Judgement {
    Judgement::of(record, presented, &ClientIds::default())
}

#[test]
fn what_dify_writes_is_understood() {
    let (context, own) = live(&fixture("auth_token_account"));
    assert!(!own);
    assert_eq!(context.client_id.as_deref(), Some("difyctl"));
    assert_eq!(context.subject.email(), "ada@example.com");
    assert_eq!(context.subject.kind(), TokenKind::Account);
    let (context, _) = live(&fixture("auth_token_external"));
    assert_eq!(context.subject.issuer(), "https://idp.partner.example");
    assert_eq!(context.subject.account_id(), None);
    let (context, _) = live(&fixture("auth_token_legacy_verdicts"));
    assert_eq!((context.client_id, context.expires_at), (None, None));
}

#[test]
fn what_we_write_differs_from_difys_bytes_by_the_mark_alone() {
    let theirs = fixture("auth_token_account");
    let ours = String::from_utf8(Cached::write(&live(&theirs).0)).unwrap();
    assert_eq!(
        ours.replace(", \"by\": \"gateway\"", "").into_bytes(),
        theirs
    );
    assert!(live(ours.as_bytes()).1);
}

#[test]
fn what_is_no_value_of_difys_is_unusable() {
    let good = String::from_utf8(fixture("auth_token_account")).unwrap();
    for value in [
        "",
        "Invalid",
        "null",
        "[]",
        "{}",
        "{\"lease\": 1}",
        "{\"lease\": \"abc\", \"token_id\": null}",
        // All that an entry has, in its order, which serde_json would take for the object.
        "[\"ada@example.com\", \"dify:account\", \"0196c3a0-1111-7000-8000-000000000001\", \
         \"difyctl\", \"0196c3a0-3333-7000-8000-000000000003\", null, {}, \"gateway\"]",
        &good.replace("2026-06-11T20:26:40.123456+00:00", "soon"),
        &good.replace("0196c3a0-3333", "not-a-uuid"),
        &good.replace("dify:account", "https://elsewhere.example"),
        &good.replace("{}", "[]"),
        &good[..good.len() - 1],
    ] {
        assert_eq!(parse(value.as_bytes()), Cached::Unusable, "{value}");
    }
    assert_eq!(parse(b"invalid"), Cached::Refused);
    assert_eq!(parse(b"{\"lease\": \"abc\"}"), Cached::Leased);
    let lease = Cached::write_lease(&crate::entropy::OsEntropy);
    assert_eq!(parse(&lease), Cached::Leased);
    assert_ne!(lease, Cached::write_lease(&crate::entropy::OsEntropy));
}

#[test]
fn a_row_is_judged_by_the_token_that_led_to_it() {
    assert!(matches!(
        judge(&record(), TokenKind::Account),
        Judgement::Live(_)
    ));
    assert_eq!(
        judge(&record(), TokenKind::ExternalSso),
        Judgement::Inconsistent
    );
    let orphan = TokenRecord {
        account_id: None,
        account_status: None,
        ..record()
    };
    assert_eq!(judge(&orphan, TokenKind::Account), Judgement::Inconsistent);
    let nobody = TokenRecord {
        prefix: "dfoe_".into(),
        subject_issuer: Some(" ".into()),
        ..orphan
    };
    assert_eq!(
        judge(&nobody, TokenKind::ExternalSso),
        Judgement::Inconsistent
    );
}

#[test]
fn blocked_accounts_and_past_ends_are_told_apart() {
    let banned = TokenRecord {
        account_status: Some(AccountStatus::Blocked),
        ..record()
    };
    assert_eq!(judge(&banned, TokenKind::Account), Judgement::Blocked);
    let expired = TokenRecord {
        expired: true,
        ..banned
    };
    assert_eq!(judge(&expired, TokenKind::Account), Judgement::Expired);
}

#[test]
fn what_dify_has_rewritten_is_no_longer_ours() {
    let ours = String::from_utf8(Cached::write(&live(&fixture("auth_token_account")).0)).unwrap();
    assert!(live(ours.as_bytes()).1);
    // As Dify notes a verdict: the same object, every member kept, one added to.
    let verdict = r#"{"0196c3a0-4444-7000-8000-000000000004": true}"#;
    let rewritten = ours.replace("{}", verdict);
    assert_ne!(rewritten, ours);
    let (context, own) = live(rewritten.as_bytes());
    assert!(!own);
    assert_eq!(context, live(ours.as_bytes()).0);
}

#[test]
fn an_entry_ends_with_its_token() {
    use std::time::Duration;
    let (now, instant) = (Timestamp::from_unix_seconds(1_000), Monotonic::default());
    let deadline = instant.plus(Duration::from_secs(60));
    let ending_in = |seconds: i64| {
        let mut context = live(&fixture("auth_token_account")).0;
        context.expires_at = Some(Timestamp::from_unix_seconds(1_000 + seconds));
        let entry = Entry::new(context, deadline).for_keeping(now, instant);
        entry.deadline().since(instant).as_secs()
    };
    assert_eq!(
        [ending_in(-1), ending_in(0), ending_in(5), ending_in(90)],
        [0, 0, 5, 60]
    );
}

#[test]
fn client_ids_are_kept_once_and_not_without_bound() {
    let clients = ClientIds::default();
    assert!(Arc::ptr_eq(&clients.intern("a"), &clients.intern("a")));
    for n in 0..2 * ClientIds::LIMIT {
        clients.intern(&n.to_string());
    }
    assert_eq!(clients.0.read().unwrap().len(), ClientIds::LIMIT);
}

proptest! {
    #[test]
    fn no_value_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        parse(&bytes);
    }

    #[test]
    fn what_is_written_reads_back(
        email in "\\PC{1,40}",
        issuer in "https://[a-zé😀\"\\\\]{1,20}",
        client in "\\PC{0,20}",
        seconds in 0_i64..4_000_000_000,
    ) {
        let context = TokenContext {
            token_id: Uuid::from_u128(7),
            subject: Subject::ExternalSso { email: email.into(), issuer: issuer.into() },
            client_id: Some(client.into()),
            expires_at: Some(Timestamp::from_unix_seconds(seconds)),
        };
        let written = Cached::write(&context);
        prop_assert!(written.is_ascii());
        prop_assert_eq!(live(&written), (context, true));
    }
}
