//! What the stores of the device flow promise, asked of the embedded and of the real ones.

use std::{net::IpAddr, sync::Arc, time::Duration};

use difygate::{
    clock::Timestamp,
    device::{DeviceCode, UserCode},
    entropy::OsEntropy,
    rate_limit::{Caller, Limit, WindowKey},
    store::{
        Directory, FlowStore, NewToken, Person, SessionOwner, SessionStore, TokenStore, Windows,
        Workspace,
        embedded::{EmbeddedDirectory, EmbeddedFlows, EmbeddedTokens, EmbeddedWindows},
        postgres::{PgDirectory, PgSessionStore, PgTokenStore},
        redis::{RedisFlowStore, RedisWindows},
    },
};
use uuid::Uuid;

use crate::{
    contract::{clock, hash_of, postgres_link, redis_link},
    support::{Database, RedisSpace, assert_eventually},
};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(80);

/// A window that turns within a test, and not between two requests.
const TURNS: Duration = Duration::from_secs(2);

fn codes() -> (DeviceCode, UserCode) {
    (DeviceCode::draw(&OsEntropy), UserCode::draw(&OsEntropy))
}

/// Runs `attempt` many times at once; how many of them said yes.
async fn winners<F>(count: usize, attempt: impl Fn(usize) -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let attempts: Vec<_> = (0..count).map(|n| tokio::spawn(attempt(n))).collect();
    let mut winners = 0;
    for attempt in attempts {
        winners += usize::from(attempt.await.unwrap());
    }
    winners
}

/// The promises of [`FlowStore`].
pub(crate) async fn flow_contract(flows: Arc<dyn FlowStore>) {
    let (device, user) = codes();
    assert_eq!(flows.device_code_of(&user).await.unwrap(), None);
    assert_eq!(flows.state(&device).await.unwrap(), None);

    // A user code is claimed once.
    assert!(flows.claim_user_code(&user, &device, LONG).await.unwrap());
    let (other, _) = codes();
    assert!(!flows.claim_user_code(&user, &other, LONG).await.unwrap());
    let found = flows.device_code_of(&user).await.unwrap();
    assert_eq!(found, Some(device.clone()));

    // A state is replaced only where it is what was expected, and takes its successor's time.
    flows.put(&device, b"pending", LONG).await.unwrap();
    assert!(!flows.decide(&device, b"x", b"no", LONG).await.unwrap());
    assert!(!flows.decide(&other, b"pending", b"no", LONG).await.unwrap());
    let ttl = 2 * LONG;
    let decided = flows.decide(&device, b"pending", b"approved", ttl).await;
    assert!(decided.unwrap());
    let state = flows.state(&device).await.unwrap().unwrap();
    assert_eq!(state.bytes, b"approved");
    assert!(state.remaining > LONG && state.remaining <= ttl);

    // It is taken once, and only as what it is.
    assert!(!flows.consume(&device, b"pending").await.unwrap());
    assert!(flows.consume(&device, b"approved").await.unwrap());
    assert!(!flows.consume(&device, b"approved").await.unwrap());
    assert_eq!(flows.state(&device).await.unwrap(), None);

    // A poll learns when the one before was.
    assert_eq!(flows.note_poll(&device, 1.5, LONG).await.unwrap(), None);
    let before = flows.note_poll(&device, 2.25, LONG).await.unwrap();
    assert_eq!(before, Some(1.5));

    // The right to approve is one's, and only its owner gives it back.
    assert!(flows.begin_approving(&device, "a", LONG).await.unwrap());
    assert!(!flows.begin_approving(&device, "b", LONG).await.unwrap());
    flows.end_approving(&device, "b").await.unwrap();
    assert!(!flows.begin_approving(&device, "b", LONG).await.unwrap());
    flows.end_approving(&device, "a").await.unwrap();
    assert!(flows.begin_approving(&device, "b", SHORT).await.unwrap());

    // Nothing is left after tidying, and what has ended is not in the way.
    flows.tidy(&device, Some(&user)).await.unwrap();
    assert_eq!(flows.device_code_of(&user).await.unwrap(), None);
    assert_eq!(flows.note_poll(&device, 3.0, SHORT).await.unwrap(), None);
    assert_eventually!(
        flows.begin_approving(&device, "c", SHORT).await.unwrap(),
        "the right to approve ends"
    );
}

/// Of many who decide or consume at once, one does.
pub(crate) async fn flow_races(flows: Arc<dyn FlowStore>) {
    let (device, user) = codes();
    flows.put(&device, b"pending", LONG).await.unwrap();
    let (store, code, name) = (Arc::clone(&flows), device.clone(), user.clone());
    let claimed = winners(20, move |_| {
        let (store, code, name) = (Arc::clone(&store), code.clone(), name.clone());
        async move { store.claim_user_code(&name, &code, LONG).await.unwrap() }
    });
    assert_eq!(claimed.await, 1);
    let (store, code) = (Arc::clone(&flows), device.clone());
    let decided = winners(50, move |n| {
        let (store, code) = (Arc::clone(&store), code.clone());
        async move {
            let state = format!("decided by {n}");
            let decided = store.decide(&code, b"pending", state.as_bytes(), LONG);
            decided.await.unwrap()
        }
    });
    assert_eq!(decided.await, 1);
    let state = flows.state(&device).await.unwrap().unwrap().bytes;
    let (store, code) = (Arc::clone(&flows), device.clone());
    let consumed = winners(200, move |_| {
        let (store, code, state) = (Arc::clone(&store), code.clone(), state.clone());
        async move { store.consume(&code, &state).await.unwrap() }
    });
    assert_eq!(consumed.await, 1);
    flows.tidy(&device, Some(&user)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_logins_keep_their_promises() {
    let flows = Arc::new(EmbeddedFlows::new(clock()));
    flow_contract(Arc::clone(&flows) as Arc<dyn FlowStore>).await;
    flow_races(flows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_in_redis_keep_their_promises() {
    let space = RedisSpace::create().await;
    let link = redis_link(&space);
    link.connect().await;
    let flows = Arc::new(RedisFlowStore::new(link));
    flow_contract(Arc::clone(&flows) as Arc<dyn FlowStore>).await;
    flow_races(flows).await;
    // Every key has the prefix, those in scripts too; what is short has ended.
    assert_eventually!(space.count_keys().await == 0, "nothing is left");
}

fn window(address: &str) -> WindowKey {
    let address: IpAddr = address.parse().unwrap();
    WindowKey::new(Limit::Lookup, Caller::Address(address))
}

/// The promises of [`Windows`].
pub(crate) async fn windows_contract(windows: Arc<dyn Windows>) {
    let key = window("203.0.113.7");
    for used in 1..=3 {
        let hit = windows.hit(&key, 3, LONG, u64::from(used)).await.unwrap();
        assert_eq!((hit.admitted, hit.used), (true, used));
        assert!(hit.oldest_leaves_in <= LONG && hit.oldest_leaves_in > LONG / 2);
    }
    let full = windows.hit(&key, 3, LONG, 9).await.unwrap();
    assert_eq!((full.admitted, full.used), (false, 3));
    assert!(full.oldest_leaves_in <= LONG && full.oldest_leaves_in > LONG / 2);

    // Another caller has another window.
    let hit = windows.hit(&window("203.0.113.8"), 3, LONG, 1).await;
    assert!(hit.unwrap().admitted);

    // The window slides, and a refused hit was not counted.
    let short = window("203.0.113.9");
    assert!(windows.hit(&short, 1, TURNS, 1).await.unwrap().admitted);
    assert!(!windows.hit(&short, 1, TURNS, 2).await.unwrap().admitted);
    assert_eventually!(
        windows.hit(&short, 1, TURNS, 3).await.unwrap().admitted,
        "the window slides"
    );

    // Many at once never overshoot.
    let shared = Arc::clone(&windows);
    let admitted = winners(50, move |n| {
        let windows = Arc::clone(&shared);
        async move {
            let key = window("203.0.113.10");
            let hit = windows.hit(&key, 10, LONG, n as u64).await;
            hit.unwrap().admitted
        }
    });
    assert_eq!(admitted.await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_windows_keep_their_promises() {
    windows_contract(Arc::new(EmbeddedWindows::new(clock()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_in_redis_keep_their_promises_and_end_by_themselves() {
    let space = RedisSpace::create().await;
    let link = redis_link(&space);
    link.connect().await;
    windows_contract(Arc::new(RedisWindows::new(link))).await;

    let key = "rl:lookup:ip:203.0.113.7";
    assert!((100..=120).contains(&space.ttl(key).await), "2 × window");
    assert!(space.keys().await.iter().all(|key| key.starts_with("rl:")));
}

fn token(account: Uuid, label: &str, secret: &str, expires_at: Timestamp) -> NewToken {
    NewToken {
        id: Uuid::new_v4(),
        prefix: "dfoa_",
        subject_email: "ada@example.com".into(),
        subject_issuer: "dify:account".into(),
        account_id: Some(account),
        client_id: "difyctl".into(),
        device_label: label.into(),
        hash: hash_of(secret),
        expires_at,
    }
}

/// The promises of [`SessionStore`]: `tokens` sees what `sessions` writes, of two accounts.
async fn sessions_contract(
    sessions: Arc<dyn SessionStore>,
    tokens: Arc<dyn TokenStore>,
    [ada, bob]: [Uuid; 2],
) {
    let until = clock().now().plus(LONG);
    let owner = SessionOwner::Account(ada);

    // The first login of a device inserts, the next rotates in place.
    let first = token(ada, "laptop", "first", until);
    let written = sessions.write(&first).await.unwrap();
    assert_eq!((written.id, written.replaced), (first.id, None));
    assert!(sessions.is_live(first.id, &first.hash).await.unwrap());
    let second = token(ada, "laptop", "second", until);
    let written = sessions.write(&second).await.unwrap();
    assert_eq!(written.id, first.id);
    assert_eq!(written.replaced.unwrap().hash, Some(first.hash));
    assert!(!sessions.is_live(first.id, &first.hash).await.unwrap());
    assert!(sessions.is_live(first.id, &second.hash).await.unwrap());
    assert_eq!(tokens.find_by_hash(&first.hash).await.unwrap(), None);
    let row = tokens.find_by_hash(&second.hash).await.unwrap().unwrap();
    assert_eq!(
        (row.id, row.account_id, row.expired),
        (first.id, Some(ada), false)
    );

    // Another device is another row; the list has the newest first, and pages.
    let phone = token(ada, "phone", "phone", until);
    sessions.write(&phone).await.unwrap();
    let over = token(ada, "over", "over", clock().now());
    sessions.write(&over).await.unwrap();
    let (listed, total) = sessions.sessions(&owner, 0, 10).await.unwrap();
    let ids: Vec<Uuid> = listed.iter().map(|session| session.id).collect();
    assert_eq!((ids, total), (vec![phone.id, first.id], 2));
    assert_eq!(listed[0].device_label, "phone");
    assert_eq!(listed[0].last_used_at, None);
    let (listed, total) = sessions.sessions(&owner, 1, 1).await.unwrap();
    assert_eq!((listed[0].id, total), (first.id, 2));
    let (listed, total) = sessions.sessions(&owner, 9, 1).await.unwrap();
    assert_eq!((listed.len(), total), (0, 2));

    // Nobody sees or ends what is another's.
    let stranger = SessionOwner::Account(bob);
    assert_eq!(sessions.sessions(&stranger, 0, 10).await.unwrap().1, 0);
    assert_eq!(sessions.revoke(&stranger, phone.id).await.unwrap(), None);
    assert!(sessions.is_live(phone.id, &phone.hash).await.unwrap());

    // A session ends once, and its owner learns which hash it had.
    let ended = sessions.revoke(&owner, phone.id).await.unwrap();
    assert_eq!(ended, Some(Some(phone.hash)));
    assert_eq!(sessions.revoke(&owner, phone.id).await.unwrap(), None);
    assert_eq!(sessions.revoke(&owner, Uuid::nil()).await.unwrap(), None);
    assert!(!sessions.is_live(phone.id, &phone.hash).await.unwrap());

    // After that the device gets a row of its own again.
    let again = token(ada, "phone", "again", until);
    let written = sessions.write(&again).await.unwrap();
    assert_eq!((written.id, written.replaced), (again.id, None));
}

/// Sessions without an account belong to an e-mail and an issuer.
async fn external_sessions(sessions: Arc<dyn SessionStore>) {
    let external = NewToken {
        prefix: "dfoe_",
        subject_email: "eve@example.com".into(),
        subject_issuer: "https://idp.example.com".into(),
        account_id: None,
        ..token(Uuid::nil(), "laptop", "external", clock().now().plus(LONG))
    };
    sessions.write(&external).await.unwrap();
    let owner = |issuer: &str| SessionOwner::External {
        email: "eve@example.com".into(),
        issuer: issuer.into(),
    };
    let other = owner("https://other.example.com");
    assert_eq!(sessions.sessions(&other, 0, 10).await.unwrap().1, 0);
    assert_eq!(sessions.revoke(&other, external.id).await.unwrap(), None);
    let right = owner("https://idp.example.com");
    assert_eq!(sessions.sessions(&right, 0, 10).await.unwrap().1, 1);
    let ended = sessions.revoke(&right, external.id).await.unwrap();
    assert_eq!(ended, Some(Some(external.hash)));
}

/// Uses are noted forward, a minute at least, and only of the present token.
async fn notes_of_use(sessions: Arc<dyn SessionStore>, account: Uuid) {
    let now = clock().now();
    let token = token(account, "noted", "noted", now.plus(LONG));
    sessions.write(&token).await.unwrap();
    let written = clock().now();
    let seconds = |n| written.plus(Duration::from_secs(n));
    let owner = SessionOwner::Account(account);

    for (at, noted) in [
        (Timestamp::from_unix_seconds(1), None),
        (seconds(10), Some(seconds(10))),
        (seconds(69), Some(seconds(10))),
        (seconds(70), Some(seconds(70))),
        (seconds(20), Some(seconds(70))),
    ] {
        let notes = [(token.id, at), (Uuid::nil(), at)];
        sessions.note_used(&notes).await.unwrap();
        let (listed, _) = sessions.sessions(&owner, 0, 1).await.unwrap();
        assert_eq!(listed[0].last_used_at, noted);
    }
    sessions.revoke(&owner, token.id).await.unwrap();
    sessions
        .note_used(&[(token.id, seconds(999))])
        .await
        .unwrap();
}

/// Of many logins of one device, each ends the one before: one row, one live token, and every
/// other hash was told to exactly one of them.
async fn concurrent_logins(sessions: Arc<dyn SessionStore>, account: Uuid) {
    let until = clock().now().plus(LONG);
    let attempts: Vec<_> = (0..20)
        .map(|n| {
            let sessions = Arc::clone(&sessions);
            let token = token(account, "shared", &format!("login {n}"), until);
            tokio::spawn(async move { (token.hash, sessions.write(&token).await.unwrap()) })
        })
        .collect();
    let mut written = Vec::new();
    for attempt in attempts {
        written.push(attempt.await.unwrap());
    }
    let id = written[0].1.id;
    assert!(written.iter().all(|(_, row)| row.id == id));
    let mut live = 0;
    for (hash, _) in &written {
        let ended = written.iter().filter(|(_, row)| {
            row.replaced
                .as_ref()
                .is_some_and(|old| old.hash == Some(*hash))
        });
        let is_live = sessions.is_live(id, hash).await.unwrap();
        assert_eq!(ended.count(), usize::from(!is_live));
        live += usize::from(is_live);
    }
    assert_eq!(live, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_sessions_keep_their_promises() {
    let store = Arc::new(EmbeddedTokens::new(clock()));
    let accounts = [Uuid::new_v4(), Uuid::new_v4()];
    let sessions = Arc::clone(&store) as Arc<dyn SessionStore>;
    sessions_contract(Arc::clone(&sessions), store, accounts).await;
    external_sessions(Arc::clone(&sessions)).await;
    notes_of_use(Arc::clone(&sessions), accounts[1]).await;
    concurrent_logins(sessions, accounts[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_postgres_keep_their_promises() {
    let database = Database::create().await;
    let ada = database.account("ada@example.com", "Ada").await;
    let bob = database.account("bob@example.com", "Bob").await;
    let link = postgres_link(&database);
    let tokens = Arc::new(PgTokenStore::new(Arc::clone(&link)));
    let sessions: Arc<dyn SessionStore> = Arc::new(PgSessionStore::new(link));
    sessions_contract(Arc::clone(&sessions), tokens, [ada, bob]).await;
    external_sessions(Arc::clone(&sessions)).await;
    notes_of_use(Arc::clone(&sessions), bob).await;
    concurrent_logins(sessions, bob).await;
}

/// The promises of [`Directory`] about an account with two workspaces.
async fn directory_contract(directory: &dyn Directory, account: Uuid, workspaces: [Uuid; 2]) {
    assert!(directory.is_set_up().await.unwrap());
    assert_eq!(directory.person(Uuid::nil()).await.unwrap(), None);
    assert_eq!(directory.workspaces(Uuid::nil()).await.unwrap(), []);
    let person = directory.person(account).await.unwrap().unwrap();
    assert_eq!(
        (person.email.as_str(), person.name.as_str()),
        ("ada@example.com", "Ada")
    );
    assert_eq!(person.status, "active");
    let (upper, stranger) = (person.email.to_uppercase(), "nobody@example.com");
    for (email, found) in [(&*person.email, true), (&upper, true), (stranger, false)] {
        let has_account = directory.has_active_account(email).await.unwrap();
        assert_eq!(has_account, found, "{email}");
    }
    let mut found = directory.workspaces(account).await.unwrap();
    found.sort_by_key(|workspace| !workspace.current);
    let ids: Vec<Uuid> = found.iter().map(|workspace| workspace.id).collect();
    assert_eq!(ids, workspaces);
    assert_eq!(
        (found[0].role.as_str(), found[1].role.as_str()),
        ("owner", "normal")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_directory_keeps_its_promises() {
    let directory = EmbeddedDirectory::default();
    let account = Uuid::new_v4();
    let workspace = |name: &str, role: &str, current| Workspace {
        id: Uuid::new_v4(),
        name: name.into(),
        role: role.into(),
        current,
    };
    let own = workspace("Ada's Workspace", "owner", true);
    let other = workspace("Other", "normal", false);
    let ids = [own.id, other.id];
    let person = Person {
        email: "ada@example.com".into(),
        name: "Ada".into(),
        status: "active".into(),
    };
    directory.insert(account, person, vec![own, other]);
    directory_contract(&directory, account, ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_in_postgres_keeps_its_promises() {
    let database = Database::create().await;
    let directory = PgDirectory::new(postgres_link(&database));
    assert!(!directory.is_set_up().await.unwrap());
    database.dify_setup().await;
    let account = database.account("ada@example.com", "Ada").await;
    let other = database.workspace(account, "Other", "normal", false).await;
    let own = directory.workspaces(account).await.unwrap();
    let own = own.iter().find(|workspace| workspace.current).unwrap().id;
    directory_contract(&directory, account, [own, other]).await;
    database.set_account_status(account, "banned").await;
    let email = "ada@example.com";
    assert!(!directory.has_active_account(email).await.unwrap());
}
