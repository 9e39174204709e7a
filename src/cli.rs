//! The command line (`contract/config.md`).

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// A bearer-auth gateway in front of a Dify API.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    Serve(ConfigFile),
    /// Validate the configuration; every problem is printed at once.
    Check {
        /// The file to validate.
        #[command(flatten)]
        config: ConfigFile,
        /// Also reach Postgres, Redis and the upstream.
        #[arg(long)]
        connect: bool,
    },
    /// Create the token table and its indexes, or verify them; prints what was done.
    Migrate(ConfigFile),
    /// Delete what is left of tokens that ended long ago, once.
    Prune(ConfigFile),
    /// Try the gateway with nothing installed: stores in memory, a stand-in for Dify.
    Demo(Demo),
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub struct ConfigFile {
    /// The configuration file [default: ./config.toml, where there is one].
    #[arg(long, value_name = "FILE", env = "DIFYGATE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// How to run the demo.
#[derive(Args, Debug)]
pub struct Demo {
    /// Where the gateway listens; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where the admin listener listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub admin_listen: SocketAddr,
    /// Also a stand-in for a company: an enterprise service and an identity provider.
    #[arg(long)]
    pub enterprise: bool,
}
