//! The tokens of a run, and what is true about each at any moment.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{connection::request, support::IssuedToken};

/// Tokens that nearly every request uses: always in the local maps.
const HOT: usize = 8;

/// Tokens that are used now and then.
const WARM: usize = 128;

/// Revoked tokens that are still tried.
const REVOKED: usize = 512;

/// What is true about a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    Live,
    /// Somebody is about to revoke it, or has tried to and does not know the outcome.
    Uncertain,
    /// Acknowledged at this moment; to be refused everywhere after `bound`.
    Revoked {
        at: Instant,
        bound: Duration,
    },
    /// Nobody has issued it.
    Unknown,
}

/// A token, with the requests that show it.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) id: Uuid,
    pub(crate) hash: String,
    pub(crate) apps: Vec<u8>,
    pub(crate) account: Vec<u8>,
    pub(crate) revocation: Vec<u8>,
    state: Cell<State>,
}

impl Token {
    pub(crate) fn new(issued: &IssuedToken, state: State) -> Rc<Self> {
        let account = "/openapi/v1/account";
        // A surface that takes tokens of this kind alone.
        let apps = if issued.token.starts_with("dfoe_") {
            "/openapi/v1/permitted-external-apps"
        } else {
            "/openapi/v1/apps"
        };
        Rc::new(Self {
            id: issued.id,
            hash: issued.hash.clone(),
            apps: request("GET", apps, &issued.token),
            account: request("GET", account, &issued.token),
            revocation: request("DELETE", &format!("{account}/sessions/self"), &issued.token),
            state: Cell::new(state),
        })
    }

    /// Makes a well-formed token that nobody has issued.
    pub(crate) fn unknown() -> Rc<Self> {
        Self::new(&IssuedToken::unknown("dfoa_"), State::Unknown)
    }

    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    pub(crate) fn becomes(&self, state: State) {
        self.state.set(state);
    }
}

/// All tokens that requests are made with.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    hot: RefCell<Vec<Rc<Token>>>,
    warm: RefCell<VecDeque<Rc<Token>>>,
    /// In no cache: nobody has used them yet.
    cold: RefCell<VecDeque<Rc<Token>>>,
    revoked: RefCell<VecDeque<Rc<Token>>>,
    dice: Cell<u64>,
}

impl Tokens {
    /// Adds a live token that has never been used.
    pub(crate) fn add(&self, token: Rc<Token>) {
        let mut hot = self.hot.borrow_mut();
        if hot.len() < HOT {
            hot.push(token);
        } else {
            self.cold.borrow_mut().push_back(token);
        }
    }

    pub(crate) fn cold_count(&self) -> usize {
        self.cold.borrow().len()
    }

    /// Returns a number below `sides`; no secret depends on it.
    pub(crate) fn roll(&self, sides: usize) -> usize {
        // splitmix64
        let state = self.dice.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.dice.set(state);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % sides.max(1) as u64) as usize
    }

    pub(crate) fn hot(&self) -> Option<Rc<Token>> {
        let hot = self.hot.borrow();
        hot.get(self.roll(hot.len())).cloned()
    }

    pub(crate) fn warm(&self) -> Option<Rc<Token>> {
        let warm = self.warm.borrow();
        warm.get(self.roll(warm.len())).cloned()
    }

    /// Returns a token that is in no cache; from now on it counts as warm.
    pub(crate) fn cold(&self) -> Option<Rc<Token>> {
        let token = self.cold.borrow_mut().pop_front()?;
        let mut warm = self.warm.borrow_mut();
        warm.push_back(Rc::clone(&token));
        if warm.len() > WARM {
            warm.pop_front();
        }
        Some(token)
    }

    pub(crate) fn revoked(&self) -> Option<Rc<Token>> {
        let revoked = self.revoked.borrow();
        revoked.get(self.roll(revoked.len())).cloned()
    }

    /// Takes a token out of use to revoke it: mostly a warm one, now and then a hot or a cold one.
    pub(crate) fn take_for_revocation(&self) -> Option<Rc<Token>> {
        let token = match self.roll(8) {
            0 => {
                let mut hot = self.hot.borrow_mut();
                let index = self.roll(hot.len());
                (index < hot.len()).then(|| hot.swap_remove(index))
            }
            1 => self.cold.borrow_mut().pop_front(),
            _ => {
                let mut warm = self.warm.borrow_mut();
                let index = self.roll(warm.len());
                warm.remove(index)
            }
        }?;
        token.becomes(State::Uncertain);
        Some(token)
    }

    /// Keeps a revoked token, to be tried again and again.
    pub(crate) fn keep_revoked(&self, token: Rc<Token>) {
        let mut revoked = self.revoked.borrow_mut();
        revoked.push_back(token);
        if revoked.len() > REVOKED {
            revoked.pop_front();
        }
    }

    /// Returns some live tokens of each kind, to see whether all is well.
    pub(crate) fn sample(&self) -> Vec<Rc<Token>> {
        let mut sample = self.hot.borrow().clone();
        sample.extend((0..8).filter_map(|_| self.warm()));
        sample.extend((0..2).filter_map(|_| self.cold()));
        sample
    }
}
