//! A person in front of a browser, at the page.

use serde_json::json;

use crate::support::{Behaviour, Browser, Chromium, GatewayBuilder, Login, Stage};

/// A gateway with a Dify behind it, and a browser that nobody has signed in with.
pub(super) struct Visit {
    pub(super) stage: Stage,
    pub(super) browser: Chromium,
}

impl Visit {
    /// Sets everything up as it comes.
    pub(super) async fn begin() -> Self {
        Self::with(|gateway| gateway).await
    }

    /// Sets everything up, with the gateway configured further.
    pub(super) async fn with(configure: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        let stage = Stage::with(configure).await;
        stage.database.dify_setup().await;
        let browser = Chromium::open(stage.gateway.addr()).await;
        let visit = Self { stage, browser };
        visit.answers_as_nobody();
        visit.offers_sso(false);
        let signin = b"<!doctype html><title>Dify</title><h1>Sign in to Dify</h1>".to_vec();
        visit.stage.upstream.on(
            "/signin",
            Behaviour::Answer(200, vec![("Content-Type", "text/html")], signin),
        );
        visit
    }

    /// Dify's console knows nobody.
    pub(super) fn answers_as_nobody(&self) {
        let refusal = json!({"code": "unauthorized", "message": "Unauthorized.", "status": 401});
        for path in ["account/profile", "refresh-token", "workspaces/current"] {
            let path = format!("/console/api/{path}");
            let behaviour = Behaviour::Json(401, refusal.clone());
            self.stage.upstream.on(&path, behaviour);
        }
    }

    /// Dify says whether people without an account can sign in.
    pub(super) fn offers_sso(&self, offered: bool) {
        let protocol = if offered { "oidc" } else { "" };
        let features = json!({"webapp_auth": {
            "enabled": offered, "allow_sso": offered, "sso_config": {"protocol": protocol},
        }});
        let features = Behaviour::Json(200, features);
        self.stage
            .upstream
            .on("/console/api/system-features", features);
    }

    /// Signs Ada in, as Dify's sign-in page leaves her browser.
    pub(super) async fn signs_in(&self) {
        let session = Browser::of(self.stage.account_id);
        self.browser
            .has_cookie("access_token", &session.access)
            .await;
        self.browser.has_cookie("csrf_token", &session.csrf).await;
        let upstream = &self.stage.upstream;
        let profile =
            json!({"id": self.stage.account_id, "name": "Ada", "email": "ada@example.com"});
        upstream.on(
            "/console/api/account/profile",
            Behaviour::Json(200, profile),
        );
        let workspace = json!({"id": "1", "name": "Ada's Workspace", "role": "owner"});
        upstream.on(
            "/console/api/workspaces/current",
            Behaviour::Json(200, workspace),
        );
    }

    /// A device begins a login.
    pub(super) async fn login(&self) -> Login {
        Login::begin(&self.stage.gateway, "ada-laptop").await
    }

    /// Waits for a view that is ready.
    pub(super) async fn sees(&self, view: &str) {
        let expression = format!(
            "document.querySelector('[data-view]:not([hidden])')?.dataset.view === '{view}' \
             && document.querySelector('main').ariaBusy === 'false' \
             && !('settling' in document.querySelector('#approve').dataset)"
        );
        self.browser.waits_until(&expression).await;
    }

    /// Waits for an outcome.
    pub(super) async fn sees_outcome(&self, outcome: &str) {
        self.sees("outcome").await;
        let expression = format!(
            "document.querySelector('[data-view=outcome]').dataset.outcome === '{outcome}'"
        );
        self.browser.waits_until(&expression).await;
    }

    /// Opens the page as in a new tab, types a code and continues.
    pub(super) async fn enters(&self, code: &str) {
        let forget = "if (location.pathname === '/device') sessionStorage.clear()";
        self.browser.eval(forget).await;
        self.browser.goes_to("/device").await;
        self.sees("enter").await;
        self.browser.types(code).await;
        self.browser.clicks("#enter button").await;
    }

    /// Opens the page and goes as far as the decision.
    pub(super) async fn is_asked(&self) -> Login {
        let login = self.login().await;
        self.signs_in().await;
        self.enters(&login.user_code).await;
        self.sees("approve").await;
        login
    }

    /// No request has left the site's origin, and nothing has gone against the page's policy.
    pub(super) async fn has_kept_to_itself(&self) {
        let site = format!("{}/", self.browser.origin());
        for address in self.browser.requested().await {
            let within = address.starts_with(&site) || address.starts_with("data:,");
            assert!(within, "{address}");
        }
        for line in self.browser.console().await {
            let about = ["Content Security Policy", "Trusted", "Refused", "Uncaught"];
            assert!(!about.iter().any(|word| line.contains(word)), "{line}");
        }
    }

    /// What has become of a login.
    pub(super) async fn status(&self, login: &Login) -> String {
        let state = login.state(&self.stage.redis).await.unwrap();
        state["status"].as_str().unwrap().to_owned()
    }
}
