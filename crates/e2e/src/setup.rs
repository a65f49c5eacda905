//! How a `plimsoll` process is to be started.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::binary::plimsoll_binary;
use crate::plimsoll::{BINARY, CONFIG, Plimsoll, STDERR, STDOUT};
use crate::port::Port;
use crate::scratch::Scratch;

/// How a process is to be started: `run` with a configuration, or any other command that serves.
pub struct Setup {
    pub(crate) scratch: Scratch,
    config: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    own_binary: bool,
    through: Option<Vec<String>>,
    pub(crate) addresses: BTreeMap<String, SocketAddr>,
    pub(crate) ports: Vec<Port>,
    stderr: Option<&'static str>,
}

impl Setup {
    pub(crate) fn new(config: Option<String>, arguments: &[&str]) -> Setup {
        Setup {
            scratch: Scratch::new(),
            config,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: Vec::new(),
            own_binary: false,
            through: None,
            addresses: BTreeMap::new(),
            ports: Vec::new(),
            stderr: None,
        }
    }

    /// Says what `@name@` stands for.
    pub fn address(mut self, name: &str, address: SocketAddr) -> Setup {
        self.addresses.insert(name.to_owned(), address);
        self
    }

    /// Puts a file beside the configuration.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Setup {
        self.scratch.write(name, content);
        self
    }

    /// Puts a program beside the configuration.
    pub fn program(self, name: &str, script: &str) -> Setup {
        use std::os::unix::fs::PermissionsExt;
        self.scratch.write(name, script);
        let path = self.scratch.path().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it can be made executable");
        self
    }

    /// The directory that it will run in.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Adds an argument to the command line.
    pub fn argument(mut self, argument: &str) -> Setup {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets an environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs a copy of the binary that lies beside the configuration and is called `plimsoll`, so that another can take its
    /// place.
    pub fn own_binary(mut self) -> Setup {
        self.own_binary = true;
        self
    }

    /// Has another program start it, whose last arguments the command line becomes; it has to become it (exec).
    pub fn through(mut self, program: &[&str]) -> Setup {
        self.through = Some(program.iter().map(|&word| word.to_owned()).collect());
        self
    }

    /// Has standard error go there, instead of to a file that is shown when a test fails.
    pub fn stderr(mut self, path: &'static str) -> Setup {
        self.stderr = Some(path);
        self
    }

    /// Starts the process and waits until it is ready; panics with its log when it does not get there.
    #[track_caller]
    pub fn start(self) -> Plimsoll {
        let mut plimsoll = self.spawn();
        plimsoll.wait_until_ready();
        plimsoll
    }

    /// Starts the process without waiting.
    pub fn spawn(mut self) -> Plimsoll {
        if let Some(config) = self.config.take() {
            self.write_config(&config);
            self.arguments
                .extend(["-c".to_owned(), self.scratch.path().join(CONFIG).display().to_string()]);
        }
        let arguments: Vec<_> = std::mem::take(&mut self.arguments)
            .iter()
            .map(|text| self.resolve(text))
            .collect();
        let through = self.through.take();
        let through = through.map(|words| words.iter().map(|word| self.resolve(word)).collect::<Vec<_>>());
        let log = |name| File::create(self.scratch.path().join(name)).expect("a log file can be made");
        let stderr = match self.stderr {
            Some(path) => File::options().write(true).open(path).expect("it can be written to"),
            None => log(STDERR),
        };
        let mut binary = plimsoll_binary().to_path_buf();
        if self.own_binary {
            let own = self.scratch.path().join(BINARY);
            std::fs::copy(&binary, &own).expect("the binary can be copied");
            binary = own;
        }
        let mut command = match through {
            None => Command::new(binary),
            Some(words) => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).arg(binary);
                command
            }
        };
        let child = command
            .args(&arguments)
            .envs(self.environment.iter().cloned())
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .stdout(log(STDOUT))
            .stderr(stderr)
            .spawn()
            .expect("plimsoll can be started");
        Plimsoll::new(child, self)
    }

    /// Writes the configuration, with an admin address of its own unless it has an `[admin]` table.
    pub(crate) fn write_config(&mut self, config: &str) {
        let mut text = self.resolve(config);
        if !text.contains("[admin]") {
            text.push_str(&format!("\n[admin]\nbind = \"{}\"\n", self.find_or_claim("admin")));
        }
        self.scratch.write(CONFIG, text);
    }

    /// Replaces each `@name@` by its address.
    fn resolve(&mut self, text: &str) -> String {
        let mut resolved = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('@') {
            resolved.push_str(before);
            let is_name = |name: &str| {
                !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            };
            match after.split_once('@') {
                Some((name, following)) if is_name(name) => {
                    resolved.push_str(&self.find_or_claim(name).to_string());
                    rest = following;
                }
                _ => {
                    resolved.push('@');
                    rest = after;
                }
            }
        }
        resolved + rest
    }

    fn find_or_claim(&mut self, name: &str) -> SocketAddr {
        if let Some(address) = self.addresses.get(name) {
            return *address;
        }
        let port = Port::free();
        let address = port.address();
        self.ports.push(port);
        self.addresses.insert(name.to_owned(), address);
        address
    }
}
