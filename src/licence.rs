//! The licence of Dify's enterprise service: polled, cached, and needed by the SSO branch
//! (`contract/sso.md`).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    clock::{Clock, Monotonic},
    health::Dependency,
    sso::EnterpriseService,
};

/// How often the service is asked. A licence that is renewed or withdrawn takes effect within this
/// time; one small request is no burden.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// How long the last answer is believed while the service gives none: as long as Dify itself
/// caches a licence that holds.
const BELIEVED: Duration = Duration::from_secs(600);

/// What the service says of its licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LicenceStatus {
    /// It holds.
    Active,
    /// It holds, but not for long.
    Expiring,
    /// It does not: inactive, expired, lost, or a word that is not known here.
    Invalid,
}

impl LicenceStatus {
    /// Reads the service's word for it. Only two words are good.
    pub fn parse(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "expiring" => Self::Expiring,
            _ => Self::Invalid,
        }
    }

    /// Tells whether what needs a licence may be used.
    pub const fn holds(self) -> bool {
        matches!(self, Self::Active | Self::Expiring)
    }
}

/// The licence as it was last heard of.
#[derive(Debug)]
pub struct Licence {
    service: Arc<dyn EnterpriseService>,
    clock: Arc<dyn Clock>,
    health: Arc<Dependency>,
    heard: Mutex<Option<(LicenceStatus, Monotonic)>>,
}

impl Licence {
    /// Begins with nothing heard: until the service has answered, nothing is licensed.
    pub fn new(
        service: Arc<dyn EnterpriseService>,
        clock: Arc<dyn Clock>,
        health: Arc<Dependency>,
    ) -> Arc<Self> {
        Arc::new(Self {
            service,
            clock,
            health,
            heard: Mutex::default(),
        })
    }

    /// Tells whether the last answer was a good one and is young enough. Asks nobody.
    pub fn holds(&self) -> bool {
        let now = self.clock.monotonic();
        self.heard()
            .is_some_and(|(status, at)| status.holds() && now.since(at) < BELIEVED)
    }

    /// Asks the service once.
    pub async fn poll(&self) {
        match self.service.licence().await {
            Ok(status) => {
                self.health.up();
                let now = self.clock.monotonic();
                let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                let before = heard.replace((status, now)).map(|(status, _)| status);
                if before != Some(status) {
                    tracing::info!(licence = ?status, "the enterprise licence is heard of");
                }
            }
            Err(error) => self.health.down(&error),
        }
    }

    /// Polls for ever.
    pub async fn keep_polling(self: Arc<Self>) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            self.poll().await;
        }
    }

    fn heard(&self) -> Option<(LicenceStatus, Monotonic)> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use url::Url;

    use super::*;
    use crate::{
        clock::{ManualClock, Timestamp},
        health::DependencyName,
        jws::{Jws, SsoState},
        sso::EnterpriseError,
    };

    /// A service that says what the test tells it to; `None`: nothing.
    #[derive(Debug)]
    struct ManualService(Mutex<Option<LicenceStatus>>);

    #[async_trait]
    impl EnterpriseService for ManualService {
        async fn initiate(&self, _: &Jws<SsoState>) -> Result<Option<Url>, EnterpriseError> {
            Ok(None)
        }

        async fn licence(&self) -> Result<LicenceStatus, EnterpriseError> {
            let said = *self.0.lock().unwrap();
            said.ok_or_else(|| EnterpriseError::new(std::io::Error::other("silent")))
        }
    }

    #[tokio::test]
    async fn a_licence_holds_by_the_last_answer_and_for_a_while_without_one() {
        let service = Arc::new(ManualService(Mutex::new(None)));
        let clock = Arc::new(ManualClock::at(Timestamp::from_unix_seconds(0)));
        let licence = Licence::new(
            Arc::clone(&service) as Arc<dyn EnterpriseService>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Dependency::new(
                DependencyName::Enterprise,
                Arc::clone(&clock) as Arc<dyn Clock>,
            ),
        );
        let say = |status| *service.0.lock().unwrap() = status;

        licence.poll().await;
        assert!(!licence.holds(), "nothing has been heard");
        for (status, holds) in [
            (LicenceStatus::Active, true),
            (LicenceStatus::Invalid, false),
            (LicenceStatus::Expiring, true),
        ] {
            say(Some(status));
            licence.poll().await;
            assert_eq!(licence.holds(), holds, "{status:?}");
        }
        say(None);
        clock.advance(BELIEVED - Duration::from_micros(1));
        licence.poll().await;
        assert!(
            licence.holds(),
            "an outage of the service is no end of the licence"
        );
        clock.advance(Duration::from_micros(1));
        assert!(!licence.holds());
    }

    #[test]
    fn two_words_are_good_and_no_other() {
        for word in ["active", "expiring"] {
            assert!(LicenceStatus::parse(word).holds());
        }
        for word in ["", "none", "inactive", "expired", "lost", "Active", "trial"] {
            assert!(!LicenceStatus::parse(word).holds(), "{word}");
        }
    }
}
