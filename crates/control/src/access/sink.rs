//! Where lines of the access log go: standard output, a file that may be moved away under us, or syslog.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often it is looked whether the file is still where it was.
const LOOK: Duration = Duration::from_secs(1);

/// Where this machine's syslog listens.
const LOCAL_SYSLOG: &str = "/dev/log";

/// Facility local0 and severity informational (RFC 5424 §6.2.1): 16 × 8 + 6.
const PRIORITY: &str = "<134>";

/// The longest message that is sent; receivers have to take 480 bytes and should take 2048 (RFC 5424 §6.1), and a
/// datagram holds no more than 64 KiB.
const MESSAGE_BYTES_MAX: usize = 60 << 10;

/// Somewhere that lines are written to, many at once.
pub(super) trait Sink: Write + Send {
    /// It is asked to begin anew where it is called now: its file may have been moved away.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Takes a look whether it has to.
    fn look(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for io::Stdout {}

/// A file, found again by its name when somebody has renamed or removed it.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl LogFile {
    /// Opens it for appending, and makes it when it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(LogFile {
            file: append(path)?,
            path: path.to_path_buf(),
            looked: Instant::now(),
        })
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for LogFile {
    fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        Ok(())
    }

    fn look(&mut self) -> io::Result<()> {
        if self.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        let ours = self.file.metadata()?;
        let same =
            std::fs::metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        if same { Ok(()) } else { self.reopen() }
    }
}

/// Syslog: a datagram a line. Nobody waits for whoever receives it: what it has no room for is lost and counted.
pub(super) struct Syslog {
    socket: Socket,
    /// What stands before each line, apart from the time.
    tag: String,
}

enum Socket {
    Local(UnixDatagram),
    Remote(UdpSocket),
}

impl Syslog {
    /// The syslog of this machine, or the one at `address`.
    pub(super) fn open(address: Option<SocketAddr>) -> io::Result<Self> {
        let socket = match address {
            None => Socket::Local(local(Path::new(LOCAL_SYSLOG))?),
            Some(address) => {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_nonblocking(true)?;
                Socket::Remote(socket)
            }
        };
        let tag = format!("plimsoll {} access - ", std::process::id());
        Ok(Syslog { socket, tag })
    }

    fn send(&self, line: &[u8]) -> io::Result<()> {
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        // RFC 5424 §6: version 1, no host name of our own, no structured data.
        let mut message = match self.socket {
            Socket::Remote(_) => format!("{PRIORITY}1 {time} - {}", self.tag).into_bytes(),
            // What listens on this machine adds time and host, as openlog's have it.
            Socket::Local(_) => format!("{PRIORITY}plimsoll[{}]: ", std::process::id()).into_bytes(),
        };
        message.extend_from_slice(&line[..line.len().min(MESSAGE_BYTES_MAX)]);
        match &self.socket {
            Socket::Local(socket) => socket.send(&message).map(drop),
            Socket::Remote(socket) => socket.send(&message).map(drop),
        }
    }
}

fn local(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Write for Syslog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Up to the first line that cannot be sent: what was sent is not sent again.
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return Ok(bytes.len());
        };
        self.send(&bytes[..end])?;
        Ok(end + 1)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Syslog {
    fn reopen(&mut self) -> io::Result<()> {
        // Its daemon may have begun anew.
        if let Socket::Local(socket) = &mut self.socket {
            *socket = local(Path::new(LOCAL_SYSLOG))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let directory = std::env::temp_dir().join(format!("plimsoll-sink-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let (path, moved) = (directory.join("access.log"), directory.join("access.log.1"));
        let mut file = LogFile::open(&path).expect("a file");
        file.write_all(b"one\n").expect("written");
        std::fs::rename(&path, &moved).expect("moved");
        file.look().expect("nothing is done within a second");
        file.write_all(b"two\n").expect("written");
        file.looked -= LOOK;
        file.look().expect("it is begun anew");
        file.write_all(b"three\n").expect("written");
        let read = |path: &Path| std::fs::read_to_string(path).expect("text");
        assert_eq!((read(&moved), read(&path)), ("one\ntwo\n".into(), "three\n".into()));
        std::fs::remove_file(&path).expect("removed");
        file.reopen().expect("at once");
        file.write_all(b"four\n").expect("written");
        assert_eq!(read(&path), "four\n");
        let _ = std::fs::remove_dir_all(directory);
    }

    #[test]
    fn each_line_is_a_datagram_of_its_own() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let mut syslog = Syslog::open(Some(server.local_addr().expect("bound"))).expect("a socket");
        syslog.write_all(b"{\"a\":1}\n{\"b\":2}\n").expect("sent");
        let mut buffer = [0; 512];
        for end in [" access - {\"a\":1}", " access - {\"b\":2}"] {
            let count = server.recv(&mut buffer).expect("a datagram");
            let text = std::str::from_utf8(&buffer[..count]).expect("text");
            assert!(text.starts_with("<134>1 2") && text.ends_with(end), "{text}");
        }
    }
}
