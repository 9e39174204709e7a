//! From keys and Dify's variables to a collector.

use crate::config::{Environment, Loaded, TracingConfig, load};

const REQUIRED: &str = "\
upstream.url = 'http://127.0.0.1:5001'
dify.secret_key = 'hunter2'
postgres.host = 'db'
redis.host = 'cache'
";

fn loaded(more: &str, pairs: &[(&str, &str)]) -> Result<Loaded, String> {
    let text = format!("{REQUIRED}{more}");
    let env = Environment::from_pairs(pairs.iter().copied());
    load(Some(("config.toml", &text)), &env).map_err(|invalid| invalid.to_string())
}

fn read(more: &str, pairs: &[(&str, &str)]) -> TracingConfig {
    loaded(more, pairs).unwrap().config.tracing
}

#[test]
fn nothing_is_traced_unless_somebody_says_so() {
    assert!(read("", &[]).collector.is_none());
    let shipped = [
        ("ENABLE_OTEL", "false"),
        ("OTLP_BASE_ENDPOINT", "http://localhost:4318"),
        ("OTLP_API_KEY", ""),
        ("OTEL_SAMPLING_RATE", "0.1"),
    ];
    assert!(read("", &shipped).collector.is_none());
}

#[test]
fn difys_variables_name_the_collector() {
    let tracing = read(
        "",
        &[
            ("ENABLE_OTEL", "true"),
            ("OTLP_BASE_ENDPOINT", "https://collector.example/otlp/"),
            ("OTLP_API_KEY", "hidden-key"),
            ("OTEL_SAMPLING_RATE", "0.25"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "x-tenant=a%20b, x-other=hidden-too",
            ),
        ],
    );

    let printed = format!("{tracing:?}");
    let collector = tracing.collector.unwrap();
    assert_eq!(
        collector.url.as_str(),
        "https://collector.example/otlp/v1/traces"
    );
    assert_eq!(collector.headers["authorization"], "Bearer hidden-key");
    assert_eq!(collector.headers["x-tenant"], "a b");
    assert_eq!(collector.headers["x-other"], "hidden-too");
    assert_eq!(tracing.sample_ratio, 0.25);
    assert!(!printed.contains("hidden"), "{printed}");
}

#[test]
fn the_file_has_a_table_of_headers_and_a_whole_url() {
    let more = "\
[tracing]
enabled = true
traces_endpoint = 'http://collector:4318/custom'
sample_ratio = 1
headers = { 'x-api-key' = 'hidden', 'x-from' = { env = 'FROM' } }
";
    let tracing = read(more, &[("FROM", "variable")]);

    let collector = tracing.collector.unwrap();
    assert_eq!(collector.url.as_str(), "http://collector:4318/custom");
    assert_eq!(collector.headers["x-api-key"], "hidden");
    assert_eq!(collector.headers["x-from"], "variable");
    assert_eq!(tracing.sample_ratio, 1.0);
}

#[test]
fn grpc_is_not_spoken_and_stops_nothing() {
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let loaded = loaded("tracing.enabled = true", &[grpc]).unwrap();

    assert!(loaded.config.tracing.collector.is_none());
    assert!(
        loaded.warnings[0].contains("nothing is traced"),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn what_cannot_be_is_refused_without_its_secrets() {
    for (more, need) in [
        ("tracing.sample_ratio = 1.5", "from 0 to 1"),
        ("tracing.sample_ratio = 'half'", "from 0 to 1"),
        ("tracing.sample_ratio = nan", "from 0 to 1"),
        ("tracing.protocol = 'udp'", "one of"),
        ("tracing.api_key = \"hidden\\n\"", "visible ASCII"),
        ("tracing.headers = { 'a b' = 'hidden' }", "header"),
        ("tracing.headers = { a = { env = 'NONE' } }", "not set"),
        ("tracing.headers = 'hidden'", "a table"),
    ] {
        let refused = loaded(more, &[]).unwrap_err();

        assert!(refused.contains(need), "{more}: {refused}");
        assert!(!refused.contains("hidden"), "{refused}");
    }
}
