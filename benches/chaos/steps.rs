//! What a gateway does step by step, and may die in the middle of.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::{login::Way, schedule::Pair, support::Side, world::World};

/// How long a step is waited for: others may be in the way of it, and then the gateway dies anyhow.
const PATIENCE: Duration = Duration::from_millis(800);

/// What has the gateway take a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    Check,
    Revocation,
    LogIn(Way),
}

/// A command that a gateway sends to a store, or what it asks the enterprise service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) pair: Pair,
    /// What the command holds.
    needle: &'static str,
    errand: Errand,
}

/// Every step after which something is half done.
pub(crate) const STEPS: [Step; 10] = [
    Step {
        name: "taking a lease",
        pair: Pair::GatewayRedis,
        needle: "\"lease\"",
        errand: Errand::Check,
    },
    Step {
        name: "reading a row under a lease",
        pair: Pair::GatewayPostgres,
        needle: "token_hash = $1",
        errand: Errand::Check,
    },
    Step {
        name: "revoking a row",
        pair: Pair::GatewayPostgres,
        needle: "SET revoked_at",
        errand: Errand::Revocation,
    },
    Step {
        name: "overwriting an entry",
        pair: Pair::GatewayRedis,
        needle: "invalid",
        errand: Errand::Revocation,
    },
    Step {
        name: "guarding an approval",
        pair: Pair::GatewayRedis,
        needle: ":approving",
        errand: Errand::LogIn(Way::Login),
    },
    Step {
        name: "inserting a row",
        pair: Pair::GatewayPostgres,
        needle: "INSERT INTO oauth_access_tokens",
        errand: Errand::LogIn(Way::Sso),
    },
    Step {
        name: "rotating a row",
        pair: Pair::GatewayPostgres,
        needle: "SET token_hash",
        errand: Errand::LogIn(Way::Again),
    },
    Step {
        name: "approving a login",
        pair: Pair::GatewayRedis,
        needle: "\"approved\"",
        errand: Errand::LogIn(Way::Again),
    },
    Step {
        name: "taking note of a poll",
        pair: Pair::GatewayRedis,
        needle: ":last_poll",
        errand: Errand::LogIn(Way::Sso),
    },
    Step {
        name: "beginning a sign-in",
        pair: Pair::GatewayEnterprise,
        needle: "/device-flow/sso-initiate",
        errand: Errand::LogIn(Way::Sso),
    },
];

impl World {
    /// Has a gateway die at a step, and another started in its place after a while. The store gets
    /// what was on its way when nobody waits for the answer any more.
    pub(crate) async fn kills_at(&self, gateway: usize, step: Step, side: Side, away: Duration) {
        let replica = &self.replicas[gateway];
        let mut operator = replica.operator.lock().await;
        let relay = replica.relay(step.pair);
        relay.stall_at(step.needle.as_bytes(), 0, side);
        let dies = async {
            if timeout(PATIENCE, relay.tripped()).await.is_ok() {
                self.record.count("killed at the step that was meant");
            }
            operator.kill().await;
            relay.restore();
            sleep(away).await;
            operator.starts_again().await;
        };
        tokio::join!(dies, self.does(step.errand, gateway));
    }

    async fn does(&self, errand: Errand, gateway: usize) {
        match errand {
            Errand::Check => {
                if let Some(token) = self.tokens.cold() {
                    self.tries(gateway, "cold", &token).await;
                }
            }
            Errand::Revocation => self.revokes_at(gateway).await,
            Errand::LogIn(way) => self.logs_in(way, None).await,
        }
    }
}
