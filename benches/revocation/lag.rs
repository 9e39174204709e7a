//! From the acknowledgement of a revocation to refusal at every replica.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    client::{Answer, Client},
    load,
    options::Options,
    report,
    stores::Dify,
    support::{
        Browser, Database, Gateway, IssuedToken, Login, RedisSpace, Upstream, assert_eventually,
        request,
    },
};

/// Who revokes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Revoker {
    Dify,
    Gateway,
    Rotation,
}

impl Revoker {
    pub(crate) const ALL: [Self; 3] = [Self::Dify, Self::Gateway, Self::Rotation];

    /// Returns what the table calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dify => "SQL and DEL, as Dify does it",
            Self::Gateway => "DELETE at one of the gateways",
            Self::Rotation => "a new login of the same device",
        }
    }
}

/// What one replica did with one revoked token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    /// From the acknowledgement to the arrival of the first refusal.
    pub(crate) came_after: Duration,
    /// From the acknowledgement to the sending of the last request that was accepted; zero where
    /// that was before.
    pub(crate) accepted_after: Duration,
}

/// Two replicas and everybody around them.
struct Scene {
    gateways: [Gateway; 2],
    dify: Dify,
    browser: Browser,
    slots: Semaphore,
    devices: Cell<usize>,
    revoked: RefCell<Vec<String>>,
}

/// Runs the trials and prints the table; how many tokens were accepted after a refusal.
pub(crate) async fn run(options: &Options) -> usize {
    let (upstream, database) = tokio::join!(Upstream::start(), Database::create());
    let redis = RedisSpace::create().await;
    database.dify_setup().await;
    let dify = Dify::new(&database, &redis).await;
    // An entry that is not invalidated would be used for a minute.
    let replica = || {
        Gateway::builder()
            .upstream(upstream.addr())
            .database(&database)
            .redis(&redis)
            .unset("log.level")
            .unset("redis.timeout")
            .set("token_cache.untracked_ttl", "\"60s\"")
            .set("rate_limits.device_code", "\"1000000/1h\"")
            .set("rate_limits.approve", "\"1000000/1h\"")
            .start()
    };
    let (one, two) = tokio::join!(replica(), replica());
    for gateway in [&one, &two] {
        assert_eventually!(
            gateway.metric("difygate_token_cache_followed").await == 1.0,
            "changes are followed"
        );
    }
    let scene = Rc::new(Scene {
        browser: Browser::of(dify.account()),
        gateways: [one, two],
        dify,
        slots: Semaphore::new(options.at_once),
        devices: Cell::new(0),
        revoked: RefCell::default(),
    });
    let hot = scene.dify.issue().await;
    let addresses = [0, 1].map(|at| scene.gateways[at].addr());
    let load = load::on(&addresses, &hot.token, options.load);

    let mut results = Vec::new();
    for revoker in Revoker::ALL {
        let trials = options.trials() / Revoker::ALL.len();
        let refusals = trials_of(&scene, revoker, trials).await;
        results.push((revoker, refusals));
    }
    drop(load);
    report::lag(&results);
    upstream.take_requests();
    accepted_again(&scene).await
}

async fn trials_of(scene: &Rc<Scene>, revoker: Revoker, trials: usize) -> Vec<Refusal> {
    let mut running = JoinSet::new();
    for _ in 0..trials {
        let scene = Rc::clone(scene);
        running.spawn_local(async move {
            let _slot = scene.slots.acquire().await.unwrap();
            trial(&scene, revoker).await
        });
    }
    let mut refusals = Vec::with_capacity(2 * trials);
    while let Some(both) = running.join_next().await {
        refusals.extend(both.unwrap());
        report::progress(revoker.name(), refusals.len() / 2, trials);
    }
    refusals
}

async fn trial(scene: &Rc<Scene>, revoker: Revoker) -> [Refusal; 2] {
    let device = scene.devices.replace(scene.devices.get() + 1);
    let token = match revoker {
        Revoker::Dify | Revoker::Gateway => scene.dify.issue().await,
        Revoker::Rotation => IssuedToken {
            token: logs_in(scene, device).await,
            ..IssuedToken::unknown("dfoa_")
        },
    };
    let [one, two] = [0, 1].map(|at| watch(scene, at, &token.token));
    let (one, two) = tokio::join!(one, two);
    let acknowledged = revoke(scene, revoker, &token, device).await;
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    scene.revoked.borrow_mut().push(token.token);
    [one, two].map(|answers| Refusal {
        came_after: answers.refused.came.saturating_duration_since(acknowledged),
        accepted_after: answers
            .accepted
            .sent
            .saturating_duration_since(acknowledged),
    })
}

/// The two answers around the revocation.
struct Turn {
    accepted: Answer,
    refused: Answer,
}

/// Brings the token into a replica's local map, then asks with it until it is refused.
async fn watch(scene: &Scene, at: usize, token: &str) -> tokio::task::JoinHandle<Turn> {
    let mut client = Client::new(scene.gateways[at].addr(), token).await;
    let mut accepted = client.ask().await;
    assert_eq!(accepted.status, 200, "a live token");
    // The echo of the fill may have taken the entry away again.
    accepted = client.ask().await;
    tokio::task::spawn_local(async move {
        loop {
            let answer = client.ask().await;
            match answer.status {
                200 => accepted = answer,
                401 => {
                    break Turn {
                        accepted,
                        refused: answer,
                    };
                }
                other => panic!("{other} in the middle of a revocation"),
            }
        }
    })
}

/// Revokes, and tells when that was acknowledged.
async fn revoke(scene: &Scene, revoker: Revoker, token: &IssuedToken, device: usize) -> Instant {
    match revoker {
        Revoker::Dify => scene.dify.revoke(token).await,
        Revoker::Gateway => {
            let revoke = request("DELETE", "/openapi/v1/account/sessions/self");
            let revoke = revoke.bearer(&token.token);
            let answer = revoke.send(scene.gateways[device % 2].addr()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        Revoker::Rotation => {
            approves(scene, device).await;
        }
    }
    Instant::now()
}

async fn logs_in(scene: &Scene, device: usize) -> String {
    let login = approves(scene, device).await;
    let granted = login.polls(&scene.gateways[device % 2]).await;
    assert_eq!(granted.status, 200, "{granted:?}");
    granted.json()["token"].as_str().unwrap().to_owned()
}

/// Has a device's login approved, which replaces the token it had.
async fn approves(scene: &Scene, device: usize) -> Login {
    let gateway = &scene.gateways[device % 2];
    let login = Login::begin(gateway, &format!("host-{device}")).await;
    let approved = scene.browser.approves(gateway, &login.user_code).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    login
}

/// Asks once more with every revoked token; how many were accepted.
async fn accepted_again(scene: &Scene) -> usize {
    let revoked = scene.revoked.take();
    let mut accepted = 0;
    for gateway in &scene.gateways {
        let mut client = Client::new(gateway.addr(), "").await;
        for token in &revoked {
            client.take(token);
            accepted += usize::from(client.ask().await.status != 401);
        }
    }
    println!(
        "{accepted} of {} revoked tokens accepted when asked again",
        revoked.len()
    );
    accepted
}
