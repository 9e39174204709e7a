//! The gateway against what stands behind it: a real gunicorn, Werkzeug's own routing over Dify's
//! rules, and what a WSGI application gets to see.

mod environ;
mod paths;
mod targets;
mod webhook;

use crate::support::{Gateway, Wsgi};

/// A gateway in front of the application, which needs no stores for what has no token.
async fn open() -> (Gateway, Wsgi) {
    let wsgi = Wsgi::start().await;
    let gateway = Gateway::builder().upstream(wsgi.addr());
    (gateway.start().await, wsgi)
}
