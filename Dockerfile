# syntax=docker/dockerfile:1
# The gateway alone in an empty image: one static program, no shell, no libraries, no root.

FROM rust:1.95-bookworm AS build

# cmake builds two of pingora's compression libraries. No version is pinned: a mirror keeps one only,
# and what the gateway consists of is fixed by Cargo.lock.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY Cargo.toml Cargo.lock ARCHITECTURE.md ./
COPY src src
COPY benches benches
# Linked statically; a target has to be named, or build scripts would be as well. A static program
# cannot look the C library's getrandom up, and would read device files: so it is named.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    target="$(rustc --print host-tuple)" \
    && RUSTFLAGS="-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"" \
       cargo build --locked --release --bin difygate --target "$target" \
    && install -D "target/$target/release/difygate" /image/usr/bin/difygate \
    # Authorities, for an upstream over TLS.
    && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    # No image without a program that runs.
    && /image/usr/bin/difygate --version

FROM scratch
COPY --from=build /image /
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
# config.toml is looked for here when none is named.
WORKDIR /etc/difygate
# The gateway, and health and metrics.
EXPOSE 8080 9090
# SIGTERM, Docker's default, drains; give it server.shutdown_grace and some seconds.
ENTRYPOINT ["/usr/bin/difygate"]
CMD ["serve"]
