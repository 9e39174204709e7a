//! Arguments → telemetry → configuration → gateway → exit code.

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::Parser as _;
use difygate::{
    app::{self, App, StartError, StoreSet},
    cli::{Cli, Command, ConfigFile, Migrate},
    clock::Clock,
    config::{self, Config, Environment, Invalid, Loaded},
    demo,
    health::Health,
    maintenance, manual, preflight, telemetry,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

/// pingora allocates many times for a request, which the C library's allocator takes longer for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The file that is read when none is named.
const DEFAULT_CONFIG: &str = "config.toml";

/// Exit code for what an operator has to put right: usage, or the configuration.
const INVALID: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(file) => serve(&file),
        Command::Check { config, connect } => check(&config, connect),
        Command::Migrate(options) => migrate(&options),
        Command::Prune(file) => job(&file, maintenance::prune),
        Command::Demo(options) => runtime(0).and_then(|runtime| {
            runtime.block_on(async { demo::run(&options, stop_signal(|| {})).await })
        }),
        Command::Completions { shell } => {
            manual::completions(shell, &mut io::stdout()).map_err(Into::into)
        }
        Command::Man { folder } => {
            manual::pages(&folder).with_context(|| format!("cannot write to {}", folder.display()))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "difygate: {error:#}");
            let invalid = error.is::<Invalid>()
                || matches!(error.downcast_ref(), Some(StartError::Invalid(_)));
            if invalid {
                ExitCode::from(INVALID)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Sees to it that a crash leaves no memory behind in a file: tokens and keys are in it.
fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::debug!(%error, "core dumps are left to whoever started the process");
    }
}

fn serve(file: &ConfigFile) -> anyhow::Result<()> {
    let Loaded {
        config,
        warnings,
        not_in_force,
        spelling,
    } = load(file)?;
    let levels = telemetry::init(&config.log)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "difygate starts");
    leave_no_core();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    for key in not_in_force {
        tracing::warn!(key, "this key is set, but not yet in force in this release");
    }
    runtime(config.server.threads.get())?.block_on(async {
        let clock = app::system_clock();
        let health = Health::new(&clock);
        let stores = StoreSet::from_config(&config, &health).map_err(StartError::Invalid)?;
        let app = App::build(&config, clock, health, stores).await?;
        let live = app.live();
        let reload = || {
            let reloaded = load(file).and_then(|loaded| {
                live.apply(&loaded, &spelling, &levels)?;
                Ok(())
            });
            if let Err(error) = reloaded {
                tracing::error!(error = format!("{error:#}"), "SIGHUP: nothing has changed");
            }
        };
        app.run(stop_signal(reload)).await;
        Ok(())
    })
}

fn check(file: &ConfigFile, connect: bool) -> anyhow::Result<()> {
    let loaded = load(file)?;
    let mut out = io::stdout();
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    for key in &loaded.not_in_force {
        writeln!(
            out,
            "note: {key} is set, but not yet in force in this release"
        )?;
    }
    app::check(&loaded.config)?;
    writeln!(out, "the configuration is valid")?;
    if connect {
        let problems =
            runtime(1)?.block_on(preflight::connect(&loaded.config, &app::system_clock()));
        if !problems.is_empty() {
            for problem in &problems {
                writeln!(out, "{problem}")?;
            }
            anyhow::bail!("{} of what is needed is missing", problems.len());
        }
        writeln!(
            out,
            "postgres, redis and the upstream answer; nothing is missing"
        )?;
    }
    Ok(())
}

fn migrate(options: &Migrate) -> anyhow::Result<()> {
    if !options.grants {
        return job(&options.config, maintenance::migrate);
    }
    let grants = match &options.role {
        // Whoever names the role need not have a configuration yet.
        Some(role) => maintenance::grants_to(role),
        None => maintenance::grants(&load(&options.config)?.config)?,
    };
    io::stdout().write_all(grants.as_bytes())?;
    Ok(())
}

/// Runs one job with the configuration, and nothing else.
fn job(
    file: &ConfigFile,
    job: impl AsyncFnOnce(&Config, &Arc<dyn Clock>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Loaded { config, .. } = load(file)?;
    runtime(1)?.block_on(job(&config, &app::system_clock()))
}

/// Reads the configuration: a file that is named must be there, the default one need not be.
fn load(file: &ConfigFile) -> anyhow::Result<Loaded> {
    let path = match &file.config {
        Some(path) => Some(path.as_path()),
        None => Some(Path::new(DEFAULT_CONFIG)).filter(|path| path.exists()),
    };
    let text = path
        .map(|path| {
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))
                .map(|text| (path.display().to_string(), text))
        })
        .transpose()?;
    let environment = Environment::from_pairs(std::env::vars());
    let file = text
        .as_ref()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    Ok(config::load(file, &environment)?)
}

/// Builds the one runtime; 0 threads stands for one per CPU.
fn runtime(threads: usize) -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder
        .enable_all()
        .build()
        .context("no runtime could be started")
}

/// Completes when the process is asked to stop; `reload` runs when it is asked to read its
/// configuration again.
///
/// The handlers are in place when this returns, before anything listens: until then a SIGHUP
/// would end the process.
fn stop_signal(reload: impl Fn()) -> impl Future<Output = ()> {
    let handlers = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::quit()),
        signal(SignalKind::hangup()),
    );
    async move {
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut quit), Ok(mut hang_up)) = handlers else {
            tracing::error!(
                "no signal handler could be installed; only SIGKILL stops this process"
            );
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = quit.recv() => return,
                _ = hang_up.recv() => reload(),
            }
        }
    }
}
