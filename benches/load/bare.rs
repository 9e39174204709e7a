//! What the gateway is measured against first: pingora's own server with a proxy that does nothing but
//! name the upstream. Its settings are those that the gateway would take from its configuration.

use std::net::{SocketAddr, TcpListener};

use async_trait::async_trait;
use difygate::config::{self, Config, Environment};
use pingora::{
    Result,
    proxy::{ProxyHttp, Session, http_proxy_service},
    server::{Server, configuration::ServerConf},
    upstreams::peer::{HttpPeer, Peer as _},
};

use crate::{options::Options, processes};

struct Bare {
    peer: HttpPeer,
    /// Whole seconds, as pingora counts them.
    idle_seconds: u64,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        session.set_keepalive(Some(self.idle_seconds));
        Ok(Box::new(self.peer.clone()))
    }
}

/// Serves until the bench ends.
pub(crate) fn serve(options: &Options) {
    let upstream = options.upstream.expect("--upstream");
    let config = config_for(upstream);
    let mut server = Server::new_with_opt_and_conf(
        None,
        ServerConf {
            threads: options.threads[0],
            upstream_keepalive_pool_size: config.upstream.keepalive,
            ..ServerConf::default()
        },
    );
    server.bootstrap();
    let mut service = http_proxy_service(
        &server.configuration,
        Bare {
            peer: peer(upstream, &config),
            idle_seconds: config.server.idle_timeout.as_secs(),
        },
    );
    // pingora does not tell which port it was given, so one is picked for it.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let address = address.unwrap();
    service.add_tcp(&address.to_string());
    server.add_service(service);
    processes::announce(address);
    server.run_forever();
}

/// The gateway's defaults.
fn config_for(upstream: SocketAddr) -> Config {
    let environment = Environment::from_pairs([
        ("DIFYGATE__UPSTREAM__URL", format!("http://{upstream}")),
        ("DIFYGATE__DIFY__SECRET_KEY", "unused".repeat(8)),
        ("DIFYGATE__POSTGRES__HOST", "127.0.0.1".to_owned()),
        ("DIFYGATE__REDIS__HOST", "127.0.0.1".to_owned()),
    ]);
    config::load(None, &environment).unwrap().config
}

fn peer(upstream: SocketAddr, config: &Config) -> HttpPeer {
    let settings = &config.upstream;
    let mut peer = HttpPeer::new(upstream, false, upstream.ip().to_string());
    let options = peer.get_mut_peer_options().expect("an HTTP peer has some");
    options.connection_timeout = Some(settings.connect_timeout);
    options.total_connection_timeout = Some(settings.connect_timeout);
    options.read_timeout = Some(settings.read_timeout);
    options.write_timeout = Some(settings.read_timeout);
    options.idle_timeout = Some(settings.idle_timeout);
    peer
}
