//! Functions on strangers' bytes that are private to their modules otherwise: for the fuzz targets
//! of `tests/fuzz` and the tests that replay what those have found. No part of the interface.

pub use crate::{
    admin::host::without_port,
    endpoints::{account::paging, device::query_value},
    gateway::{
        forward::drop_forged,
        framing::{has_bare_lf, has_content_length, is_host, target_of},
    },
    listener::{
        body_watch::BodyWatch, chunked::Chunked, proxy_protocol::read_header as read_proxy_header,
    },
};
