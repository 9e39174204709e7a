//! Rows that tests start from.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Database;

/// A token to be inserted as if it had been minted.
#[derive(Debug, Clone)]
pub(crate) struct NewToken {
    prefix: &'static str,
    email: String,
    issuer: String,
    account: Option<Uuid>,
    client: String,
    label: String,
    lifetime_seconds: f64,
}

/// An inserted token, the only place where its plain text is.
#[derive(Debug, Clone)]
pub(crate) struct IssuedToken {
    pub(crate) token: String,
    pub(crate) id: Uuid,
    pub(crate) hash: String,
}

impl NewToken {
    /// A `dfoa_` token of a Dify account.
    pub(crate) fn account(account: Uuid, email: &str) -> Self {
        Self::new("dfoa_", Some(account), email, "dify:account")
    }

    /// A `dfoe_` token of an e-mail that an identity provider has verified.
    pub(crate) fn external(email: &str, issuer: &str) -> Self {
        Self::new("dfoe_", None, email, issuer)
    }

    fn new(prefix: &'static str, account: Option<Uuid>, email: &str, issuer: &str) -> Self {
        Self {
            prefix,
            email: email.to_owned(),
            issuer: issuer.to_owned(),
            account,
            client: "difyctl".to_owned(),
            // One live token per device: without a label of their own, two would collide.
            label: format!("difyctl on {}", Uuid::new_v4().simple()),
            lifetime_seconds: 14.0 * 86_400.0,
        }
    }

    /// Another client than `difyctl`.
    pub(crate) fn client(mut self, client: &str) -> Self {
        self.client = client.to_owned();
        self
    }

    /// A device label instead of a random one.
    pub(crate) fn label(mut self, label: &str) -> Self {
        self.label = label.to_owned();
        self
    }

    /// Expires so long after the insertion, by the database's clock.
    pub(crate) fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime_seconds = lifetime.as_secs_f64();
        self
    }

    /// Expired a minute ago.
    pub(crate) fn expired(mut self) -> Self {
        self.lifetime_seconds = -60.0;
        self
    }
}

impl IssuedToken {
    /// A well-formed token that no database knows.
    pub(crate) fn unknown(prefix: &str) -> Self {
        let mut random = [0; 32];
        getrandom::fill(&mut random).unwrap();
        let token = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random));
        let hash = Sha256::digest(&token)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            token,
            id: Uuid::new_v4(),
            hash,
        }
    }

    /// The value of an `Authorization` header.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

impl Database {
    /// An active account which owns a workspace, its current one; the account's id.
    pub(crate) async fn account(&self, email: &str, name: &str) -> Uuid {
        let id = Uuid::new_v4();
        self.client()
            .await
            .execute(
                "INSERT INTO accounts (id, name, email, status, initialized_at) \
                 VALUES ($1, $2, $3, 'active', now())",
                &[&id, &name, &email],
            )
            .await
            .unwrap();
        self.workspace(id, &format!("{name}'s Workspace"), "owner", true)
            .await;
        id
    }

    /// A workspace that the account joins with a role; the workspace's id.
    pub(crate) async fn workspace(
        &self,
        account: Uuid,
        name: &str,
        role: &str,
        current: bool,
    ) -> Uuid {
        let client = self.client().await;
        let (tenant, join) = (Uuid::new_v4(), Uuid::new_v4());
        client
            .execute(
                "INSERT INTO tenants (id, name) VALUES ($1, $2)",
                &[&tenant, &name],
            )
            .await
            .unwrap();
        client
            .execute(
                "INSERT INTO tenant_account_joins (id, tenant_id, account_id, current, role) \
                 VALUES ($1, $2, $3, $4, $5)",
                &[&join, &tenant, &account, &current, &role],
            )
            .await
            .unwrap();
        tenant
    }

    /// Changes an account's status, for example to `banned`.
    pub(crate) async fn set_account_status(&self, account: Uuid, status: &str) {
        self.client()
            .await
            .execute(
                "UPDATE accounts SET status = $2 WHERE id = $1",
                &[&account, &status],
            )
            .await
            .unwrap();
    }

    /// Marks Dify as set up.
    pub(crate) async fn dify_setup(&self) {
        self.client()
            .await
            .execute("INSERT INTO dify_setups (version) VALUES ('1.10.0')", &[])
            .await
            .unwrap();
    }

    /// Inserts a token row; nothing is written to Redis.
    pub(crate) async fn insert_token(&self, new: &NewToken) -> IssuedToken {
        let issued = IssuedToken::unknown(new.prefix);
        self.client()
            .await
            .execute(
                "INSERT INTO oauth_access_tokens (id, subject_email, subject_issuer, account_id, \
                 client_id, device_label, prefix, token_hash, expires_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(secs => $9))",
                &[
                    &issued.id,
                    &new.email,
                    &new.issuer,
                    &new.account,
                    &new.client,
                    &new.label,
                    &new.prefix,
                    &issued.hash,
                    &new.lifetime_seconds,
                ],
            )
            .await
            .unwrap();
        issued
    }

    /// Revokes a token as Dify does, in the database only.
    pub(crate) async fn revoke(&self, id: Uuid) {
        let sql = "UPDATE oauth_access_tokens SET revoked_at = now(), token_hash = NULL \
                   WHERE id = $1 AND revoked_at IS NULL";
        let changed = self.client().await.execute(sql, &[&id]).await.unwrap();
        assert_eq!(changed, 1, "no live token {id}");
    }
}
