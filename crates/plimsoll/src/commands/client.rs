//! A caller of a running process's admin API: one request a connection, blocking, bounded.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use plimsoll_control::admin::UPGRADING;
use serde_json::Value;

use super::text;
use crate::cli::{INPUT_WRONG, UNREACHABLE, USAGE};

/// How long the connection, and then each read, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer may take that is work for the process: a large configuration, or another process that has to start.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

/// How long a change is asked for again while another process takes over, and the pause between.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(60);
const UPGRADE_PAUSE: Duration = Duration::from_millis(200);

/// The largest answer that is read: ten thousand backends are four of these MiB.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The longest token file, as a running process reads it.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// Which running process is meant, and what it wants to see.
#[derive(Args)]
pub(crate) struct Target {
    /// The admin address of the running process
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
    admin: String,
    /// The file that holds its token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Why a call did not succeed; its text says what to type.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    /// The exit code.
    pub(crate) code: u8,
}

impl Failure {
    /// The process refused, or could not be reached.
    pub(crate) fn refused(text: String) -> Self {
        Failure {
            text,
            code: UNREACHABLE,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.text)
    }
}

/// A running process that can be called.
pub(crate) struct Client {
    /// As it was written.
    admin: String,
    address: Address,
    token: Option<String>,
}

/// Where it is.
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A connection to it.
trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Address {
    fn connect(&self, patience: Duration) -> io::Result<Box<dyn Stream>> {
        match self {
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Box::new(stream))
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Box::new(stream))
            }
        }
    }

    /// What the Host field has. By address: a name could be anybody's, and the API refuses to be called by one.
    fn host(&self) -> String {
        match self {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".into(),
        }
    }
}

impl Target {
    /// Reads the token and resolves the address.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let admin = self
            .admin
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned();
        if let Some(path) = admin.strip_prefix("unix:") {
            let address = Address::Unix(path.into());
            let token = self.token_file.as_deref().map(read_token).transpose()?;
            return Ok(Client { admin, address, token });
        }
        let written = match admin.strip_prefix(':') {
            Some(port) => format!("127.0.0.1:{port}"),
            None => admin.clone(),
        };
        let found = written.to_socket_addrs().and_then(|mut found| {
            let none = || io::Error::new(ErrorKind::NotFound, "the name has no address");
            found.next().ok_or_else(none)
        });
        let address = found.map_err(|error| Failure {
            text: format!("\"{admin}\" is no admin address: {error}; write it like --admin 127.0.0.1:9900"),
            // A name that is not known now may be tomorrow.
            code: match error.kind() {
                ErrorKind::InvalidInput => USAGE,
                _ => UNREACHABLE,
            },
        })?;
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        let address = Address::Tcp(address);
        Ok(Client { admin, address, token })
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let wrong = |why: String| Failure {
        text: format!("the token file {} {why}", path.display()),
        code: INPUT_WRONG,
    };
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(TOKEN_FILE_BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let token = text.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token || text.len() as u64 > TOKEN_FILE_BYTES_MAX {
        return Err(wrong("holds no token".into()));
    }
    Ok(token.to_owned())
}

impl Client {
    /// The JSON that a GET of `path` answers.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call("GET", path, None)
    }

    /// The JSON that a POST to `path` answers, which may take its time.
    pub(crate) fn post(&self, path: &str) -> Result<Value, Failure> {
        self.call("POST", path, None)
    }

    /// The JSON that a PATCH of `path` with `change` answers.
    pub(crate) fn patch(&self, path: &str, change: &Value) -> Result<Value, Failure> {
        self.call("PATCH", path, Some(change))
    }

    /// The JSON that `method` of `path` answers.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let begun = Instant::now();
        let (status, json) = loop {
            let answer = self
                .exchange(method, path, body)
                .map_err(|error| self.unreachable(&error))?;
            let (status, body) = split(&answer).ok_or_else(|| self.strange())?;
            let json: Option<Value> = serde_json::from_slice(body).ok();
            let is_passing = json.as_ref().is_some_and(|json| json["type"] == UPGRADING);
            if !is_passing || begun.elapsed() > UPGRADE_PATIENCE {
                break (status, json);
            }
            thread::sleep(UPGRADE_PAUSE);
        };
        match (status, json) {
            (200, Some(json)) => Ok(json),
            (401, _) => Err(Failure::refused(format!(
                "{} wants its token: --token-file FILE, with the file that its [admin] token_file names",
                self.admin
            ))),
            // What is wrong with a configuration is wrong with a file; of other calls' bodies nobody has seen the text.
            (_, Some(json)) if method == "POST" && json["errors"].is_array() => Err(Failure {
                text: wrong(&json["errors"]),
                code: INPUT_WRONG,
            }),
            (_, Some(json)) if json["detail"].is_string() => {
                let detail = json["detail"].as_str().unwrap_or_default();
                Err(Failure::refused(format!("{} refused ({status}): {detail}", self.admin)))
            }
            _ => Err(self.strange()),
        }
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Vec<u8>> {
        let patience = if method == "POST" { LONG_PATIENCE } else { PATIENCE };
        let mut stream = self.address.connect(patience)?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n",
            self.address.host()
        );
        let body = body.map(Value::to_string);
        if body.is_none() && method == "POST" {
            head.push_str("content-length: 0\r\n");
        }
        if let Some(body) = &body {
            head.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            ));
        }
        if let Some(token) = &self.token {
            head.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        head.push_str("\r\n");
        head.push_str(body.as_deref().unwrap_or_default());
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let why = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer in time".to_owned(),
            _ => error.to_string(),
        };
        Failure::refused(format!(
            "no running plimsoll can be reached at {}: {why}; start one with `plimsoll run -c FILE`, or name its \
             [admin] bind with --admin ADDRESS",
            self.admin
        ))
    }

    fn strange(&self) -> Failure {
        Failure::refused(format!(
            "what answers at {} is not Plimsoll's admin API; name its [admin] bind with --admin ADDRESS",
            self.admin
        ))
    }
}

/// What is wrong with a configuration, a line for each fault and what to do.
fn wrong(errors: &Value) -> String {
    let line = |error: &Value| {
        let help = error["help"]
            .as_str()
            .map_or(String::new(), |_| format!(" ({})", text(&error["help"])));
        let (file, message) = (text(&error["file"]), text(&error["message"]));
        format!("{file}:{}:{}: {message}{help}", error["line"], error["column"])
    };
    let lines: Vec<String> = errors.as_array().into_iter().flatten().map(line).collect();
    lines.join("\n")
}

/// The status and the body of a whole answer whose length is told. `None` when it is none, or was cut short.
fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let body = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value.trim())
    });
    let length: usize = length?.parse().ok()?;
    (body.len() == length).then_some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_answers_are_taken() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(split(answer), Some((200, &b"{}"[..])));
        for broken in [
            &answer[..answer.len() - 1],
            b"",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n{}",
            b"HTTP/1.1 abc\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert_eq!(split(broken), None);
        }
    }

    #[test]
    fn an_address_is_understood_as_people_write_it() {
        for (admin, address) in [
            ("127.0.0.1:9900", Some("127.0.0.1:9900")),
            (":9900", Some("127.0.0.1:9900")),
            ("http://127.0.0.1:9900/", Some("127.0.0.1:9900")),
            ("[::1]:9900", Some("[::1]:9900")),
            ("9900", None),
            ("", None),
        ] {
            let target = Target {
                admin: admin.into(),
                token_file: None,
            };
            let found = target.client().ok().map(|client| client.address.host());
            assert_eq!(found.as_deref(), address, "{admin}");
        }
    }
}
