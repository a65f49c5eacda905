//! The side that hands over.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use plimsoll_control::Handed;
use plimsoll_net::{HANDED_DESCRIPTORS_MAX, HandoverListener, HandoverStream};

use super::{CALL, Labelled, PROTOCOL, READY_MAX, START_MAX, WORD_MAX, Word, read, spell};

/// What is started to take over: the same command as this process, looked up as a shell would. A file that was replaced
/// and a link that was changed mean another binary.
#[derive(Clone, Debug)]
pub(crate) struct Successor {
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// Why nobody has taken over. This process goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("{} cannot be started: {error}", program.display())]
    Start { program: PathBuf, error: io::Error },
    #[error("the new process {0}")]
    Ended(String),
    #[error("the new process is of a version ({0}) that this one cannot hand over to: restart instead")]
    Stranger(String),
    #[error("{0}")]
    Talk(#[from] io::Error),
}

impl Successor {
    /// What this process was started as.
    pub(crate) fn of_this_process() -> io::Result<Successor> {
        let mut arguments = std::env::args_os();
        let called = PathBuf::from(arguments.next().unwrap_or_default());
        let program = match find(&called) {
            Some(found) => found,
            None => std::env::current_exe()?,
        };
        Ok(Successor {
            program,
            arguments: arguments.collect(),
        })
    }
}

/// The file that the command `called` names now.
fn find(called: &Path) -> Option<PathBuf> {
    if called.components().count() > 1 {
        return std::path::absolute(called).ok();
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|directory| directory.join(called))
        .find(|candidate| !called.as_os_str().is_empty() && candidate.is_file())
}

/// Starts `successor`, hands `sockets` and `handed` over, and returns once it serves: its process id. It blocks.
///
/// # Errors
/// Whatever keeps it from serving; it is ended then, and whoever called goes on as before.
pub(crate) fn hand_over(successor: &Successor, sockets: &[Labelled], handed: Handed) -> Result<u32, Failed> {
    let listener = HandoverListener::open()?;
    let mut child = Command::new(&successor.program)
        .args(&successor.arguments)
        .env(CALL, listener.name())
        // It is for the process that systemd has started.
        .env_remove("WATCHDOG_PID")
        .spawn()
        .map_err(|error| Failed::Start {
            program: successor.program.clone(),
            error,
        })?;
    let pid = child.id();
    match talk(&listener, &mut child, sockets, handed) {
        Ok(()) => Ok(pid),
        Err(failed) => {
            let ended = child.try_wait().ok().flatten();
            let _ = child.kill();
            let _ = child.wait();
            Err(match ended {
                Some(status) => Failed::Ended(format!("has ended with {status}: its log says why")),
                None => failed,
            })
        }
    }
}

fn talk(listener: &HandoverListener, child: &mut Child, sockets: &[Labelled], handed: Handed) -> Result<(), Failed> {
    let pid = child.id();
    let alive = || match child.try_wait()? {
        None => Ok(()),
        Some(status) => Err(io::Error::other(format!("the new process has ended with {status}"))),
    };
    let mut stream = listener.accept(pid, START_MAX, alive)?;
    stream.set_patience(Some(WORD_MAX))?;
    match hear(&mut stream)? {
        Word::Hello { protocol, version } if protocol == PROTOCOL => {
            tracing::info!(pid, version, "a new process takes over");
        }
        Word::Hello { version, .. } => return Err(Failed::Stranger(version)),
        word => return Err(unexpected(&word)),
    }
    let state = Word::State {
        protocol: PROTOCOL,
        sockets: sockets.len(),
        handed: Box::new(handed),
    };
    stream.send(&spell(&state)?, &[])?;
    for some in sockets.chunks(HANDED_DESCRIPTORS_MAX) {
        let labels = Word::Sockets(some.iter().map(|(label, _)| *label).collect());
        let descriptors: Vec<_> = some.iter().map(|(_, socket)| socket.as_fd()).collect();
        stream.send(&spell(&labels)?, &descriptors)?;
    }
    stream.set_patience(Some(READY_MAX))?;
    expect(&mut stream, |word| matches!(word, Word::Ready))?;
    stream.set_patience(Some(WORD_MAX))?;
    stream.send(&spell(&Word::Go)?, &[])?;
    expect(&mut stream, |word| matches!(word, Word::Serving))
}

fn hear(stream: &mut HandoverStream) -> io::Result<Word> {
    let (message, _) = stream.receive().map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("the new process has hung up: its log says why"),
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "the new process was not ready in time"),
        _ => error,
    })?;
    read(&message)
}

fn expect(stream: &mut HandoverStream, is_expected: impl Fn(&Word) -> bool) -> Result<(), Failed> {
    let word = hear(stream)?;
    if is_expected(&word) {
        Ok(())
    } else {
        Err(unexpected(&word))
    }
}

fn unexpected(word: &Word) -> Failed {
    Failed::Ended(format!("says what makes no sense now: {word:?}"))
}
