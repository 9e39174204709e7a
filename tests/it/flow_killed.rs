//! The gateway is killed between any two steps of an approval, and another one takes over.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::{Gateway, Login, RawClient, Relay, Relayed, Side, hash, patience};

const HOST: &str = "ada-laptop";

/// A store, the step of an approval that asks for it, and what the device had before.
#[derive(Debug, Clone, Copy)]
struct Step {
    store: Store,
    /// What the step's command holds, and how many others do before it.
    needle: (&'static str, usize),
    side: Side,
    /// The device is logged in already: its row is rotated.
    known: bool,
    /// What has been done by then: the row, and the state.
    written: bool,
    approved: bool,
}

#[derive(Debug, Clone, Copy)]
enum Store {
    Postgres,
    Redis,
}

/// The commands of an approval in their order, from the guard on.
const STEPS: [(Store, (&str, usize), bool); 6] = [
    (Store::Redis, (":approving", 0), false),
    (Store::Postgres, ("SET token_hash", 0), true),
    (
        Store::Postgres,
        ("INSERT INTO oauth_access_tokens", 0),
        false,
    ),
    (Store::Redis, ("auth:token:", 0), true),
    (Store::Redis, ("\"approved\"", 0), false),
    (Store::Redis, (":approving", 1), true),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_dies_at_any_step_of_an_approval_loses_nothing() {
    // All at once: what they wait for, the end of the guard, they wait for together.
    let mut deaths = JoinSet::new();
    for (number, (store, needle, known)) in STEPS.into_iter().enumerate() {
        for side in [Side::Before, Side::After] {
            let done = number + usize::from(side == Side::After);
            deaths.spawn(dies_at(Step {
                store,
                needle,
                side,
                known,
                written: done >= if known { 2 } else { 3 },
                approved: done >= 5,
            }));
        }
    }
    deaths.join_all().await;
}

async fn dies_at(step: Step) {
    let mut stage = Relayed::with(|gateway| {
        gateway
            .set("postgres.timeout", "\"10s\"")
            .set("redis.timeout", "\"10s\"")
            // Its proofs, once a second, would be taken for a step.
            .set("token_cache.coherence", "\"ttl\"")
    })
    .await;
    // From here on, Redis knows every script, and so a step is one command.
    let warm = stage.logs_in(&stage.gateway, "ada-desktop").await;
    assert!(warm.is_some(), "{step:?}");
    let old = if step.known {
        let token = stage.logs_in(&stage.gateway, HOST).await.unwrap();
        let used = stage.gateway.get("/openapi/v1/account", Some(&token)).await;
        assert_eq!(used.status, 200, "{step:?}: {used:?}");
        Some(token)
    } else {
        None
    };
    let login = Login::begin(&stage.gateway, HOST).await;

    stage.kills_at(&step, &login).await;

    let next = stage.another_gateway().await;
    let row = stage.live_row(HOST).await.map(|(_, hash)| hash);
    assert_eq!(row != old.as_deref().map(hash), step.written, "{step:?}");
    stage.assert_accounted_for(&next).await;
    let state = login.state(&stage.redis).await.expect("a login is left");
    assert_eq!(state["status"] == "approved", step.approved, "{step:?}");
    if step.approved {
        stage.fetches(&next, &login).await;
    } else {
        assert_eq!(state["status"], "pending", "{step:?}");
        stage.retries(&next, &login, &step).await;
    }
    stage.assert_accounted_for(&next).await;
    if let Some(old) = old {
        // Whoever died after the row and before the cache could not say so to the cache; the
        // entry's own end is the last resort.
        let left = stage.redis.ttl(&format!("auth:token:{}", hash(&old))).await;
        let refused = next.get("/openapi/v1/account", Some(&old)).await.status == 401;
        assert!(refused || (1..=60).contains(&left), "{step:?}: {left} s");
    }
}

impl Relayed {
    /// Approves, and kills the gateway at the step.
    async fn kills_at(&mut self, step: &Step, login: &Login) {
        self.relay(step.store)
            .stall_at(step.needle.0.as_bytes(), step.needle.1, step.side);
        let path = "/openapi/v1/oauth/device/approve";
        let approve = self.browser.posts(path, &login.user_code).to_bytes();
        let mut client = RawClient::connect(self.gateway.addr()).await;
        client.send(&approve).await;
        self.relay(step.store).tripped().await;
        self.gateway.signal("KILL");
        self.gateway.wait_exit(patience(5.0)).await;
        assert!(client.is_closed(patience(5.0)).await, "{step:?}");
        // What was on its way is lost.
        self.to_postgres.cut();
        self.to_redis.cut();
    }

    fn relay(&self, store: Store) -> &Relay {
        match store {
            Store::Postgres => &self.to_postgres,
            Store::Redis => &self.to_redis,
        }
    }

    /// The person starts again at once, and approves the old login when its guard has ended.
    async fn retries(&self, next: &Gateway, login: &Login, step: &Step) {
        let pending = login.polls(next).await;
        assert_eq!(pending.json()["error"], "authorization_pending", "{step:?}");
        let guard = format!("device_code:{}:approving", login.device_code);
        let left = self.pttl(&guard).await;
        // So that it does not end meanwhile.
        if self.pexpire(&guard, 60_000).await {
            let early = self.browser.approves(next, &login.user_code).await;
            assert_eq!(early.json()["error"], "approve_in_progress", "{step:?}");
            assert!((1..=10_000).contains(&left), "{step:?}: {left} ms");
            self.pexpire(&guard, left).await;
        }
        let again = Login::begin(next, HOST).await;
        let approved = self.browser.approves(next, &again.user_code).await;
        assert_eq!(approved.status, 200, "{step:?}: {approved:?}");
        let first = self.fetches(next, &again).await;

        let begun = Instant::now();
        while self.redis.get(&guard).await.is_some() {
            assert!(begun.elapsed() < patience(12.0), "{step:?}: a guard stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let approved = self.browser.approves(next, &login.user_code).await;
        assert_eq!(approved.status, 200, "{step:?}: {approved:?}");
        login.wait(&self.redis).await;
        self.fetches(next, login).await;
        let replaced = next.get("/openapi/v1/account", Some(&first)).await;
        assert_eq!(replaced.status, 401, "{step:?}: {replaced:?}");
    }

    /// The milliseconds that a key has to live.
    async fn pttl(&self, key: &str) -> i64 {
        let mut ask = redis::cmd("PTTL");
        let ask = ask.arg(self.redis.key(key));
        ask.query_async(&mut self.redis.connection().await)
            .await
            .unwrap()
    }

    /// Gives a key that is to end another end; whether it was still there.
    async fn pexpire(&self, key: &str, milliseconds: i64) -> bool {
        let mut prolong = redis::cmd("PEXPIRE");
        let prolong = prolong.arg(self.redis.key(key)).arg(milliseconds).arg("XX");
        prolong
            .query_async(&mut self.redis.connection().await)
            .await
            .unwrap()
    }

    /// Fetches the token that is there, which is the live row's, once.
    async fn fetches(&self, next: &Gateway, login: &Login) -> String {
        let granted = login.polls(next).await;
        assert_eq!(granted.status, 200, "{granted:?}");
        let granted = granted.json();
        self.assert_granted(next, HOST, &granted).await;
        let over = login.polls(next).await;
        assert_eq!(over.json()["error"], "expired_token");
        granted["token"].as_str().unwrap().to_owned()
    }
}
