//! What may be kept in the local map, and until when.

use std::{sync::Arc, time::Duration};

use super::{
    Desk, Finding, Verdict,
    coherence::Asked,
    entry::{Entry, TokenContext},
    truth::Truth,
};
use crate::{clock::Monotonic, metrics::Tier, token::TokenHash};

impl Desk {
    /// Notes what holds now; to be called before Redis or Postgres is asked for `hash`.
    pub(super) fn about_to_ask(&self, hash: &TokenHash) -> Asked {
        self.coherence.ask(hash, self.stores.clock.monotonic())
    }

    /// Returns until when a value may be kept that was read from Redis and stays there for
    /// `remaining`.
    pub(super) fn until(&self, asked: &Asked, remaining: Duration) -> Monotonic {
        asked.until(remaining, self.settings.untracked_ttl)
    }

    /// Returns until when a value may be kept behind which nothing stands in Redis.
    pub(super) fn until_unwatched(&self, asked: &Asked, ttl: Duration) -> Monotonic {
        asked.until_unwatched(ttl, self.settings.untracked_ttl)
    }

    /// Keeps a live token until `deadline`, unless something changed since `asked`.
    pub(super) fn keep(
        &self,
        hash: TokenHash,
        context: TokenContext,
        asked: &Asked,
        deadline: Monotonic,
        tier: Tier,
    ) -> Finding {
        let instant = self.stores.clock.monotonic();
        let entry = Entry::new(context, deadline);
        let entry = Arc::new(entry.for_keeping(self.stores.clock.now(), instant));
        self.local
            .insert_live(hash, Arc::clone(&entry), instant, || {
                self.coherence.stands(&hash, asked)
            });
        Finding {
            verdict: Verdict::Live(entry.into()),
            tier,
        }
    }

    /// Keeps a refusal until `deadline`, unless something changed since `asked`: what stands in
    /// Redis by then may need to be looked at, and overwritten.
    pub(super) fn keep_refusal(
        &self,
        hash: TokenHash,
        asked: &Asked,
        deadline: Monotonic,
        tier: Tier,
    ) -> Finding {
        let instant = self.stores.clock.monotonic();
        self.local.insert_refused(hash, deadline, instant, || {
            self.coherence.stands(&hash, asked)
        });
        refused(tier)
    }

    /// Answers without keeping: the entry is good for this one moment.
    pub(super) fn unkept(&self, truth: Truth) -> Finding {
        match truth {
            Truth::Live(context) => Finding {
                verdict: Verdict::Live(Arc::new(Entry::new(context, Monotonic::default())).into()),
                tier: Tier::Postgres,
            },
            Truth::Refused | Truth::Expired => refused(Tier::Postgres),
        }
    }
}

pub(super) const fn refused(tier: Tier) -> Finding {
    Finding {
        verdict: Verdict::Refused,
        tier,
    }
}
