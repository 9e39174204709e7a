//! `…/account` and `…/account/sessions`: a person's own account and devices.

use http::{StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Endpoints, LocalRequest};
use crate::{
    check::{
        LiveEntry, Verdict,
        entry::{Entry, Subject},
    },
    http::{Malformed, Rejection, Reply, body::Fault},
    rate_limit::{Caller, Limit},
    store::{Session, SessionOwner, StoreError},
    token::{BearerToken, TokenHash},
};

/// Sessions on a page where the client names no number.
const DEFAULT_LIMIT: u32 = 100;

/// Most sessions on a page.
const MAX_LIMIT: u32 = 200;

impl Endpoints {
    pub(super) async fn account(&self, request: &LocalRequest<'_>) -> Result<Reply, Rejection> {
        let entry = self.bearer(request).await?;
        let subject = &entry.context.subject;
        let caller = match subject {
            Subject::Account { id, .. } => Caller::Account(*id),
            Subject::ExternalSso { email, .. } => Caller::Email(email),
        };
        let standing = self.admit(Limit::Account, caller).await?;
        let body = match subject {
            Subject::Account { id, email } => self.account_body(*id, email).await?,
            Subject::ExternalSso { email, issuer } => json!({
                "subject_type": subject.kind().subject_type(),
                "subject_email": email,
                "subject_issuer": issuer,
                "account": null,
                "workspaces": [],
                "default_workspace_id": null,
            }),
        };
        Ok(Reply::json(StatusCode::OK, &body).with_standing(&standing))
    }

    async fn account_body(&self, id: Uuid, email: &str) -> Result<Value, Rejection> {
        let (person, workspaces) =
            tokio::join!(self.directory.person(id), self.directory.workspaces(id));
        let person = person
            .map_err(|_| Rejection::StoreUnavailable)?
            .ok_or(Rejection::InvalidToken)?;
        let workspaces = workspaces.map_err(|_| Rejection::StoreUnavailable)?;
        let default = workspaces
            .iter()
            .find(|workspace| workspace.current)
            .or_else(|| workspaces.first())
            .map(|workspace| workspace.id);
        let workspaces: Vec<Value> = workspaces
            .iter()
            .map(|workspace| {
                json!({"id": workspace.id, "name": workspace.name, "role": workspace.role})
            })
            .collect();
        Ok(json!({
            "subject_type": "account",
            "subject_email": email,
            "account": {"id": id, "email": person.email, "name": person.name},
            "workspaces": workspaces,
            "default_workspace_id": default,
        }))
    }

    pub(super) async fn sessions(&self, request: &LocalRequest<'_>) -> Result<Reply, Rejection> {
        let entry = self.bearer(request).await?;
        let (page, limit) = paging(request.query)?;
        let owner = owner_of(&entry);
        let (sessions, total) = self
            .mint
            .sessions(&owner, page, limit)
            .await
            .map_err(|_| Rejection::StoreUnavailable)?;
        let data: Vec<Value> = sessions.iter().map(session).collect();
        let seen = u64::from(page) * u64::from(limit);
        let body = json!({
            "page": page,
            "limit": limit,
            "total": total,
            "has_more": seen < total,
            "data": data,
        });
        Ok(Reply::json(StatusCode::OK, &body))
    }

    pub(super) async fn revoke_self(&self, request: &LocalRequest<'_>) -> Result<Reply, Rejection> {
        let (entry, shown) = self.shown(request).await?;
        let (owner, id) = (owner_of(&entry), entry.context.token_id);
        revoked(self.mint.revoke_shown(&owner, id, &shown).await)
    }

    pub(super) async fn revoke_session(
        &self,
        request: &LocalRequest<'_>,
    ) -> Result<Reply, Rejection> {
        let entry = self.bearer(request).await?;
        let id = Uuid::parse_str(request.segment).map_err(|_| Rejection::NotFound)?;
        revoked(self.mint.revoke(&owner_of(&entry), id).await)
    }

    /// Checks the request's token; both kinds are accepted here.
    async fn bearer(&self, request: &LocalRequest<'_>) -> Result<LiveEntry, Rejection> {
        Ok(self.shown(request).await?.0)
    }

    /// Checks the request's token, and returns its hash as well.
    async fn shown(&self, request: &LocalRequest<'_>) -> Result<(LiveEntry, TokenHash), Rejection> {
        let mut values = request.headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next().ok_or(Rejection::BearerRequired)?;
        if values.next().is_some() {
            return Err(Rejection::Malformed(Malformed::SeveralAuthorization));
        }
        let token = BearerToken::from_authorization(value.as_bytes())?;
        self.require_enabled()?;
        match self.checker.check(&token).await? {
            Verdict::Live(entry) if entry.context.subject.kind() == token.kind() => {
                self.bearer_limit.admit(entry.context.token_id).await?;
                self.activity.note(&entry);
                Ok((entry, token.hash()))
            }
            Verdict::Live(_) | Verdict::Refused => Err(Rejection::InvalidToken),
        }
    }
}

fn revoked(outcome: Result<bool, StoreError>) -> Result<Reply, Rejection> {
    match outcome {
        Ok(true) => Ok(Reply::json(StatusCode::OK, &json!({"status": "revoked"}))),
        Ok(false) => Err(Rejection::NotFound),
        Err(_) => Err(Rejection::StoreUnavailable),
    }
}

fn owner_of(entry: &Entry) -> SessionOwner {
    match &entry.context.subject {
        Subject::Account { id, .. } => SessionOwner::Account(*id),
        Subject::ExternalSso { email, issuer } => SessionOwner::External {
            email: email.to_string(),
            issuer: issuer.to_string(),
        },
    }
}

fn session(session: &Session) -> Value {
    json!({
        "id": session.id,
        "prefix": session.prefix,
        "client_id": session.client_id,
        "device_label": session.device_label,
        "created_at": session.created_at.to_rfc3339_zulu(),
        "last_used_at": session.last_used_at.map(|at| at.to_rfc3339_zulu()),
        "expires_at": session.expires_at.to_rfc3339_zulu(),
    })
}

/// Reads `page` and `limit`; of several the first counts, as with Dify.
///
/// # Errors
///
/// [`Rejection::Query`] with every parameter that is another, or out of range.
pub fn paging(query: &str) -> Result<(u32, u32), Rejection> {
    let (mut page, mut limit) = (None, None);
    let mut faults = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let number = value.parse::<u32>().ok();
        match (&*name, number) {
            ("page", Some(number @ 1..)) => page = page.or(Some(number)),
            ("page", _) => faults.push(Fault::new("page", "range", "page must be 1 or more")),
            ("limit", Some(number @ 1..=MAX_LIMIT)) => limit = limit.or(Some(number)),
            ("limit", _) => {
                let message = format!("limit must be 1 to {MAX_LIMIT}");
                faults.push(Fault::new("limit", "range", message));
            }
            _ => faults.push(Fault::new("query", "extra_forbidden", "unknown parameter")),
        }
    }
    if faults.is_empty() {
        Ok((page.unwrap_or(1), limit.unwrap_or(DEFAULT_LIMIT)))
    } else {
        Err(Rejection::Query(faults))
    }
}
