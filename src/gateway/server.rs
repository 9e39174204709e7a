//! The proxy as the listeners have it: pingora's, with one number of ours.

use std::{pin::Pin, sync::Arc, time::Duration};

use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{ServerSession, v2::server::H2Options},
    proxy::{HttpProxy, http_proxy},
    server::{ShutdownWatch, configuration::ServerConf},
};

use super::SharedGateway;

/// How long pingora would wait for a connection's first request, in seconds.
const FIRST_REQUEST: u64 = 60;

/// The proxy.
pub struct Server {
    proxy: Arc<HttpProxy<SharedGateway>>,
    /// Whole seconds, as pingora counts them.
    idle_seconds: u64,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server(…)")
    }
}

impl Server {
    /// Wraps `gateway`. A connection on which nothing is asked for ends after `idle`.
    pub fn new(
        gateway: SharedGateway,
        conf: &Arc<ServerConf>,
        http2: H2Options,
        idle: Duration,
    ) -> Self {
        let idle_seconds = gateway.settings.idle_seconds;
        let mut proxy = http_proxy(conf, gateway);
        proxy.h2_options = Some(http2);
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(idle);
        // It gets no further than any other method, but to our own refusal: pingora's is a bare one.
        options.allow_connect_method_proxying = true;
        proxy.server_options = Some(options);
        Self {
            proxy: Arc::new(proxy),
            idle_seconds,
        }
    }
}

impl HttpServerApp for Server {
    /// Written out rather than `async`, which would put one more box around every request.
    fn process_new_http<'life0, 'life1, 'async_trait>(
        self: &'life0 Arc<Self>,
        mut session: ServerSession,
        shutdown: &'life1 ShutdownWatch,
    ) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        if session.get_keepalive() == Some(FIRST_REQUEST) {
            session.set_keepalive(Some(self.idle_seconds));
        }
        self.proxy.process_new_http(session, shutdown)
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    fn http_cleanup<'life0, 'async_trait>(
        &'life0 self,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.proxy.http_cleanup()
    }
}
