//! Where Redis is: its address, Dify's switches, nodes, and what they are asked with.

use super::*;

/// What a file says where Dify's environment says where Redis is.
const NO_REDIS: &str = "\
upstream.url = 'http://127.0.0.1:5001'
dify.secret_key = 'hunter2'
postgres.host = 'db'
";

fn try_from_dify(more: &str, pairs: &[(&str, &str)]) -> Result<Loaded, Invalid> {
    let text = format!("{NO_REDIS}{more}");
    let pairs = [&[("REDIS_HOST", "redis")], pairs].concat();
    load(Some(("config.toml", &text)), &env(&pairs))
}

fn from_dify(more: &str, pairs: &[(&str, &str)]) -> Loaded {
    try_from_dify(more, pairs).unwrap()
}

const SENTINELS: (&str, &str) = ("REDIS_SENTINELS", "s1:26379,s2:26379");
const SERVICE: (&str, &str) = ("REDIS_SENTINEL_SERVICE_NAME", "mymaster");
const USE_SENTINEL: (&str, &str) = ("REDIS_USE_SENTINEL", "true");
const CLUSTERS: (&str, &str) = ("REDIS_CLUSTERS", "c1:6379");
const USE_CLUSTERS: (&str, &str) = ("REDIS_USE_CLUSTERS", "true");

/// How many sentinels and nodes there are, and whether something was said about it.
fn lists(more: &str, pairs: &[(&str, &str)]) -> (usize, usize, bool) {
    let Loaded {
        config, warnings, ..
    } = from_dify(more, pairs);
    let redis = config.redis;
    (
        redis.sentinels.len(),
        redis.cluster_nodes.len(),
        !warnings.is_empty(),
    )
}

#[test]
fn difys_switches_say_whether_there_are_sentinels() {
    let off = |variable| (variable, "false");
    let sentinels = [SENTINELS, SERVICE];

    let on = [&sentinels[..], &[USE_SENTINEL]].concat();
    assert_eq!(lists("", &on), (2, 0, false));
    let not = [&sentinels[..], &[off("REDIS_USE_SENTINEL")]].concat();
    assert_eq!(lists("", &not), (0, 0, false));
    assert_eq!(lists("", &sentinels), (2, 0, true), "followed, and said");

    assert_eq!(lists("", &[CLUSTERS, USE_CLUSTERS]), (0, 1, false));
    let not = [CLUSTERS, off("REDIS_USE_CLUSTERS")];
    assert_eq!(lists("", &not), (0, 0, false));
    assert_eq!(lists("", &[CLUSTERS]), (0, 1, true), "followed, and said");

    // As Dify has it: sentinels first.
    let both = [&on[..], &[CLUSTERS, USE_CLUSTERS]].concat();
    assert_eq!(lists("", &both), (2, 0, false));
    // A list without a switch is nothing beside one that Dify goes by.
    let one = [&on[..], &[CLUSTERS]].concat();
    assert_eq!(lists("", &one), (2, 0, false));
    let other = [&sentinels[..], &[CLUSTERS, USE_CLUSTERS]].concat();
    assert_eq!(lists("", &other), (0, 1, false));
}

#[test]
fn a_switch_without_its_list_or_with_another_word_is_refused() {
    let refused = |pairs: &[(&str, &str)]| {
        let invalid = try_from_dify("", pairs).unwrap_err();
        let problems: Vec<String> = invalid.problems.iter().map(ToString::to_string).collect();
        problems.join("\n")
    };

    let problem = refused(&[USE_SENTINEL]);
    assert!(problem.starts_with("redis.sentinels  REDIS_USE_SENTINEL  got true"));
    assert!(problem.contains("REDIS_SENTINELS"), "{problem}");
    let problem = refused(&[CLUSTERS, ("REDIS_USE_CLUSTERS", "maybe")]);
    assert!(problem.contains("need true or false"), "{problem}");
}

#[test]
fn an_address_of_ones_own_stands_over_difys_lists() {
    let dify = [SENTINELS, SERVICE, USE_SENTINEL];

    assert_eq!(lists("redis.host = 'own'", &dify), (0, 0, true));
    assert_eq!(lists("redis.host = 'own'", &dify[..2]), (0, 0, true));
    assert_eq!(lists("redis.url = 'redis://own/0'", &dify), (0, 0, true));
    assert_eq!(
        lists("redis.cluster_nodes = ['own:1']", &dify),
        (0, 1, true)
    );
    let own = "redis.sentinels = ['own:1']";
    assert_eq!(lists(own, &[SERVICE, ("REDIS_USE_SENTINEL", "false")]).0, 1);
    // An empty list is a word about sentinels, and none about a cluster.
    let none = "redis.sentinels = []";
    assert_eq!(lists(none, &dify).0, 0);
    assert_eq!(lists(none, &[CLUSTERS, USE_CLUSTERS]), (0, 1, false));
    let variable = ("DIFYGATE__REDIS__SENTINELS", "own:1");
    let over = [SERVICE, variable];
    assert_eq!(lists("redis.host = 'own'", &over), (1, 0, false));
}

#[test]
fn nodes_of_a_cluster_are_a_host_and_a_port_each() {
    let nodes = |list: &str| {
        let more = format!("redis.cluster_nodes = {list}");
        let loaded = loaded(&more, &[]);
        let nodes = loaded.config.redis.cluster_nodes.into_iter();
        nodes.map(|node| (node.host, node.port)).collect::<Vec<_>>()
    };

    assert_eq!(nodes("[]"), []);
    assert_eq!(
        nodes("['redis-0:6379', '127.0.0.1:7001', '[::1]:7002']"),
        [
            ("redis-0".to_owned(), 6379),
            ("127.0.0.1".to_owned(), 7001),
            ("::1".to_owned(), 7002),
        ]
    );
    let dify = [
        ("REDIS_CLUSTERS", "redis-0:6379,redis-1:6379"),
        ("REDIS_USE_CLUSTERS", "true"),
    ];
    assert_eq!(from_dify("", &dify).config.redis.cluster_nodes.len(), 2);
}

#[test]
fn a_node_of_a_cluster_with_anything_else_is_refused_without_showing_a_password() {
    let refused = |node: &str| refused(&format!("redis.cluster_nodes = ['{node}']"), &[]).concat();
    let url = "redis://redis:6379";

    for node in ["redis", ":6379", "redis:", "redis:0", "::1", url] {
        let problem = refused(node);
        assert!(
            problem.contains("need a node as \"host:port\""),
            "{problem}"
        );
    }
    let problem = refused("user:hunter2@redis:6379");
    assert!(!problem.contains("hunter2"), "{problem}");
}

#[test]
fn a_query_of_redis_url_that_means_nothing_here_is_refused() {
    let with = |url: &str| load_with("", &[("DIFYGATE__REDIS__URL", url)]);
    for url in [
        "redis://:hunter3@h:6379/0?db=2",
        "redis://h?password=hunter3",
        "redis://h?ssl_cert_reqs=none",
        "redis://u:12?hunter3&hunter3@h",
        "redis://h?protocol=4",
        "redis://h?protocol=2&protocol=3",
        "unix:///s?db=2&password=hunter3",
        "unix:///s?db=-1",
        "unix:///s?db=0&db=1",
        "redis://h/-1",
        "redis://h/256",
        "redis://h/+1",
        "redis://h/hunter3",
        "redis:///0",
        "redis://:hun/ter3@h",
        "rediss://h/#insecure",
    ] {
        let problems = with(url).expect_err(url).problems;
        assert_eq!(problems.len(), 1, "{url}");
        let shown = problems[0].to_string();
        assert!(
            shown.starts_with("redis.url  DIFYGATE__REDIS__URL"),
            "{shown}"
        );
        assert!(!shown.contains("hunter3"), "{shown}");
    }
    for url in [
        "redis://h",
        "redis://h/",
        "redis://u:hun%3Fter3@h:6379/255?protocol=resp3",
        "rediss://[::1]:6380/2",
        "unix:///s?db=2&user=u&pass=hunter3",
        "redis+unix:///s",
    ] {
        assert!(with(url).is_ok(), "{url}");
    }
}

#[test]
fn sentinels_and_clusters_get_the_credentials_that_dify_sends_them() {
    let credentials =
        |more: &str, pairs: &[(&str, &str)]| match from_dify(more, pairs).config.redis.target {
            RedisTarget::Parts {
                username, password, ..
            } => (username, password.map(|it| it.expose().to_owned())),
            RedisTarget::Url(_) => panic!("not set"),
        };
    let some = |text: &str| Some(text.to_owned());
    let server = [("REDIS_USERNAME", "u"), ("REDIS_PASSWORD", "p")];
    let of_cluster = ("REDIS_CLUSTERS_PASSWORD", "c");
    let difys = [&server[..], &[CLUSTERS, USE_CLUSTERS]].concat();
    let with = |pairs: &[(&'static str, &'static str)]| [pairs, &[of_cluster]].concat();

    assert_eq!(credentials("", &with(&server)), (some("u"), some("p")));
    assert_eq!(credentials("", &difys), (None, None));
    assert_eq!(credentials("", &with(&difys)), (None, some("c")));
    let own = "redis.cluster_nodes = ['own:1']";
    assert_eq!(credentials(own, &server), (some("u"), some("p")));
    assert_eq!(credentials(own, &with(&server)), (None, some("c")));
    let own = "redis.username = 'me'\nredis.password = 'mine'";
    assert_eq!(credentials(own, &with(&difys)), (some("me"), some("mine")));

    let sentinels = [
        SENTINELS,
        SERVICE,
        USE_SENTINEL,
        ("REDIS_SENTINEL_USERNAME", "s"),
        ("REDIS_SENTINEL_PASSWORD", "hunter3"),
    ];
    let redis = from_dify("", &sentinels).config.redis;
    assert_eq!(redis.sentinel_username.as_deref(), Some("s"));
    assert_eq!(redis.sentinel_password.unwrap().expose(), "hunter3");
}
