//! What becomes of strangers' bytes, and what has to hold of it: the bodies of the fuzz targets.
//!
//! Each takes any bytes and panics where a rule is broken. The fuzzer calls them by
//! `fuzz_targets/`, and `tests/it/corpus.rs` calls them with every seed there is.

mod bodies;
mod chunks;
mod config;
mod credentials;
mod fields;
mod head;
mod origin;
mod path;
mod proxy;
mod redis;
mod signed;
mod values;

pub use self::{
    bodies::{form, json, query},
    chunks::chunks,
    config::config,
    credentials::{authorization, codes},
    fields::{client_ip, cookies, headers},
    head::head,
    origin::origin,
    path::{path, route},
    proxy::proxy_header,
    redis::{cache_entry, device_state, python_json},
    signed::{console, envelope},
    values::values,
};

/// A target: its name, and what it does with its bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the name of its folder in `seeds/` and of its file in `fuzz_targets/`.
pub const TARGETS: [Target; 21] = [
    ("authorization", authorization),
    ("cache_entry", cache_entry),
    ("chunks", chunks),
    ("client_ip", client_ip),
    ("codes", codes),
    ("config", config),
    ("console", console),
    ("cookies", cookies),
    ("device_state", device_state),
    ("envelope", envelope),
    ("form", form),
    ("head", head),
    ("headers", headers),
    ("json", json),
    ("origin", origin),
    ("path", path),
    ("proxy_header", proxy_header),
    ("python_json", python_json),
    ("query", query),
    ("route", route),
    ("values", values),
];

/// Parts the first byte, which chooses among variants, from the input proper.
fn choice(bytes: &[u8]) -> (u8, &[u8]) {
    bytes
        .split_first()
        .map_or((0, bytes), |(first, rest)| (*first, rest))
}
