//! Start after start, with a few configurations.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{
    options::Options,
    process::{self, Door, Started},
    report,
    stores::Stores,
    support::{Authority, GatewayBuilder, free_port, toml},
    upstream,
};

/// Routes of the longer configuration.
const ROUTES: usize = 100;

/// What is configured beside the stores.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Plain,
    Routes,
    Tls,
}

impl Shape {
    const ALL: [Self; 3] = [Self::Plain, Self::Routes, Self::Tls];

    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "the stores, an upstream",
            Self::Routes => "with 100 routes of its own",
            Self::Tls => "with TLS",
        }
    }
}

/// Starts the gateway often and prints the table.
pub(crate) async fn run(options: &Options, stores: &Stores) {
    let upstream = upstream::serve().await;
    let authority = Authority::new();
    let mut versions = Vec::new();
    for _ in 0..options.starts() {
        versions.push(blocking(process::says_version).await);
    }
    report::starts_head(options.starts());
    report::start("--version", "ended", &versions);
    for shape in Shape::ALL {
        let mut starts = Vec::new();
        for number in 0..options.starts() {
            // Redis has none of them yet, nor has any process.
            stores.flush().await;
            let token = stores.tokens[number].token.clone();
            starts.push(start(shape, stores, upstream, &authority, token).await);
        }
        let of = |part: fn(&Started) -> Duration| starts.iter().map(part).collect::<Vec<_>>();
        report::start(shape.name(), "/readyz is 200", &of(|started| started.ready));
        report::start("", "first request is 200", &of(|started| started.served));
    }
}

async fn start(
    shape: Shape,
    stores: &Stores,
    upstream: SocketAddr,
    authority: &Authority,
    token: String,
) -> Started {
    let [public, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let builder = stores
        .gateway(upstream)
        .set("server.listen", &format!("[\"{public}\"]"))
        .set("admin.listen", &format!("\"{admin}\""));
    let (builder, tls) = shaped(builder, shape, authority);
    let door = Door {
        public: public.parse().unwrap(),
        admin: admin.parse().unwrap(),
        token,
        tls,
    };
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, builder.to_toml()).unwrap();
    blocking(move || process::start(&config, &door)).await
}

fn shaped(
    builder: GatewayBuilder,
    shape: Shape,
    authority: &Authority,
) -> (GatewayBuilder, Option<Arc<ClientConfig>>) {
    match shape {
        Shape::Plain => (builder, None),
        Shape::Routes => {
            let mut routes = String::new();
            for number in 0..ROUTES {
                let _ = writeln!(
                    routes,
                    "[[routes]]\nmatch = \"/service-{number}/*\"\npolicy = \"bearer\"\n\
                     accept = [\"dfoa_\"]\nscope = \"apps:run\"\n"
                );
            }
            (builder.config(&routes), None)
        }
        Shape::Tls => {
            let issued = authority.issue(&["127.0.0.1"]);
            let builder = builder
                .set("server.tls.cert", &toml(&issued.cert))
                .set("server.tls.key", &toml(&issued.key));
            (builder, Some(believes(authority)))
        }
    }
}

/// A client that believes this authority.
fn believes(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(authority.file()).unwrap();
    roots.add(root).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
