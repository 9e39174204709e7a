//! The command line's completions and manual pages, from its one definition in `cli`.

use std::{
    io::{self, Write},
    path::Path,
};

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;

/// Writes a shell's completion script.
///
/// # Errors
///
/// When nobody reads it.
pub fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    // The generator panics when it cannot write, which a pipe that closes early is no reason for.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "difygate", &mut script);
    out.write_all(&script)
}

/// Writes the manual pages, `difygate.1` and one for each command, to a folder that is there.
///
/// # Errors
///
/// When the folder cannot be written to.
pub fn pages(folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), folder)
}
