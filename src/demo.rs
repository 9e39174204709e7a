//! `difygate demo`: the gateway with nothing installed.
//!
//! The stores are in memory, the upstream is a small stand-in for Dify, and one account has a
//! token that is valid, one that is expired and one that is revoked. Everything else is the
//! gateway as it ships.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    app::{self, App, Sockets, Stop, StoreSet, Stores},
    cli,
    clock::Clock,
    config::{self, Environment, ListenAddress},
    entropy::{Entropy, OsEntropy},
    health::Health,
    store::{
        AccountStatus, Person, TokenRecord, Workspace,
        embedded::{
            EmbeddedCache, EmbeddedDirectory, EmbeddedFlows, EmbeddedNonces, EmbeddedTokens,
            EmbeddedWindows,
        },
    },
    telemetry,
    token::{BearerToken, TokenKind},
};

mod company;
mod console;
mod stand_in;

use console::{Console, Resident};

/// Life of the demo's valid token, as long as Dify's own default.
const TOKEN_LIFE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Runs the demo until `stop` completes.
///
/// # Errors
///
/// When an address cannot be bound.
pub async fn run(options: &cli::Demo, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let secret = random_secret();
    let (listen, environment) = if options.enterprise {
        let listen = company::settled(options.listen)?;
        (listen, company(listen, &secret).await?)
    } else {
        (options.listen, Environment::default())
    };
    let resident = Resident {
        account: random_id(&OsEntropy),
        name: "Ada",
        email: "ada@example.com",
        workspace: "Ada's Workspace",
    };
    let console = Console::new(&secret, resident.clone(), options.enterprise);
    let upstream = stand_in::start(console).await?;
    let text = configuration(listen, options.admin_listen, upstream, &secret);
    let config = config::load(Some(("the demo", &text)), &environment)?.config;
    let clock = app::system_clock();
    let health = Health::new(&clock);
    let _log = telemetry::init(&config.log, &health)?;

    let tokens = Arc::new(EmbeddedTokens::new(Arc::clone(&clock)));
    let directory = EmbeddedDirectory::default();
    let seeded = seed(&tokens, &directory, &resident, &*clock);
    let stores = Stores {
        sessions: Arc::clone(&tokens) as _,
        tokens,
        cache: Arc::new(EmbeddedCache::new(Arc::clone(&clock))),
        directory: Arc::new(directory),
        flows: Arc::new(EmbeddedFlows::new(Arc::clone(&clock))),
        nonces: Arc::new(EmbeddedNonces::new(Arc::clone(&clock))),
        windows: Arc::new(EmbeddedWindows::new(Arc::clone(&clock))),
    };
    let stores = StoreSet::embedded(stores, &health);
    let app = App::build(&config, clock, health, stores)?;
    let sockets = Sockets::bind(&config)
        .await
        .context("use --listen and --admin-listen to name other addresses (port 0: any)")?;
    let gateway = sockets.addresses().find_map(ListenAddress::tcp);
    let gateway = gateway.context("one listener")?;
    let mut guide = guide(gateway, sockets.admin_address(), &seeded);
    if options.enterprise {
        guide.push_str(&sso(gateway));
    }
    io::stdout().write_all(guide.as_bytes())?;
    let running = app.start().await?;
    running
        .serve(sockets, async |_| {
            stop.await;
            Stop::Asked
        })
        .await;
    Ok(())
}

/// The three tokens of the demo's account, in plain text: they exist nowhere else.
struct Seeded {
    valid: String,
    expired: String,
    revoked: String,
}

fn seed(
    tokens: &EmbeddedTokens,
    directory: &EmbeddedDirectory,
    resident: &Resident,
    clock: &dyn Clock,
) -> Seeded {
    let (account, entropy) = (resident.account, &OsEntropy);
    directory.insert(
        account,
        Person {
            email: resident.email.to_owned(),
            name: resident.name.to_owned(),
            status: "active".to_owned(),
        },
        vec![Workspace {
            id: random_id(entropy),
            name: resident.workspace.to_owned(),
            role: "owner".to_owned(),
            current: true,
        }],
    );
    let issue = |label: &str, life: Option<Duration>, revoked: bool| {
        let mut secret = [0; 32];
        entropy.fill(&mut secret);
        let kind = TokenKind::Account;
        let text = format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(secret));
        let now = clock.now();
        let id = random_id(entropy);
        if let Ok(token) = BearerToken::parse(text.as_bytes()) {
            tokens.insert(
                token.hash(),
                label,
                TokenRecord {
                    id,
                    prefix: kind.prefix().to_owned(),
                    subject_email: resident.email.to_owned(),
                    subject_issuer: Some("dify:account".to_owned()),
                    account_id: Some(account),
                    account_status: Some(AccountStatus::Usable),
                    client_id: "difyctl".to_owned(),
                    expires_at: life.map_or(now, |life| now.plus(life)),
                    expired: false,
                },
            );
        }
        if revoked {
            tokens.revoke(id);
        }
        text
    };
    Seeded {
        valid: issue("difyctl on ada-laptop", Some(TOKEN_LIFE), false),
        expired: issue("difyctl on ada-desktop", None, false),
        revoked: issue("difyctl on ada-phone", Some(TOKEN_LIFE), true),
    }
}

fn random_id(entropy: &dyn Entropy) -> Uuid {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// The configuration of a gateway whose stores are replaced.
fn configuration(
    listen: SocketAddr,
    admin_listen: SocketAddr,
    upstream: SocketAddr,
    secret: &str,
) -> String {
    format!(
        r#"
[server]
listen = ["{listen}"]
[admin]
listen = "{admin_listen}"
[upstream]
url = "http://{upstream}"
[dify]
secret_key = "{secret}"
[postgres]
host = "embedded"
[redis]
host = "embedded"
[forward]
identity = "headers"
[log]
format = "text"
access = "all"
"#
    )
}

/// Starts the stand-in for a company; returns what is to be set besides.
async fn company(listen: SocketAddr, secret: &str) -> anyhow::Result<Environment> {
    let api_secret = random_secret();
    let company = company::start(secret, &api_secret).await?;
    let settings = [
        ("DIFY__CONSOLE_API_URL", format!("http://{listen}")),
        ("ENTERPRISE__ENABLED", "true".to_owned()),
        ("ENTERPRISE__API_URL", format!("http://{company}")),
        ("ENTERPRISE__SECRET_KEY", api_secret),
    ];
    Ok(Environment::from_pairs(
        settings.map(|(key, value)| (format!("DIFYGATE__{key}"), value)),
    ))
}

fn random_secret() -> String {
    let mut secret = [0; 32];
    OsEntropy.fill(&mut secret);
    URL_SAFE_NO_PAD.encode(secret)
}

/// What to try, as lines that can be copied, each with what it should answer.
fn guide(gateway: SocketAddr, admin: Option<SocketAddr>, tokens: &Seeded) -> String {
    let mut guide = format!(
        "difygate demo: http://{gateway} in front of a stand-in for Dify. Ctrl-C ends it.\n\n"
    );
    guide.push_str(&in_a_browser(gateway));
    let bearer = |token: &str| format!("-H 'Authorization: Bearer {token}'");
    let (valid, expired, revoked) = (
        bearer(&tokens.valid),
        bearer(&tokens.expired),
        bearer(&tokens.revoked),
    );
    let mut steps = vec![
        (
            "200: the echo of a request, with the headers that the upstream received",
            format!("curl -i {valid} http://{gateway}/openapi/v1/apps"),
        ),
        (
            "401: an expired token",
            format!("curl -i {expired} http://{gateway}/openapi/v1/apps"),
        ),
        (
            "401: a revoked token",
            format!("curl -i {revoked} http://{gateway}/openapi/v1/apps"),
        ),
        (
            "401: no token; the message says so",
            format!("curl -i http://{gateway}/openapi/v1/apps"),
        ),
        (
            "400: a path with two readings",
            format!("curl -i --path-as-is {valid} http://{gateway}/openapi/v1/apps/%2e%2e/x"),
        ),
        (
            "404: what is never proxied",
            format!("curl -i http://{gateway}/inner/api/x"),
        ),
        (
            "200: an identity that the client made up does not arrive",
            format!(
                "curl -i {valid} -H 'X_Dify-Subject.Email: eve@example.com' http://{gateway}/openapi/v1/apps"
            ),
        ),
        (
            "200: five events, one every 300 ms, as they are sent",
            format!("curl -iN {valid} -X POST http://{gateway}/openapi/v1/apps/1/run"),
        ),
        (
            "101: a WebSocket, whose first frame says hello (curl stops after 2 s)",
            format!(
                "curl -iN --http1.1 -m 2 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: ZGlmeWdhdGUgZGVtbyBrZXk=' http://{gateway}/socket.io/ --output -"
            ),
        ),
    ];
    steps.extend(device_flow(gateway, &valid));
    if let Some(admin) = admin {
        steps.push((
            "200: postgres, redis and upstream, each up",
            format!("curl -i http://{admin}/readyz"),
        ));
        steps.push((
            "200: the status page; open it in a browser",
            format!("curl -I http://{admin}/"),
        ));
        steps.push((
            "200: what was counted",
            format!("curl -s http://{admin}/metrics | grep -v '^#'"),
        ));
    }
    for (answer, command) in steps {
        let _ = writeln!(guide, "# {answer}\n{command}\n");
    }
    guide
}

/// The beginning of a sign-in by SSO; a browser goes on from there.
fn sso(gateway: SocketAddr) -> String {
    let device = format!("http://{gateway}/openapi/v1/oauth/device");
    let begun = format!("curl -s -d client_id=difyctl {device}/code | cut -d '\"' -f 8");
    format!(
        "# 302: to the page of a stand-in for an identity provider; open it in a browser to go on\n\
         curl -i \"{device}/sso-initiate?user_code=$({begun})\"\n\n"
    )
}

/// The steps of a login, but for its approval: that takes a person at Dify's console, which the
/// demo does not have.
/// How to log a device in as a person does: a terminal that waits, and a browser to approve in.
fn in_a_browser(gateway: SocketAddr) -> String {
    let device = format!("http://{gateway}/openapi/v1/oauth/device");
    let grant = "grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=difyctl";
    // The second and the fourth word of the answer are the two codes.
    let device = format!(
        "login=$(curl -s -H 'Content-Type: application/json' -d '{{\"client_id\": \"difyctl\", \"device_label\": \"difyctl on my terminal\"}}' {device}/code | cut -d '\"' -f 4,8); \
         echo \"code: ${{login#*\\\"}}\"; \
         until curl -s -d \"{grant}&device_code=${{login%\\\"*}}\" {device}/token | grep access_token; do sleep 5; done"
    );
    format!(
        "In a browser: paste this into a terminal, open http://{gateway}/device, type the code that\n\
         the terminal shows, continue with a Dify account, sign in as Ada, and approve. The terminal\n\
         then shows the token.\n\n{device}\n\n"
    )
}

/// The steps of a login, but for its approval, which takes a person: see [`in_a_browser`].
fn device_flow(gateway: SocketAddr, valid: &str) -> [(&'static str, String); 5] {
    let device = format!("http://{gateway}/openapi/v1/oauth/device");
    let account = format!("http://{gateway}/openapi/v1/account");
    // The second and the fourth word of the answer are the two codes.
    let begun = format!("curl -s -d client_id=difyctl {device}/code | cut -d '\"' -f");
    let grant = "grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=difyctl";
    [
        (
            "200: a device asks for a code; its person would type user_code at verification_uri",
            format!(
                "curl -i -H 'Content-Type: application/json' -d '{{\"client_id\": \"difyctl\", \"device_label\": \"difyctl on ada-laptop\"}}' {device}/code"
            ),
        ),
        (
            "400: authorization_pending; nobody has approved the login",
            format!("curl -i -d \"{grant}&device_code=$({begun} 4)\" {device}/token"),
        ),
        (
            "200: what anybody may know about a user code",
            format!("curl -i \"{device}/lookup?user_code=$({begun} 8)\""),
        ),
        (
            "200: whose token it is",
            format!("curl -i {valid} {account}"),
        ),
        (
            "200: the devices that are logged in",
            format!("curl -i {valid} {account}/sessions"),
        ),
    ]
}
