//! What the store of nonces promises, asked of the embedded and of the real one.

use std::{sync::Arc, time::Duration};

use difygate::store::{Nonce, Nonces, embedded::EmbeddedNonces, redis::RedisNonces};

use crate::{
    contract::{clock, redis_link},
    support::{RedisSpace, assert_eventually},
};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(80);

fn nonces(kind: fn(String) -> Nonce) -> [Nonce; 2] {
    [(); 2].map(|()| kind(format!("nonce {{x}}\n{}", uuid::Uuid::new_v4())))
}

/// The promises of [`Nonces`].
pub(crate) async fn nonces_contract(store: Arc<dyn Nonces>) {
    for kind in [Nonce::Assertion, Nonce::Grant] {
        let [once, short] = nonces(kind);
        let claims = (0..50).map(|_| {
            let (store, once) = (Arc::clone(&store), once.clone());
            tokio::spawn(async move { store.claim(&once, LONG).await.unwrap() })
        });
        let mut winners = 0;
        for claim in claims.collect::<Vec<_>>() {
            winners += usize::from(claim.await.unwrap());
        }
        assert_eq!(winners, 1);
        assert!(!store.claim(&once, LONG).await.unwrap());

        assert!(store.claim(&short, SHORT).await.unwrap());
        assert_eventually!(
            store.claim(&short, SHORT).await.unwrap(),
            "a use is forgotten when its time is over"
        );
    }
    // One text is one nonce of each kind.
    assert!(
        store
            .claim(&Nonce::Assertion("same".into()), SHORT)
            .await
            .unwrap()
    );
    assert!(
        store
            .claim(&Nonce::Grant("same".into()), SHORT)
            .await
            .unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_nonces_keep_their_promises() {
    nonces_contract(Arc::new(EmbeddedNonces::new(clock()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonces_in_redis_keep_their_promises_under_difys_own_keys() {
    let space = RedisSpace::create().await;
    let link = redis_link(&space);
    link.connect().await;
    let store = Arc::new(RedisNonces::new(link));
    nonces_contract(Arc::clone(&store) as Arc<dyn Nonces>).await;

    store
        .claim(&Nonce::Assertion("a".into()), LONG)
        .await
        .unwrap();
    store.claim(&Nonce::Grant("b".into()), LONG).await.unwrap();

    for key in ["sso_assertion_nonce:a", "device_approval_grant_nonce:b"] {
        assert_eq!(space.get(key).await.as_deref(), Some("1"));
        assert!((590..=600).contains(&space.ttl(key).await));
    }
}
