//! The usual cast: a gateway, its upstream, and one live token of each kind.

use super::{Database, Gateway, GatewayBuilder, IssuedToken, NewToken, RedisSpace, Upstream};
use super::{RequestBuilder, Response};

/// An issuer as an identity provider would have it.
pub(crate) const ISSUER: &str = "https://idp.example.com";

/// A gateway between a scripted upstream and stores that know two tokens.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    pub(crate) upstream: Upstream,
    pub(crate) database: Database,
    pub(crate) redis: RedisSpace,
    /// `dfoa_`, of `ada@example.com`.
    pub(crate) account: IssuedToken,
    /// `dfoe_`, of `eve@example.com` at [`ISSUER`].
    pub(crate) external: IssuedToken,
    /// The account's id.
    pub(crate) account_id: uuid::Uuid,
}

impl Stage {
    /// Sets everything up as it comes.
    pub(crate) async fn set() -> Self {
        Self::with(|gateway| gateway).await
    }

    /// Sets everything up, with the gateway configured further.
    pub(crate) async fn with(configure: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        let (upstream, database, redis) =
            tokio::join!(Upstream::start(), Database::create(), RedisSpace::create());
        let account_id = database.account("ada@example.com", "Ada").await;
        let account = NewToken::account(account_id, "ada@example.com");
        let account = database.insert_token(&account).await;
        let external = NewToken::external("eve@example.com", ISSUER);
        let external = database.insert_token(&external).await;
        let gateway = Gateway::builder()
            .upstream(upstream.addr())
            .database(&database)
            .redis(&redis);
        let gateway = configure(gateway).start().await;
        Self {
            gateway,
            upstream,
            database,
            redis,
            account,
            external,
            account_id,
        }
    }

    /// Sends a request; the answer, and the request lines that the upstream got for it.
    pub(crate) async fn probe(&self, request: &RequestBuilder) -> (Response, Vec<String>) {
        let response = request.send(self.gateway.addr()).await;
        let seen = self.upstream.take_requests();
        let lines = seen.into_iter().map(|request| request.request_line);
        (response, lines.collect())
    }

    /// Asserts that a request is answered with a status by the gateway itself.
    pub(crate) async fn refuses(&self, request: &RequestBuilder, status: u16) -> Response {
        let (response, seen) = self.probe(request).await;
        assert_eq!(response.status, status, "{request:?} got {response:?}");
        assert!(
            seen.is_empty(),
            "{request:?} reached the upstream: {seen:?}"
        );
        response
    }

    /// Asserts that a request reaches the upstream, and its answer the client.
    pub(crate) async fn forwards(&self, request: &RequestBuilder) -> Response {
        let (response, seen) = self.probe(request).await;
        assert_eq!(response.status, 200, "{request:?} got {response:?}");
        assert_eq!(seen.len(), 1, "{request:?} reached the upstream: {seen:?}");
        response
    }
}
