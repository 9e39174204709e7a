//! The thread that writes one stream.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::AsFd,
    sync::Arc,
    thread,
};

use super::queue::{Lost, Queue};

/// Writes what stands in a queue, for as long as the process lives.
pub(super) struct Writer {
    /// What the stream is called in the log.
    pub(super) name: &'static str,
    pub(super) file: File,
    pub(super) queue: Arc<Queue>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(super) fn start(self) -> io::Result<()> {
        let name = format!("{}-writer", self.name);
        thread::Builder::new().name(name).spawn(|| self.run())?;
        Ok(())
    }

    /// What it says about its own stream goes by way of the log, as everything does: said once where
    /// a stream cannot be written, and once where it can again.
    fn run(mut self) {
        let (mut torn, mut failing) = (false, false);
        loop {
            let (kind, line) = self.queue.next();
            let written = self.write(&line, &mut torn);
            let lost = self.queue.done(kind, written.is_ok());
            match written {
                Ok(()) => failing = false,
                Err(error) if !std::mem::replace(&mut failing, true) => tracing::error!(
                    stream = self.name,
                    %error,
                    "lines cannot be written and are lost"
                ),
                Err(_) => {}
            }
            if let Some(lost) = lost {
                self.say(lost);
            }
        }
    }

    fn say(&self, lost: Lost) {
        if lost.lines > 0 || lost.audit_events > 0 {
            tracing::error!(
                stream = self.name,
                lines = lost.lines,
                audit_events = lost.audit_events,
                "lines were lost, they could not be written in time"
            );
        }
        if lost.left_out > 0 {
            tracing::warn!(
                lines = lost.left_out,
                "lines of libraries were left out, there were too many"
            );
        }
    }

    /// Writes one line in one call, so that lines of several processes do not mingle. One of which
    /// only a part went out ends there (`torn`), and the next one begins with a line of its own.
    fn write(&mut self, line: &[u8], torn: &mut bool) -> io::Result<()> {
        if *torn {
            self.file.write_all(b"\n")?;
            *torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    *torn = rest.len() < line.len();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Opens a standard stream for writing without the library's lock and buffer: whoever is stuck
/// writing must not keep others from saying their last words.
///
/// # Errors
///
/// The operating system's.
pub(super) fn unlocked(stream: &impl AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}
