//! Whoever revokes tokens, and what has to be true about each that somebody has tried to revoke.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    bounds::{REPORTED, SLACK},
    dify::Deletion,
    judge::Kind,
    schedule::GATEWAYS,
    tokens::{State, Token},
    world::World,
};

/// `token_cache.positive_ttl`: what nobody could delete ends by itself.
const ENTRY: Duration = Duration::from_secs(60);

/// How often Dify tries to delete an entry.
const ATTEMPTS: usize = 3;

impl World {
    /// Takes a token to be revoked, and uses it once more at each gateway: what is in no cache
    /// cannot stay there.
    async fn takes(&self) -> Option<Rc<Token>> {
        let token = self.tokens.take_for_revocation()?;
        for gateway in 0..GATEWAYS {
            self.tries(gateway, "before a revocation", &token).await;
        }
        Some(token)
    }

    /// Shows a token to a gateway; returns the answer's status.
    pub(crate) async fn tries(
        &self,
        gateway: usize,
        what: &'static str,
        token: &Rc<Token>,
    ) -> Option<u16> {
        let mut connection = self.connection(gateway);
        let request = &token.apps;
        let reply = self
            .shoot(&mut connection, Kind::Checked, what, Some(token), request)
            .await;
        reply.map(|reply| reply.status)
    }

    /// Has Dify revoke a token: the row, and then the entry in Redis.
    pub(crate) async fn revokes_at_dify(&self) {
        let Some(token) = self.takes().await else {
            return;
        };
        let mut dify = self.dify(None);
        if !dify.revokes(&token).await {
            self.is_unsettled(token);
            return;
        }
        let mut bound = ENTRY;
        for _ in 0..ATTEMPTS {
            if dify.deletes(&token).await == Deletion::Done {
                bound = REPORTED;
                break;
            }
        }
        if bound == ENTRY {
            self.record.count("revocations not deleted");
        }
        self.is_revoked(&token, bound);
    }

    /// Has the owner revoke a token at a gateway.
    pub(crate) async fn revokes_at(&self, gateway: usize) {
        let Some(token) = self.takes().await else {
            return;
        };
        let mut connection = self.connection(gateway);
        let what = "revocation";
        let request = &token.revocation;
        let reply = self
            .shoot(&mut connection, Kind::Account, what, Some(&token), request)
            .await;
        if reply.is_some_and(|reply| reply.status == 200) {
            self.is_revoked(&token, REPORTED);
        } else {
            self.is_unsettled(token);
        }
    }

    /// Keeps a token whose revocation has been acknowledged, to be tried again and again.
    pub(crate) fn is_revoked(&self, token: &Rc<Token>, bound: Duration) {
        self.record.count("revocations acknowledged");
        let at = Instant::now();
        token.becomes(State::Revoked { at, bound });
        self.revoked_now.borrow_mut().push(Rc::clone(token));
        self.tokens.keep_revoked(Rc::clone(token));
    }

    /// Keeps a token of which nobody was told whether it stands, to be looked at in calm.
    pub(crate) fn is_unsettled(&self, token: Rc<Token>) {
        token.becomes(State::Uncertain);
        self.unsettled.borrow_mut().push(token);
    }

    /// Waits until every token that has been revoked must be refused, and tries each everywhere.
    pub(crate) async fn all_are_refused(&self) {
        for token in self.revoked_now.take() {
            let State::Revoked { at, bound } = token.state() else {
                continue;
            };
            if bound == ENTRY && at.elapsed() < ENTRY {
                continue;
            }
            sleep((bound + SLACK).saturating_sub(at.elapsed())).await;
            let what = "revoked, at the end";
            for gateway in 0..GATEWAYS {
                let status = self.tries(gateway, what, &token).await;
                if status.is_some_and(|status| ![401, 503].contains(&status)) {
                    let hash = &token.hash[..12];
                    self.record.note(format!("{what}, at {gateway}: {hash}"));
                }
            }
        }
    }

    /// Looks up every token of which nobody was told: what Postgres has is what the gateways say.
    pub(crate) async fn unsettled_are_settled(&self) {
        let client = self.postgres.database().client().await;
        let stands = async |token: &Token| {
            let sql = "SELECT 1 FROM oauth_access_tokens \
                       WHERE token_hash = $1 AND revoked_at IS NULL";
            !client.query(sql, &[&token.hash]).await.unwrap().is_empty()
        };
        for token in self.unsettled.take() {
            if !stands(&token).await {
                self.record.count("ends that nobody was told of");
                // Nor may anybody have deleted the entry.
                let (at, bound) = (Instant::now(), ENTRY);
                token.becomes(State::Revoked { at, bound });
                self.tokens.keep_revoked(token);
                continue;
            }
            self.record.count("ends that never came to pass");
            for gateway in 0..GATEWAYS {
                let status = self.tries(gateway, "not ended", &token).await;
                // What was given up on may come to pass even now.
                if status == Some(401) && stands(&token).await {
                    let hash = &token.hash[..12];
                    let text = format!("refused at {gateway}, and its row stands: {hash}");
                    self.record.note(text);
                }
            }
        }
    }
}
