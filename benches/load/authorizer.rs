//! Whom proxies ask that cannot check by themselves: the gateway's check of a bearer token, as far
//! as Redis knows the token, behind plain HTTP/1.1. 200, or 401, or 503 where Redis is silent.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use difygate::{
    check::entry::{Cached, ClientIds, TokenContext},
    clock::{Clock as _, SystemClock},
    token::{BearerToken, TokenHash},
};
use http::{Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use redis::{AsyncCommands as _, AsyncConnectionConfig, aio::MultiplexedConnection};
use tokio::net::TcpListener;

use crate::{options::Options, processes};

/// How long an entry is believed: nobody tells the authorizer of a revocation.
const BELIEVED: Duration = Duration::from_secs(1);

/// Longest wait for Redis; nobody else could be asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves until the bench ends.
pub(crate) fn serve(options: &Options) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads[0])
        .enable_all()
        .build()
        .unwrap();
    let address = options.redis.expect("--redis");
    let prefix = options.prefix.clone().expect("--prefix");
    runtime.block_on(async {
        let client = redis::Client::open(format!("redis://{address}/0")).unwrap();
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let redis = client.get_multiplexed_async_connection_with_config(&config);
        let authorizer = Arc::new(Authorizer {
            redis: redis.await.unwrap(),
            prefix,
            known: Mutex::default(),
            clients: ClientIds::default(),
            clock: SystemClock::start(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        processes::announce(listener.local_addr().unwrap());
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            connection.set_nodelay(true).unwrap();
            let authorizer = Arc::clone(&authorizer);
            tokio::spawn(async move {
                let answer = service_fn(|request| authorizer.answer(request));
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(connection), answer);
                // A proxy that leaves is no fault.
                let _ = served.await;
            });
        }
    });
}

struct Authorizer {
    redis: MultiplexedConnection,
    prefix: String,
    /// What Redis said, and until when that is believed.
    known: Mutex<HashMap<[u8; 32], Known>>,
    clients: ClientIds,
    clock: SystemClock,
}

#[derive(Clone)]
struct Known {
    until: Instant,
    token: Option<Arc<TokenContext>>,
}

impl Authorizer {
    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Empty<Bytes>>, Infallible> {
        let value = request.headers().get(header::AUTHORIZATION);
        let status = match value.map(|value| BearerToken::from_authorization(value.as_bytes())) {
            Some(Ok(token)) => self.check(&token).await,
            Some(Err(_)) | None => StatusCode::UNAUTHORIZED,
        };
        let mut response = Response::new(Empty::new());
        *response.status_mut() = status;
        Ok(response)
    }

    async fn check(&self, token: &BearerToken<'_>) -> StatusCode {
        let hash = token.hash();
        let now = Instant::now();
        let held = self.known.lock().unwrap().get(hash.as_bytes()).cloned();
        let known = match held.filter(|known| known.until > now) {
            Some(known) => known.token,
            None => match self.ask(&hash).await {
                Ok(known) => known,
                Err(_) => return StatusCode::SERVICE_UNAVAILABLE,
            },
        };
        let live = known.is_some_and(|context| {
            context.subject.kind() == token.kind() && !context.is_expired(self.clock.now())
        });
        if live {
            StatusCode::OK
        } else {
            StatusCode::UNAUTHORIZED
        }
    }

    async fn ask(&self, hash: &TokenHash) -> redis::RedisResult<Option<Arc<TokenContext>>> {
        let key = format!("{}:auth:token:{}", self.prefix, hash.to_hex().as_str());
        let value: Option<Vec<u8>> = self.redis.clone().get(key).await?;
        let token = match value.map(|value| Cached::parse(&value, &self.clients)) {
            Some(Cached::Live { context, .. }) => Some(Arc::new(context)),
            _ => None,
        };
        let known = Known {
            until: Instant::now() + BELIEVED,
            token: token.clone(),
        };
        self.known.lock().unwrap().insert(*hash.as_bytes(), known);
        Ok(token)
    }
}
