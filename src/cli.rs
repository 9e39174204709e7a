//! The command line (`contract/config.md`).

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// What `--help` and the manual page say at their end.
const AFTER_HELP: &str = "\
Exit codes: 0, 1 (failed), 2 (usage or invalid configuration).

Signals: SIGTERM and SIGINT end `serve` as soon as its open requests have, or after \
server.shutdown_grace. SIGHUP has it read its configuration again. SIGQUIT has it hand its listening \
sockets to a process that was started with `serve --upgrade`, and end like that.

Every key of the configuration, its default and its meaning are in config.toml.example; \
DIFYGATE__SECTION__KEY in the environment overrides the file.";

/// A bearer-auth gateway in front of a Dify API.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true, after_long_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    Serve(Serve),
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
    Migrate(Migrate),
    /// Delete what is left of tokens that ended long ago, once.
    Prune(ConfigFile),
    /// Try the gateway with nothing installed: stores in memory, a stand-in for Dify.
    Demo(Demo),
    /// Write a shell's completion script to standard output.
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages, one for each command.
    #[command(hide = true)]
    Man {
        /// The folder to write them to; it has to be there.
        folder: PathBuf,
    },
}

/// How to run the gateway.
#[derive(Args, Debug)]
pub struct Serve {
    /// The file to run with.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Get ready, then take the listening sockets of the running gateway over, as soon as that one
    /// is sent SIGQUIT. No client notices.
    #[arg(long)]
    pub upgrade: bool,
}

/// What to do with the database.
#[derive(Args, Debug)]
pub struct Migrate {
    /// Where the database is.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Change nothing; print the statements that give a role all that the gateway needs.
    #[arg(long)]
    pub grants: bool,
    /// The role they are for [default: the one that the configuration names].
    #[arg(long, value_name = "NAME", requires = "grants")]
    pub role: Option<String>,
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
