//! The side that hands over.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use plimsoll_control::{Handed, Left};
use plimsoll_net::{HANDED_DESCRIPTORS_MAX, HandoverListener, HandoverStream};

use super::{CALL, LEFT_EVERY, Labelled, PROTOCOL, READY_MAX, START_MAX, WORD_MAX, Word, read, spell};

/// How often it is looked whether this process was told to stop while the new one is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// How long a process that has hung up may take to end, so that it can be told how.
const ENDS_AFTER: Duration = Duration::from_secs(1);

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
    #[error("this process was told to stop meanwhile")]
    Stopped,
    #[error("the new process has hung up: its log says why")]
    HungUp,
    #[error("{0}")]
    Talk(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Failed::HungUp,
            io::ErrorKind::WouldBlock => {
                let why = "the new process was not ready in time";
                Failed::Talk(io::Error::new(io::ErrorKind::TimedOut, why))
            }
            _ => Failed::Talk(error),
        }
    }
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

/// Another process serves.
pub(crate) struct Takeover {
    /// Its process id.
    pub(crate) pid: u32,
    stream: HandoverStream,
}

impl Takeover {
    /// Tells it what is `left` here; false when it does not want to know.
    pub(crate) fn say(&mut self, left: &Left) -> bool {
        let said = spell(&Word::Left(Box::new(left.clone()))).and_then(|word| self.stream.send(&word, &[]));
        if let Err(error) = &said {
            tracing::debug!(%error, "the new process does not want to know what is left here");
        }
        said.is_ok()
    }

    /// Tells it again and again.
    pub(crate) async fn go_on_saying(mut self, left: impl Fn() -> Left) {
        let mut said = None;
        loop {
            let left = left();
            if said.as_ref() != Some(&left) && !self.say(&left) {
                return;
            }
            said = Some(left);
            tokio::time::sleep(LEFT_EVERY).await;
        }
    }
}

/// What is handed over, and who may still think better of it.
pub(crate) struct Estate<'e> {
    pub(crate) sockets: &'e [Labelled],
    /// How everything stands when it is asked for: as late as can be.
    pub(crate) handed: &'e dyn Fn() -> Handed,
    /// Whether this process was told to stop meanwhile.
    pub(crate) stopped: &'e AtomicBool,
}

impl Estate<'_> {
    fn goes_on(&self) -> io::Result<()> {
        if self.stopped.load(Relaxed) {
            return Err(io::Error::other("this process was told to stop meanwhile"));
        }
        Ok(())
    }
}

/// Starts `successor`, hands over what there is, and returns once it serves. It blocks.
///
/// # Errors
/// Whatever keeps it from serving; it is ended then, and whoever called goes on as before.
pub(crate) fn hand_over(successor: &Successor, estate: &Estate<'_>) -> Result<Takeover, Failed> {
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
    match talk(&listener, &mut child, estate) {
        Ok(stream) => Ok(Takeover { pid, stream }),
        Err(failed) => {
            let ended = match &failed {
                Failed::HungUp => ends_soon(&mut child),
                _ => child.try_wait().ok().flatten(),
            };
            let _ = child.kill();
            let _ = child.wait();
            Err(match ended {
                Some(status) => Failed::Ended(format!("has ended with {status}: its log says why")),
                None => failed,
            })
        }
    }
}

/// How a process that has hung up ends, if it does.
fn ends_soon(child: &mut Child) -> Option<std::process::ExitStatus> {
    let until = Instant::now() + ENDS_AFTER;
    loop {
        let ended = child.try_wait().ok().flatten();
        if ended.is_some() || Instant::now() > until {
            return ended;
        }
        std::thread::sleep(LOOK);
    }
}

fn talk(listener: &HandoverListener, child: &mut Child, estate: &Estate<'_>) -> Result<HandoverStream, Failed> {
    let pid = child.id();
    let alive = || match child.try_wait()? {
        None => estate.goes_on(),
        Some(status) => Err(io::Error::other(format!("the new process has ended with {status}"))),
    };
    let mut stream = listener.accept(pid, START_MAX, alive)?;
    stream.set_patience(Some(WORD_MAX))?;
    match hear(&mut stream, WORD_MAX, estate)? {
        Word::Hello { protocol, version } if protocol == PROTOCOL => {
            tracing::info!(pid, version, "a new process takes over");
        }
        Word::Hello { version, .. } => return Err(Failed::Stranger(version)),
        word => return Err(unexpected(&word)),
    }
    let state = Word::State {
        protocol: PROTOCOL,
        sockets: estate.sockets.len(),
        handed: Box::new((estate.handed)()),
    };
    stream.send(&spell(&state)?, &[])?;
    for some in estate.sockets.chunks(HANDED_DESCRIPTORS_MAX) {
        let labels = Word::Sockets(some.iter().map(|(label, _)| *label).collect());
        let descriptors: Vec<_> = some.iter().map(|(_, socket)| socket.as_fd()).collect();
        stream.send(&spell(&labels)?, &descriptors)?;
    }
    expect(&hear(&mut stream, READY_MAX, estate)?, |word| {
        matches!(word, Word::Ready)
    })?;
    // From here on there is no way back: the other may serve.
    estate.goes_on()?;
    stream.send(&spell(&Word::Go)?, &[])?;
    let serving = read(&stream.receive()?.0)?;
    expect(&serving, |word| matches!(word, Word::Serving))?;
    Ok(stream)
}

/// The next word, which may take so long unless this process is told to stop.
fn hear(stream: &mut HandoverStream, patience: Duration, estate: &Estate<'_>) -> io::Result<Word> {
    let until = Instant::now() + patience;
    while !stream.says_something(LOOK)? {
        estate.goes_on()?;
        if Instant::now() > until {
            return Err(io::ErrorKind::WouldBlock.into());
        }
    }
    read(&stream.receive()?.0)
}

fn expect(word: &Word, is_expected: impl Fn(&Word) -> bool) -> Result<(), Failed> {
    if is_expected(word) {
        Ok(())
    } else {
        Err(unexpected(word))
    }
}

fn unexpected(word: &Word) -> Failed {
    Failed::Ended(format!("says what makes no sense now: {word:?}"))
}
