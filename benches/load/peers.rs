//! The proxies that are compared, a row each.

use clap::ValueEnum;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Bare,
    Nginx,
    Haproxy,
    Envoy,
    Caddy,
    Difygate,
    /// What `--profiled` names.
    Profiled,
    NginxLua,
    EnvoyExtAuthz,
    CaddyForwardAuth,
}

/// Who checks the token of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nobody.
    None,
    /// The proxy.
    Itself,
    /// The bench's authorizer, which the proxy asks for each request.
    Authorizer,
}

/// What is to be known about one.
#[derive(Debug)]
pub(crate) struct Card {
    /// How tables call it.
    pub(crate) name: &'static str,
    pub(crate) check: Check,
    /// Missing where the bench brings the program along.
    pub(crate) foreign: Option<Foreign>,
}

/// How a proxy of somebody else's is started.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) program: &'static str,
    /// Puts the program and what it needs in its place.
    pub(crate) install: &'static str,
    /// What has it print its version.
    pub(crate) version: &'static str,
    /// The configuration, with names between two @ to be filled in.
    pub(crate) config: &'static str,
    /// The rest of the command, for a shell that knows `$PROGRAM`, `$THREADS` and `$DIR`.
    pub(crate) run: &'static str,
    /// The signal that ends it and all its workers at once.
    pub(crate) stop: &'static str,
}

const DEBIAN: &str = "apt-get install -y nginx libnginx-mod-http-lua lua-cjson haproxy";
const PYPI: &str = ".ci/tools/install peers";

const NGINX: Foreign = Foreign {
    program: "nginx",
    install: DEBIAN,
    version: "-v",
    config: include_str!("peers/nginx.conf"),
    run: r#""$PROGRAM" -p "$DIR" -e "$DIR/log" -c "$DIR/config" >>"$DIR/log" 2>&1"#,
    stop: "TERM",
};

const HAPROXY: Foreign = Foreign {
    program: "haproxy",
    install: DEBIAN,
    version: "-v",
    config: include_str!("peers/haproxy.cfg"),
    run: r#""$PROGRAM" -db -f "$DIR/config" >"$DIR/log" 2>&1"#,
    stop: "KILL",
};

const ENVOY: Foreign = Foreign {
    program: "envoy",
    install: PYPI,
    version: "--version",
    config: include_str!("peers/envoy.yaml"),
    // It goes by a file's extension, which `config` has not.
    run: r#""$PROGRAM" --config-yaml "$(cat "$DIR/config")" --concurrency "$THREADS" --disable-hot-restart \
        --log-level warning >"$DIR/log" 2>&1"#,
    stop: "KILL",
};

const CADDY: Foreign = Foreign {
    program: "caddy",
    install: PYPI,
    version: "version",
    config: include_str!("peers/Caddyfile"),
    run: r#"env GOMAXPROCS="$THREADS" XDG_DATA_HOME="$DIR" XDG_CONFIG_HOME="$DIR" \
        "$PROGRAM" run --adapter caddyfile --config "$DIR/config" >"$DIR/log" 2>&1"#,
    stop: "KILL",
};

impl Peer {
    /// Returns its row.
    pub(crate) const fn card(self) -> Card {
        let (name, check, foreign) = match self {
            Self::Bare => ("bare pingora", Check::None, None),
            Self::Nginx => ("nginx", Check::None, Some(NGINX)),
            Self::Haproxy => ("HAProxy", Check::None, Some(HAPROXY)),
            Self::Envoy => ("Envoy", Check::None, Some(ENVOY)),
            Self::Caddy => ("Caddy", Check::None, Some(CADDY)),
            Self::Difygate => ("difygate", Check::Itself, None),
            Self::Profiled => ("difygate, profiled", Check::Itself, None),
            Self::NginxLua => (
                "nginx + Lua",
                Check::Itself,
                Some(Foreign {
                    config: include_str!("peers/nginx-lua.conf"),
                    ..NGINX
                }),
            ),
            Self::EnvoyExtAuthz => (
                "Envoy + ext_authz",
                Check::Authorizer,
                Some(Foreign {
                    config: include_str!("peers/envoy-ext-authz.yaml"),
                    ..ENVOY
                }),
            ),
            Self::CaddyForwardAuth => (
                "Caddy + forward_auth",
                Check::Authorizer,
                Some(Foreign {
                    config: include_str!("peers/Caddyfile.forward-auth"),
                    ..CADDY
                }),
            ),
        };
        Card {
            name,
            check,
            foreign,
        }
    }

    /// Returns how tables call it.
    pub(crate) const fn name(self) -> &'static str {
        self.card().name
    }
}
