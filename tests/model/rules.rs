//! The rules that keep a revoked token out, each of them a switch.

/// One rule of `design/coherence.md` or of the code that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// An insert asks whether the generation still is the one from before the read
    /// (`coherence::stands`).
    GenerationCheck,
    /// A report moves the generation on and then removes the entry (`follow::changed`).
    AdvanceBeforeRemove,
    /// A reader notes the generation and then whether changes are followed (`coherence::ask`).
    GenerationBeforeFollowed,
    /// Losing the reports moves the generations on (`coherence::lost`).
    AdvanceOnLoss,
    /// Losing the reports ends long lives (`follow::give_up`).
    ShortenOnLoss,
    /// Long lives begin with a proof, not with a connection (`tracking::follow`).
    ShortUntilProven,
    /// A proof counts for the connection that it was made over (`redis::while_in`).
    ProofInEpoch,
    /// A fill begins with a lease (`resolve::fill`).
    Lease,
    /// Only the very lease is replaced (`swap.lua`).
    LeaseCompareAndSet,
    /// A refresh replaces only the very entry that it read (`resolve::refresh`).
    RefreshCompareAndSet,
    /// A fill ends on the connection that it began on (`resolve::put`).
    SettleWhereClaimed,
    /// The local map keeps for long only what stands in Redis (`keep::unkept`).
    KeepOnlyWhatStands,
    /// A local entry ends with its key (`coherence::until`).
    DeadlineIsPttl,
    /// A local entry, and one in Redis, ends with its token (`entry::for_keeping`).
    EntryEndsWithToken,
    /// What Dify wrote is checked against Postgres (`resolve::verify`).
    VerifyUnmarked,
    /// What Dify rewrote counts as written by Dify (`entry::understand`).
    MarkEndsWithRewrite,
    /// What may be older than the connection is checked against Postgres (`coherence::doubts`).
    DoubtAfterReconnect,
    /// The connection that counts is the present one, not the one from before the read.
    DoubtAtJudgement,
    /// What is read back after a fill may be older than the connection as well.
    DoubtReadBack,
    /// The first connection of a process is one like any other. The code does not follow this one:
    /// every start would ask Postgres once for every hot token. A gateway that starts within a
    /// minute of a failover may take a lost deletion's entry at its word for what is left of it.
    DoubtFirstConnection,
    /// Who joins a flight gets no answer to a question from before they came (`check::resolve`).
    JoinersAskAnew,
    /// The gateway's revocations put a refusal over the entry (`end::end`).
    RefusalOverwrites,
    /// … or delete it where Redis has no room (`token_cache::overwrite`), before they say so.
    FullRedisDeletes,
    /// … and do so after the commit.
    CommitFirst,
    /// … and forget the token locally once more after that.
    ForgetAfterOverwrite,
    /// … and once before.
    ForgetBeforeOverwrite,
}

/// Which rules hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    broken: u32,
}

impl Rules {
    pub(crate) const ALL: Self = Self { broken: 0 };

    pub(crate) const fn without(self, rule: Rule) -> Self {
        Self {
            broken: self.broken | (1 << rule as u32),
        }
    }

    pub(crate) const fn hold(self, rule: Rule) -> bool {
        self.broken & (1 << rule as u32) == 0
    }
}
