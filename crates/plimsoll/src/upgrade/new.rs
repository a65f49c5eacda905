//! The side that takes over.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, bail};
use plimsoll_control::admin::AdminSockets;
use plimsoll_control::{Control, Handed};
use plimsoll_net::{HandedSocket, HandoverStream};

use super::{CALL, Label, PROTOCOL, START_MAX, WORD_MAX, Word, read, spell};

/// The process that this one takes over from.
pub(crate) struct Inherited(HandoverStream);

/// What a process is given to begin with.
#[derive(Default)]
pub(crate) struct Given {
    /// Sockets of listeners.
    pub(crate) listeners: Vec<HandedSocket>,
    /// Those of HTTP/3.
    pub(crate) quic: Vec<(SocketAddr, OwnedFd)>,
    /// Those of the admin API.
    pub(crate) admin: AdminSockets,
    /// How everything stood with the process before.
    pub(crate) handed: Handed,
}

impl Given {
    /// What systemd has opened (socket activation). What is none of ours to accept from is told, and left alone.
    pub(crate) fn by_systemd() -> Given {
        let mut given = Given::default();
        for descriptor in plimsoll_net::activated() {
            match HandedSocket::new(descriptor, None) {
                Ok(socket) => given.listeners.push(socket),
                Err(error) => tracing::warn!("what systemd has opened {error}: it is not used"),
            }
        }
        given
    }

    fn add(&mut self, label: Label, descriptor: OwnedFd) -> io::Result<()> {
        match label {
            Label::Listener(wanted) => self.listeners.push(HandedSocket::new(descriptor, Some(wanted))?),
            Label::Quic(wanted) => self.quic.push((wanted, descriptor)),
            Label::Admin => self.admin.api = Some(descriptor),
            Label::Metrics => self.admin.metrics = Some(descriptor),
        }
        Ok(())
    }
}

/// How a process has come to serve.
pub(crate) enum Came {
    /// It was started by somebody.
    ByItself,
    /// It was started to take over.
    After(Inherited, Box<Given>),
    /// So it was, and nobody is there any more who could hand anything over: why.
    Alone(String),
}

impl Came {
    /// Takes in what is handed over, if this process was started to take over. It blocks.
    ///
    /// # Errors
    /// The process before is of a version that nothing can be taken over from, or says what makes no sense.
    pub(crate) fn receive() -> anyhow::Result<Came> {
        let Ok(name) = std::env::var(CALL) else {
            return Ok(Came::ByItself);
        };
        match Inherited::receive(&name) {
            Ok((inherited, given)) => Ok(Came::After(inherited, Box::new(given))),
            // Its sockets are closed, and their addresses free.
            Err(error) if error.downcast_ref().is_some_and(is_gone) => Ok(Came::Alone(format!("{error:#}"))),
            Err(error) => Err(error),
        }
    }
}

impl Inherited {
    fn receive(name: &str) -> anyhow::Result<(Inherited, Given)> {
        let lost = "the process that hands over";
        let mut stream = HandoverStream::connect(name).context(lost)?;
        stream.set_patience(Some(START_MAX)).context(lost)?;
        let hello = Word::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        stream.send(&spell(&hello)?, &[]).context(lost)?;
        let Word::State {
            protocol: PROTOCOL,
            sockets: count,
            handed,
        } = read(&stream.receive().context(lost)?.0)?
        else {
            bail!("{lost} is of a version that nothing can be taken over from: start without it");
        };
        let mut given = Given {
            handed: *handed,
            ..Given::default()
        };
        let mut taken = 0;
        while taken < count {
            let (message, descriptors) = stream.receive().context(lost)?;
            match read(&message)? {
                Word::Sockets(labels) if !labels.is_empty() && labels.len() == descriptors.len() => {
                    taken += labels.len();
                    for (label, descriptor) in labels.into_iter().zip(descriptors) {
                        given.add(label, descriptor).context("a socket that was handed over")?;
                    }
                }
                word => bail!("{lost} says what makes no sense now: {word:?}"),
            }
        }
        Ok((Inherited(stream), given))
    }

    /// Says that nothing can fail any more, and waits until this process may serve. If the other is gone by now, it may.
    ///
    /// # Errors
    /// The other has thought better of it.
    pub(crate) fn ready(&mut self) -> anyhow::Result<()> {
        let asked = (|| {
            self.0.set_patience(Some(WORD_MAX))?;
            self.0.send(&spell(&Word::Ready)?, &[])?;
            self.0.receive()
        })();
        match asked {
            Ok((message, _)) => match read(&message)? {
                Word::Go => Ok(()),
                word => bail!("the process that hands over says what makes no sense now: {word:?}"),
            },
            Err(error) if is_gone(&error) => {
                tracing::warn!("the process that hands over is gone: this one goes on alone");
                Ok(())
            }
            Err(error) => Err(error).context("the process that hands over"),
        }
    }

    /// Says that this process serves: the other accepts no more. From then on `control` is told what that has left.
    pub(crate) fn serving(mut self, control: Arc<Control>) {
        let said = spell(&Word::Serving).and_then(|word| self.0.send(&word, &[]));
        if let Err(error) = said {
            tracing::warn!(%error, "the process that hands over is gone: this one goes on alone");
            return;
        }
        let listening = std::thread::Builder::new().name("before".into());
        let listening = listening.spawn(move || {
            self.hear_what_is_left(&control);
            control.set_before(None);
        });
        if let Err(error) = listening {
            tracing::warn!(%error, "what the process before has left will not be known");
        }
    }

    /// Until it is gone.
    fn hear_what_is_left(&mut self, control: &Control) {
        if self.0.set_patience(None).is_err() {
            return;
        }
        while let Ok((message, _)) = self.0.receive() {
            // What else there may be is of a later version.
            if let Ok(Word::Left(left)) = read(&message) {
                control.set_before(Some(*left));
            }
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
