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
    app::{self, App, Sockets, StartError, Stop, StoreSet},
    cli::{Cli, Command, ConfigFile, Migrate, Serve},
    clock::Clock,
    config::{self, Config, Environment, Invalid, Loaded},
    demo,
    health::Health,
    maintenance, manual, open_files, preflight,
    signals::{Signal, Signals},
    telemetry,
};
use tokio::runtime::Runtime;

/// pingora allocates many times for a request, which the C library's allocator takes longer for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The file that is read when none is named.
const DEFAULT_CONFIG: &str = "config.toml";

/// What is said when threads cannot be started.
const NO_THREADS: &str = "the threads of server.threads could not be started";

/// Exit code for what an operator has to put right: usage, or the configuration.
const INVALID: u8 = 2;

fn main() -> ExitCode {
    telemetry::print_panics();
    leave_no_core();
    let outcome = match Cli::parse().command {
        Command::Serve(options) => serve(&options),
        Command::Check { config, connect } => check(&config, connect),
        Command::Migrate(options) => migrate(&options),
        Command::Prune(file) => job(&file, maintenance::prune),
        Command::Demo(options) => complete(async {
            let signals = Signals::install()?;
            demo::run(&options, stop_asked(signals)).await
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
                || error.is::<NotText>()
                || matches!(error.downcast_ref(), Some(StartError::Invalid(_)));
            if invalid {
                ExitCode::from(INVALID)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Sees to it that a crash leaves no memory behind: tokens and keys are in it. The limit is for files
/// alone, as a program that cores are piped to gets them whatever it says. Linux can be told that the
/// process is not for dumping, and then lets nobody but root look into it either.
fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // The unit for systemd sets the limit itself, and leaves no right to.
    let limited = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let limited = {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).or(limited)
    };
    if let Err(error) = limited {
        // Nothing is configured yet, the log neither.
        let _ = writeln!(io::stderr(), "difygate: a crash may leave a core: {error}");
    }
}

fn serve(options: &Serve) -> anyhow::Result<()> {
    let file = &options.config;
    let Loaded {
        mut config,
        warnings,
        spelling,
        origins,
    } = load(file)?;
    let clock = app::system_clock();
    let health = Health::new(&clock);
    let log = telemetry::init(&config.log, &health)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "difygate starts");
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    open_files::fit(&mut config);
    complete(async {
        let mut signals = Signals::install().context("no signal handler could be installed")?;
        let placed = |error: StartError| error.placed(&origins);
        app::check(&config).map_err(placed)?;
        let stores = StoreSet::from_config(&config, &health).map_err(StartError::Invalid)?;
        let app = App::build(&config, clock, health, stores).map_err(placed)?;
        let live = app.live();
        let reload = async || {
            let reloaded: anyhow::Result<()> = async {
                live.apply(&load(file)?, &spelling, log.levels()).await?;
                Ok(())
            }
            .await;
            if let Err(error) = reloaded {
                tracing::error!(error = format!("{error:#}"), "SIGHUP: nothing has changed");
            }
        };
        let (running, sockets) = if options.upgrade {
            // Everything that takes time comes first: the running gateway serves meanwhile.
            let running = app.start().await.context(NO_THREADS)?;
            let taken = tokio::select! {
                taken = Sockets::take_over(&config) => taken?,
                () = until_stop(&mut signals, &reload) => return Ok(()),
            };
            (running, taken)
        } else {
            let sockets = Sockets::bind(&config).await?;
            (app.start().await.context(NO_THREADS)?, sockets)
        };
        let path = &config.server.upgrade_socket;
        running
            .serve(sockets, async |sockets| {
                until_told(&mut signals, sockets, path, &reload).await
            })
            .await;
        Ok(())
    })
}

/// Does what signals ask for, until one of them ends this process's time.
async fn until_told(
    signals: &mut Signals,
    sockets: &Sockets,
    path: &Path,
    reload: &impl AsyncFn(),
) -> Stop {
    loop {
        match signals.next().await {
            Signal::Stop => return Stop::Asked,
            Signal::Reload => reload().await,
            Signal::HandOver => {
                if let Some(why) = hand_over(signals, sockets, path, reload).await {
                    return why;
                }
            }
        }
    }
}

/// Hands the sockets over; `None` when nobody took them. Signals are heard meanwhile: a successor that
/// says nothing must not keep this process from stopping. The last word is written in one step, so
/// that a hand-over which is dropped has changed nothing.
async fn hand_over(
    signals: &mut Signals,
    sockets: &Sockets,
    path: &Path,
    reload: &impl AsyncFn(),
) -> Option<Stop> {
    let handing = sockets.hand_over(path);
    tokio::pin!(handing);
    loop {
        tokio::select! {
            // Sockets that have changed hands are the successor's, whatever else is asked for.
            biased;
            handed = &mut handing => {
                let Err(error) = handed else {
                    return Some(Stop::HandedOver);
                };
                tracing::error!(
                    %error,
                    socket = %path.display(),
                    "SIGQUIT: no process started with --upgrade took over; this one goes on"
                );
                return None;
            }
            signal = signals.next() => match signal {
                Signal::Stop => return Some(Stop::Asked),
                Signal::Reload => reload().await,
                Signal::HandOver => tracing::warn!("SIGQUIT: the sockets are being handed over already"),
            },
        }
    }
}

/// Completes when the process is asked to stop before it has any sockets.
async fn until_stop(signals: &mut Signals, reload: &impl AsyncFn()) {
    loop {
        match signals.next().await {
            Signal::Stop => return,
            Signal::Reload => reload().await,
            Signal::HandOver => tracing::warn!("SIGQUIT: this process has nothing to hand over"),
        }
    }
}

fn check(file: &ConfigFile, connect: bool) -> anyhow::Result<()> {
    let loaded = load(file)?;
    let mut out = io::stdout();
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    app::check(&loaded.config).map_err(|error| error.placed(&loaded.origins))?;
    writeln!(out, "the configuration is valid")?;
    if connect {
        let problems =
            complete(async { Ok(preflight::connect(&loaded.config, &app::system_clock()).await) })?;
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
    complete(job(&config, &app::system_clock()))
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
    let environment = environment()?;
    let file = text
        .as_ref()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    Ok(config::load(file, &environment)?)
}

/// Variables of the environment that cannot be taken: their names, as their values may be secrets.
#[derive(Debug, thiserror::Error)]
#[error("the environment has values that are no UTF-8 text; unset them or put them right: {0}")]
struct NotText(String);

/// Reads the environment. `{ env = "…" }` may name any variable, so that none can be left out.
fn environment() -> Result<Environment, NotText> {
    let (mut pairs, mut wrong) = (Vec::new(), Vec::new());
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => pairs.push((name, value)),
            (Ok(name), Err(_)) => wrong.push(name),
            (Err(name), _) => wrong.push(name.to_string_lossy().into_owned()),
        }
    }
    if wrong.is_empty() {
        return Ok(Environment::from_pairs(pairs));
    }
    wrong.sort();
    Err(NotText(wrong.join(", ")))
}

/// Runs `work` to its end, and nothing beyond it: a name that is being resolved in a thread of its own
/// would keep the process for as long as the resolver is silent.
fn complete<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

/// Builds a runtime for what is not the serving of connections: jobs, stores, signals, and the admin
/// listener. One thread is plenty.
fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("no runtime could be started")
}

/// Completes when the process is asked to stop; without a configuration file there is nothing to
/// read again, and without `serve --upgrade` nobody to hand anything to.
async fn stop_asked(mut signals: Signals) {
    while signals.next().await != Signal::Stop {}
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use std::{sync::mpsc, time::Duration};

    #[test]
    fn the_end_does_not_wait_for_a_thread_that_blocks() {
        let (silent, answer) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            let outcome = super::complete(async {
                let (begun, has_begun) = tokio::sync::oneshot::channel();
                // As a resolver that does not answer.
                drop(tokio::task::spawn_blocking(move || {
                    begun.send(()).unwrap();
                    answer.recv()
                }));
                Ok(has_begun.await?)
            });
            done.send(outcome).unwrap();
        });

        let outcome = is_done.recv_timeout(Duration::from_secs(30));

        drop(silent);
        assert!(outcome.unwrap().is_ok());
    }
}
