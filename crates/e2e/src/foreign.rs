//! Servers that we did not write, as backends. `./test` installs them.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::port::Port;
use crate::scratch::Scratch;
use crate::tools::{self, python_with_packages};
use crate::wait::eventually;

/// A server that listens at a port of its own, and is killed when dropped.
pub struct Foreign {
    port: Port,
    child: Child,
    scratch: Scratch,
}

impl Foreign {
    /// Starts what `command` makes of the port and of a directory for the server's files, and waits until it listens.
    #[track_caller]
    pub fn start(command: impl FnOnce(u16, &Path) -> Command) -> Foreign {
        let (port, scratch) = (Port::free(), Scratch::new());
        let child = spawn(command(port.number(), scratch.path()), scratch.path());
        let mut foreign = Foreign { port, child, scratch };
        foreign.wait_until_it_listens();
        foreign
    }

    /// Starts another server in its place: at the same port, with the same directory.
    #[track_caller]
    pub fn replace(&mut self, command: impl FnOnce(u16, &Path) -> Command) {
        self.stop();
        self.child = spawn(command(self.port.number(), self.scratch.path()), self.scratch.path());
        self.wait_until_it_listens();
    }

    #[track_caller]
    fn wait_until_it_listens(&mut self) {
        eventually("a server listens", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the server ended at once: {status}");
            }
            TcpStream::connect_timeout(&self.address(), Duration::from_secs(1)).ok()
        });
    }

    /// `nghttpd` without TLS, which serves the files of its directory.
    #[track_caller]
    pub fn nghttpd(files: &[(&str, &[u8])], options: &[&str]) -> Foreign {
        Foreign::start(|port, directory| {
            write_all(directory, files);
            let mut command = server("nghttpd");
            command.args(["--no-tls", "--address=127.0.0.1", "-d"]).arg(directory);
            command.args(options).arg(port.to_string());
            command
        })
    }

    /// nginx with HTTP/2 by prior knowledge, which serves the files of its directory; `lines` are added to its server.
    #[track_caller]
    pub fn nginx(files: &[(&str, &[u8])], lines: &str) -> Foreign {
        Foreign::nginx_of(files, |port, root| {
            format!(
                "server {{ listen 127.0.0.1:{port} http2; root {}; {lines} }}",
                root.display()
            )
        })
    }

    /// nginx with the servers that `servers` makes of the port and of the directory of its files.
    #[track_caller]
    pub fn nginx_of(files: &[(&str, &[u8])], servers: impl FnOnce(u16, &Path) -> String) -> Foreign {
        Foreign::start(|port, directory| {
            write_all(directory, files);
            let root = directory.display();
            let servers = servers(port, directory);
            let text = format!(
                "daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
                 fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
                 {servers} }}\n"
            );
            write_all(directory, &[("nginx.conf", text.as_bytes())]);
            let mut command = server("nginx");
            command
                .arg("-c")
                .arg(directory.join("nginx.conf"))
                .arg("-p")
                .arg(directory);
            command
        })
    }

    /// HAProxy with HTTP/2 by prior knowledge, which does what `lines` say in its frontend.
    #[track_caller]
    pub fn haproxy(lines: &str) -> Foreign {
        Foreign::haproxy_of(&[], |port, _| {
            format!("frontend all\n bind 127.0.0.1:{port} proto h2\n{lines}\n")
        })
    }

    /// HAProxy with the sections that `sections` makes of the port and of the directory of its files.
    #[track_caller]
    pub fn haproxy_of(files: &[(&str, &[u8])], sections: impl FnOnce(u16, &Path) -> String) -> Foreign {
        Foreign::start(|port, directory| {
            write_all(directory, files);
            haproxy_command(directory, &sections(port, directory))
        })
    }

    /// `redis-server` with these further arguments.
    #[track_caller]
    pub fn redis(arguments: &[&str]) -> Foreign {
        Foreign::start(|port, _| {
            let mut command = Command::new("redis-server");
            command
                .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
                .args(arguments);
            command
        })
    }

    /// A server in Python, which binds the address that is its first argument. Modules from PyPI are those that `./test`
    /// installs.
    #[track_caller]
    pub fn python(script: &str) -> Foreign {
        Foreign::start(|port, _| {
            let mut command = Command::new(python_with_packages());
            command.args(["-u", "-c", script, &format!("127.0.0.1:{port}")]);
            command
        })
    }

    /// What this script makes of its address and these further arguments ([`tools::node_script`]).
    #[track_caller]
    pub fn node(name: &str, arguments: &[&str]) -> Foreign {
        Foreign::scripted(tools::node_script(name), arguments)
    }

    /// The same in Python ([`tools::python_script`]).
    #[track_caller]
    pub fn python_script(name: &str, arguments: &[&str]) -> Foreign {
        Foreign::scripted(tools::python_script(name), arguments)
    }

    #[track_caller]
    fn scripted(mut script: Command, arguments: &[&str]) -> Foreign {
        Foreign::start(|port, _| {
            script.arg(format!("127.0.0.1:{port}")).args(arguments);
            script
        })
    }

    /// Writes a line to its standard input.
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("it was piped");
        writeln!(input, "{line}").expect("it reads");
    }

    /// Kills it; its port stays claimed.
    pub fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The directory of its files.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.stop();
    }
}

/// HAProxy with these sections behind its defaults, whose files are in `directory`.
pub fn haproxy_command(directory: &Path, sections: &str) -> Command {
    let text =
        format!("defaults\n mode http\n timeout client 30s\n timeout connect 5s\n timeout server 30s\n{sections}\n");
    write_all(directory, &[("haproxy.cfg", text.as_bytes())]);
    let mut command = server("haproxy");
    command.arg("-db").arg("-f").arg(directory.join("haproxy.cfg"));
    command
}

#[track_caller]
fn spawn(mut command: Command, directory: &Path) -> Child {
    let program = command.get_program().to_string_lossy().into_owned();
    let spawned = command
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match spawned {
        Ok(child) => child,
        Err(error) => panic!("cannot start {program}: {error} (./test installs what the tests need)"),
    }
}

/// A program that Debian may keep where only root's PATH looks.
fn server(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

fn write_all(directory: &Path, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        std::fs::write(directory.join(name), content).expect("a file can be written");
    }
}
