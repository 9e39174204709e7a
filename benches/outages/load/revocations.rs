//! Dify at work, and whoever tries a revoked token until it is refused.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{Load, UNUSED};
use crate::{
    bounds::{REPORTED, SLACK},
    connection::Connection,
    dify::{Deletion, Dify},
    judge::increment,
    tokens::{State, Token},
};

/// Pause between two revocations.
const REVOCATIONS: Duration = Duration::from_millis(60);

/// Pause between two new tokens.
const ISSUES: Duration = Duration::from_millis(8);

/// First pause of whoever tries a revoked token until it is refused.
const CHASE: Duration = Duration::from_millis(5);

impl Load {
    pub(super) async fn issues(self: Rc<Self>, mut dify: Dify) {
        while !self.over.get() {
            if self.tokens.cold_count() < UNUSED
                && let Some(token) = dify.issues().await
            {
                self.tokens.add(token);
            }
            if self.tokens.cold_count() >= UNUSED / 2 {
                sleep(ISSUES).await;
            }
        }
    }

    pub(super) async fn revokes(self: Rc<Self>, mut dify: Dify) {
        let mut connections: Vec<_> = self.gateways.iter().map(|to| Connection::to(*to)).collect();
        while !self.settling.get() {
            if let Some(token) = self.tokens.take_for_revocation() {
                // Every fourth by its owner, at a gateway.
                let revoked = if self.reaches_redis && self.tokens.roll(4) == 0 {
                    let gateway = self.tokens.roll(connections.len());
                    self.revokes_at(gateway, &mut connections[gateway], &token)
                        .await
                } else {
                    self.revokes_as_dify(&mut dify, &token).await
                };
                if revoked {
                    increment(&self.record.revocations);
                    self.tokens.keep_revoked(Rc::clone(&token));
                    for gateway in 0..self.gateways.len() {
                        let chase = Rc::clone(&self).chases(Rc::clone(&token), gateway);
                        self.chasers.borrow_mut().spawn_local(chase);
                    }
                }
            }
            sleep(REVOCATIONS).await;
        }
    }

    async fn revokes_at(&self, gateway: usize, to: &mut Connection, token: &Token) -> bool {
        let kind = "revocation";
        let status = self
            .shoot(to, gateway, kind, Some(token), &token.revocation)
            .await;
        if status == Some(200) {
            token.becomes(State::Revoked {
                at: Instant::now(),
                bound: REPORTED,
            });
        }
        status == Some(200)
    }

    async fn revokes_as_dify(&self, dify: &mut Dify, token: &Token) -> bool {
        if !dify.revokes(token).await {
            return false;
        }
        let struck = self.struck.get();
        let deletion = if self.reaches_redis {
            dify.deletes(token).await
        } else {
            Deletion::Failed
        };
        let bound = match deletion {
            Deletion::Done => REPORTED,
            Deletion::Failed => {
                increment(&self.record.undeleted);
                if struck && self.record.scenario.reconnects() {
                    REPORTED
                } else {
                    // Nobody tells the gateways, and nothing makes them doubt the entry.
                    self.positive_ttl
                }
            }
        };
        token.becomes(State::Revoked {
            at: Instant::now(),
            bound,
        });
        true
    }

    /// Tries a revoked token until it is refused, or far too late.
    async fn chases(self: Rc<Self>, token: Rc<Token>, gateway: usize) {
        let State::Revoked { at, bound } = token.state() else {
            return;
        };
        let mut connection = Connection::to(self.gateways[gateway]);
        // Never so seldom that a late acceptance could be missed, nor so often that those which
        // have to be waited for become a load of their own.
        let longest_pause = (bound / 60).max(CHASE);
        let mut pause = CHASE;
        while at.elapsed() < bound + 4 * SLACK {
            let kind = "chased";
            let status = self
                .shoot(&mut connection, gateway, kind, Some(&token), &token.apps)
                .await;
            if status == Some(401) {
                return;
            }
            sleep(pause).await;
            pause = (2 * pause).min(longest_pause);
        }
    }
}
