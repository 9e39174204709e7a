//! `/device`: the page where a person decides about a login, with its style, script and icon.
//!
//! Everything is in the binary and nothing in it varies with the request, so that there is nothing
//! to escape. What the page shows it fetches from the endpoints beside it.

use bytes::Bytes;
use http::{HeaderName, header};
use sha2::{Digest as _, Sha256};

use super::LocalRequest;
use crate::{
    http::{Rejection, Reply},
    route::PAGE_ASSETS,
};

const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// The document; `{{name}}` stands for the address of an asset.
const DOCUMENT: &str = include_str!("../web/device.html");

/// What the document refers to. The script has a file for each of its concerns and is served as
/// one.
const ASSETS: [(&str, &str, &str); 3] = [
    (
        "device.css",
        "text/css; charset=utf-8",
        include_str!("../web/device.css"),
    ),
    (
        "device.js",
        "text/javascript; charset=utf-8",
        concat!(
            include_str!("../web/texts.js"),
            include_str!("../web/calls.js"),
            include_str!("../web/code.js"),
            include_str!("../web/views.js"),
            include_str!("../web/flow.js"),
        ),
    ),
    ("icon.svg", "image/svg+xml", include_str!("../web/icon.svg")),
];

/// What the document may do: run its own script, talk to its own origin, and nothing else. No
/// form can be sent, so that a code cannot get into a URL before the script is there; no string
/// becomes markup (Trusted Types).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The document is asked for anew each time, and not sent again while it is the same.
const REVALIDATE: &str = "no-cache";

/// An asset's name changes with its content.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// The page and what it refers to, made once.
#[derive(Debug)]
pub struct DevicePage {
    document: Resource,
    assets: Vec<Resource>,
}

/// What is sent for one path.
#[derive(Debug)]
struct Resource {
    /// The last segment of its path.
    name: String,
    content_type: &'static str,
    cache_control: &'static str,
    etag: String,
    body: Bytes,
}

impl DevicePage {
    /// Names every asset by its content and writes the document that refers to them.
    pub fn from_binary() -> Self {
        let mut document = DOCUMENT.to_owned();
        let mut assets = Vec::with_capacity(ASSETS.len());
        for (name, content_type, body) in ASSETS {
            let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
            let hashed = format!("{stem}-{}.{extension}", digest(body));
            document = document.replace(
                &format!("{{{{{name}}}}}"),
                &format!("{PAGE_ASSETS}{hashed}"),
            );
            assets.push(Resource::new(
                hashed,
                content_type,
                IMMUTABLE,
                body.to_owned(),
            ));
        }
        Self {
            document: Resource::new(
                String::new(),
                "text/html; charset=utf-8",
                REVALIDATE,
                document,
            ),
            assets,
        }
    }

    /// Answers with the document.
    pub(super) fn document(&self, request: &LocalRequest<'_>) -> Reply {
        self.document
            .reply(request)
            .with(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY)
            .with(CROSS_ORIGIN_OPENER_POLICY, "same-origin")
    }

    /// Answers with an asset.
    ///
    /// # Errors
    ///
    /// [`Rejection::NotFound`] for a name that is none, such as another release's.
    pub(super) fn asset(&self, request: &LocalRequest<'_>) -> Result<Reply, Rejection> {
        let asset = self.assets.iter().find(|a| a.name == request.segment);
        asset
            .map(|asset| asset.reply(request))
            .ok_or(Rejection::NotFound)
    }
}

impl Resource {
    fn new(
        name: String,
        content_type: &'static str,
        cache_control: &'static str,
        body: String,
    ) -> Self {
        Self {
            etag: format!("\"{}\"", digest(&body)),
            name,
            content_type,
            cache_control,
            body: body.into(),
        }
    }

    fn reply(&self, request: &LocalRequest<'_>) -> Reply {
        let reply = if self.is_known(request) {
            Reply::empty(http::StatusCode::NOT_MODIFIED)
        } else {
            Reply::document(self.content_type, self.body.clone())
        };
        reply
            .with(header::CACHE_CONTROL, self.cache_control)
            .with(header::ETAG, self.etag.clone())
            .with(header::REFERRER_POLICY, "no-referrer")
            .with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .with(CROSS_ORIGIN_RESOURCE_POLICY, "same-origin")
    }

    /// Tells whether the client has it already (RFC 9110 section 13.1.2: weak comparison).
    fn is_known(&self, request: &LocalRequest<'_>) -> bool {
        request
            .headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag)
    }
}

/// Sixteen hexadecimal digits of SHA-256: enough to tell one release's file from another's.
fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
