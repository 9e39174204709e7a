//! Many who decide and poll at once, over connections that break, stall and crawl.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::{Login, Relayed, RequestBuilder, Response, Side, assert_eventually, patience};

const APPROVE: &str = "/openapi/v1/oauth/device/approve";
const DENY: &str = "/openapi/v1/oauth/device/deny";

/// Rounds go on for so long, however slow the machine is.
const SEASON: Duration = Duration::from_secs(10);

/// Chance, the same again for the same seed (SplitMix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    /// From `DIFYGATE_TEST_SEED` when that is set; a failure shows the seed.
    fn thrown() -> Self {
        let seed = std::env::var("DIFYGATE_TEST_SEED").map_or_else(
            |_| getrandom::u64().unwrap(),
            |text| text.parse().expect("DIFYGATE_TEST_SEED is a number"),
        );
        eprintln!("DIFYGATE_TEST_SEED={seed} makes the same weather again");
        Self(seed)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }
}

impl Relayed {
    async fn impatient() -> Self {
        let timeout = |seconds| format!("\"{}ms\"", patience(seconds).as_millis());
        Self::with(|gateway| {
            gateway
                .set("postgres.timeout", &timeout(0.4))
                .set("redis.timeout", &timeout(0.1))
        })
        .await
    }

    /// Bad weather on either way, one kind after another, for ever.
    async fn storm(&self, dice: &mut Dice) {
        loop {
            tokio::time::sleep(dice.millis(60)).await;
            let relay = match dice.below(3) {
                0 => &self.to_postgres,
                _ => &self.to_redis,
            };
            match dice.below(4) {
                0 => relay.cut(),
                1 => relay.stall(),
                _ => relay.delay(dice.millis(20)),
            }
            // Where a slow machine has longer time-outs, what is to pass them lasts longer.
            tokio::time::sleep(patience(dice.millis(150).as_secs_f64())).await;
            relay.restore();
        }
    }

    /// Sends requests all at once into bad weather; the answers, when the weather is fair again
    /// and nothing is on its way any more.
    async fn sends(&self, dice: &mut Dice, requests: Vec<RequestBuilder>) -> Vec<Response> {
        let gateway = self.gateway.addr();
        let mut answers = JoinSet::new();
        for request in requests {
            answers.spawn(async move { request.send(gateway).await });
        }
        let answers = tokio::select! {
            answers = answers.join_all() => answers,
            () = self.storm(dice) => unreachable!("a storm has no end"),
        };
        for relay in [&self.to_postgres, &self.to_redis] {
            relay.cut();
            relay.restore();
        }
        let under_way = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
                         AND state = 'active' AND application_name = 'difygate'";
        let client = self.database.client().await;
        assert_eventually!(
            client.query(under_way, &[]).await.unwrap().is_empty(),
            "what had reached Postgres is done"
        );
        self.starts_again().await;
        answers
    }

    /// The person can log in, on a device of its own, whatever has been.
    async fn starts_again(&self) {
        assert_eventually!(
            self.logs_in(&self.gateway, "ada-desktop").await.is_some(),
            "the person can start again"
        );
    }

    /// Polls in fair weather, however short ago the last poll was.
    async fn polls(&self, login: &Login) -> Response {
        login.wait(&self.redis).await;
        login.polls(&self.gateway).await
    }
}

fn is_unsure(answers: &[Response]) -> bool {
    answers.iter().any(|answer| answer.status == 503)
}

fn error(answer: &Response) -> Value {
    answer.json()["error"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_polls_in_a_storm_one_at_most_gets_the_token() {
    let (stage, mut dice) = (Relayed::impatient().await, Dice::thrown());
    let (begun, mut round, mut unsure_rounds) = (Instant::now(), 0, 0);
    while begun.elapsed() < SEASON {
        round += 1;
        let host = format!("host-{round}");
        let login = Login::begin(&stage.gateway, &host).await;
        let approved = stage.browser.approves(&stage.gateway, &login.user_code);
        assert_eq!(approved.await.status, 200);
        let (row, _) = stage.live_row(&host).await.unwrap();
        let revoked = dice.below(4) == 0;
        if revoked {
            stage.database.revoke(row).await;
        }

        let answers = stage.sends(&mut dice, vec![login.poll(); 200]).await;

        let unsure = is_unsure(&answers);
        unsure_rounds += usize::from(unsure);
        let mut granted = Vec::new();
        for answer in &answers {
            match answer.status {
                200 => granted.push(answer.json()),
                400 => {
                    let said = error(answer);
                    let known = ["slow_down", "expired_token"]
                        .iter()
                        .any(|&word| said == word)
                        || (revoked && said == "access_denied");
                    assert!(known, "{answer:?}");
                }
                status => assert_eq!(status, 503, "{answer:?}"),
            }
        }
        if granted.is_empty() && unsure {
            // Still there, or taken by one whose answer was lost.
            let late = stage.polls(&login).await;
            match late.status {
                200 => granted.push(late.json()),
                _ if revoked && error(&late) == "access_denied" => {}
                _ => assert_eq!(error(&late), "expired_token", "{late:?}"),
            }
        } else {
            assert_eq!(granted.len(), usize::from(!revoked), "one gets the token");
        }
        assert!(!revoked || granted.is_empty(), "a revoked token is granted");
        for granted in &granted {
            stage.assert_granted(&stage.gateway, &host, granted).await;
        }
        assert_eq!(error(&stage.polls(&login).await), "expired_token");
        stage.assert_accounted_for(&stage.gateway).await;
    }
    eprintln!("{round} rounds, {unsure_rounds} of them with a 503");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_approvals_in_a_storm_leave_one_live_row_at_most() {
    let (stage, mut dice) = (Relayed::impatient().await, Dice::thrown());
    let (begun, mut round, mut unsure_rounds) = (Instant::now(), 0, 0);
    while begun.elapsed() < SEASON {
        round += 1;
        // New devices, and such that have a row.
        let host = format!("host-{}", dice.below(3));
        let login = Login::begin(&stage.gateway, &host).await;
        let approve = stage.browser.posts(APPROVE, &login.user_code);

        let answers = stage.sends(&mut dice, vec![approve; 50]).await;

        let (unsure, mut won) = (is_unsure(&answers), 0);
        unsure_rounds += usize::from(unsure);
        for answer in &answers {
            match answer.status {
                200 => won += 1,
                409 => {
                    let said = error(answer);
                    let known = ["already_resolved", "approve_in_progress", "state_lost"];
                    assert!(known.iter().any(|&word| said == word), "{answer:?}");
                }
                status => assert_eq!(status, 503, "{answer:?}"),
            }
        }
        assert!(won == 1 || (won == 0 && unsure), "{won} approvals");
        let row = stage.live_row(&host).await;
        let state = login.state(&stage.redis).await.expect("a login stays");
        if state["status"] == "approved" {
            assert!(row.is_some(), "the row is written before the state flips");
            let poll = stage.polls(&login).await;
            if poll.status == 200 {
                let granted = poll.json();
                stage.assert_granted(&stage.gateway, &host, &granted).await;
            } else {
                // A write that was given up came to pass later, and took the row.
                assert_eq!(error(&poll), "access_denied", "{poll:?}");
                assert!(unsure, "a token is dead that nobody has touched");
            }
        } else {
            assert_eq!((state["status"].as_str(), won), (Some("pending"), 0));
            let guard = format!("device_code:{}:approving", login.device_code);
            if stage.redis.get(&guard).await.is_none() {
                let approve = stage.browser.approves(&stage.gateway, &login.user_code);
                assert_eq!(approve.await.status, 200, "a retry");
                let granted = stage.polls(&login).await.json();
                stage.assert_granted(&stage.gateway, &host, &granted).await;
            }
        }
        stage.assert_accounted_for(&stage.gateway).await;
    }
    eprintln!("{round} rounds, {unsure_rounds} of them with a 503");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_approval_and_a_denial_in_a_storm_one_wins_at_most() {
    let (stage, mut dice) = (Relayed::impatient().await, Dice::thrown());
    let (begun, mut round, mut unsure_rounds) = (Instant::now(), 0, 0);
    while begun.elapsed() < SEASON {
        round += 1;
        let host = format!("host-{round}");
        let login = Login::begin(&stage.gateway, &host).await;
        let decisions = [APPROVE, DENY].map(|path| stage.browser.posts(path, &login.user_code));

        let answers = stage.sends(&mut dice, decisions.to_vec()).await;

        // Answers come in any order; what they say tells whose they are.
        let won: Vec<Value> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .map(|answer| answer.json()["status"].clone())
            .collect();
        let refused = |answer: &Response| [409, 503].contains(&answer.status);
        assert!(won.len() <= 1, "{answers:?}");
        assert!(
            answers.iter().filter(|answer| refused(answer)).count() == 2 - won.len(),
            "{answers:?}"
        );
        let unsure = is_unsure(&answers);
        unsure_rounds += usize::from(unsure);
        assert!(won.len() == 1 || unsure, "{answers:?}");
        let state = login.state(&stage.redis).await.expect("a login stays");
        if let [winner] = &won[..] {
            assert_eq!(state["status"], *winner, "{answers:?}");
        }
        let poll = stage.polls(&login).await;
        match state["status"].as_str() {
            Some("approved") => {
                let granted = poll.json();
                stage.assert_granted(&stage.gateway, &host, &granted).await;
            }
            Some("denied") => assert_eq!(error(&poll), "access_denied"),
            _ => assert_eq!(error(&poll), "authorization_pending"),
        }
        stage.assert_accounted_for(&stage.gateway).await;
    }
    eprintln!("{round} rounds, {unsure_rounds} of them with a 503");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_arrives_late_does_not_take_the_row_from_the_next_login() {
    let stage = Relayed::impatient().await;
    let other = stage.another_gateway().await;
    for (host, known) in [("new-laptop", false), ("known-laptop", true)] {
        if known {
            assert!(stage.logs_in(&other, host).await.is_some());
        }
        let login = Login::begin(&stage.gateway, host).await;
        let write = if known {
            "SET token_hash"
        } else {
            "INSERT INTO oauth"
        };
        stage
            .to_postgres
            .stall_at(write.as_bytes(), 0, Side::Before);
        let approve = stage.browser.approves(&stage.gateway, &login.user_code);
        let given_up = approve.await;
        assert_eq!(given_up.status, 503, "{given_up:?}");
        stage.to_postgres.tripped().await;

        let again = stage.browser.approves(&other, &login.user_code).await;
        assert_eq!(again.status, 200, "{again:?}");
        let granted = login.polls(&other).await.json();
        stage.to_postgres.restore();
        stage.starts_again().await;

        stage.assert_granted(&other, host, &granted).await;
    }
}
