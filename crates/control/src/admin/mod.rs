//! The admin API: how the node and its pools stand, metrics, and what operators may change.
//!
//! It is served on the control plane's runtime, so that no call costs a request its latency. [`Admin::bind`] takes the
//! sockets before anything is served, [`Admin::serve`] answers.

mod additions;
mod body;
mod change;
mod dashboard;
mod decisions;
mod differs;
mod events;
mod explain;
mod guard;
mod node;
mod openapi;
mod places;
mod pools;
mod problem;
mod reload;
mod router;
mod routes;
mod server;
mod shifts;
mod stats;
#[cfg(test)]
mod tests;
mod token;
mod upgrade;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plimsoll_core::decision::Recent;
use tokio::sync::{mpsc, watch};

use self::guard::Guard;
pub(crate) use self::pools::backend_json;
pub use self::problem::UPGRADING;
use self::server::Socket;
use self::token::Token;
pub use self::token::TokenFault;
pub use self::upgrade::{UpgradeAnswer, UpgradeCall, Upgraded};
use crate::config::AdminPlan;
use crate::metrics::Metrics;
use crate::publish::Control;
use crate::reload::Reloader;
use crate::shifts::Shifts;

/// Why the admin API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Its address cannot be had.
    #[error("admin cannot bind {address}: {error}; choose another address with [admin] bind, or \"off\"")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// Its unix socket cannot be had.
    #[error("admin cannot bind unix:{}: {error}; choose another path with [admin] bind, or \"off\"", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The address of the metrics alone cannot be had.
    #[error("admin cannot bind {address} for metrics: {error}; set [admin] metrics_bind")]
    MetricsBind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The token cannot be used.
    #[error("the admin token file {} {why}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: TokenFault,
    },
}

/// What the API tells of and acts on.
#[derive(Clone)]
pub struct Api {
    /// The control plane.
    pub control: Arc<Control>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Shifts of splits.
    pub shifts: Arc<Shifts>,
    /// The decisions that were taken of late.
    pub decisions: Arc<Recent>,
    /// What loads another configuration.
    pub reloader: Arc<Reloader>,
    /// Who can have another process take over.
    pub upgrades: mpsc::Sender<UpgradeCall>,
    /// How many workers carry traffic.
    pub workers: usize,
}

/// The sockets of the admin API, as one process hands them to the next.
#[derive(Debug, Default)]
pub struct AdminSockets {
    /// That of the API.
    pub api: Option<OwnedFd>,
    /// That of metrics alone.
    pub metrics: Option<OwnedFd>,
}

/// The bound sockets of the admin API.
#[derive(Debug)]
pub struct Admin {
    api: Option<TcpListener>,
    socket: Option<UnixListener>,
    metrics: Option<TcpListener>,
    tokens: Tokens,
}

/// What callers show.
#[derive(Debug, Default)]
struct Tokens {
    writes: Option<Token>,
    reads: Option<Token>,
}

impl Admin {
    /// Reads the token and binds the addresses that `plan` names, but for those that the process before has `handed` over.
    ///
    /// # Errors
    /// The first thing that is wrong, with what to do about it.
    pub fn bind(plan: &AdminPlan, handed: AdminSockets) -> Result<Self, AdminError> {
        let is_on = plan.bind.is_some() || plan.socket.is_some();
        let token = |path: &Option<PathBuf>| path.as_deref().filter(|_| is_on).map(read_token).transpose();
        let tokens = Tokens {
            writes: token(&plan.token_file)?,
            reads: token(&plan.read_token_file)?,
        };
        let AdminSockets { api, metrics } = handed;
        let (at, socket) = match (api, &plan.socket) {
            (Some(handed), Some(path)) => (None, Some(take_unix(handed, path).map_or_else(|| listen_on(path), Ok)?)),
            (None, Some(path)) => (None, Some(listen_on(path)?)),
            (handed, None) => (handed, None),
        };
        let bind = |handed: Option<OwnedFd>, address: SocketAddr| {
            let taken = handed.and_then(|handed| take_tcp(handed, address));
            taken.map_or_else(|| listen(address), Ok)
        };
        let api = plan
            .bind
            .map(|address| bind(at, address).map_err(|error| AdminError::Bind { address, error }));
        let metrics = plan
            .metrics_bind
            .map(|address| bind(metrics, address).map_err(|error| AdminError::MetricsBind { address, error }));
        Ok(Admin {
            api: api.transpose()?,
            socket,
            metrics: metrics.transpose()?,
            tokens,
        })
    }

    /// Copies of its sockets, for the process that takes over.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn sockets(&self) -> std::io::Result<AdminSockets> {
        let tcp = |socket: &Option<TcpListener>| socket.as_ref().map(TcpListener::try_clone).transpose();
        let unix = self.socket.as_ref().map(UnixListener::try_clone).transpose()?;
        Ok(AdminSockets {
            api: tcp(&self.api)?.map(OwnedFd::from).or(unix.map(OwnedFd::from)),
            metrics: tcp(&self.metrics)?.map(OwnedFd::from),
        })
    }

    /// Where the API is, unless it is off: another port when it was to be any.
    pub fn address(&self) -> Option<SocketAddr> {
        self.api.as_ref().and_then(|socket| socket.local_addr().ok())
    }

    /// Where the metrics alone are, if anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|socket| socket.local_addr().ok())
    }

    /// On which unix socket it is, if it is on one.
    pub fn socket(&self) -> Option<PathBuf> {
        let address = self.socket.as_ref()?.local_addr().ok()?;
        address.as_pathname().map(Path::to_path_buf)
    }

    /// Answers calls until it is `retired`. It has to be called within a runtime.
    ///
    /// # Errors
    /// The runtime cannot take the sockets.
    pub async fn serve(self, api: Api, retired: watch::Receiver<bool>) -> std::io::Result<()> {
        let (bound, metrics) = (self.address(), api.metrics.clone());
        let register = |socket: Option<TcpListener>| socket.map(tokio::net::TcpListener::from_std).transpose();
        let (whole, scraped) = (register(self.api)?, register(self.metrics)?);
        let socket = self.socket.map(tokio::net::UnixListener::from_std).transpose()?;
        let whole = whole.map(Socket::Tcp).or(socket.map(Socket::Unix));
        let Tokens { writes, reads } = self.tokens;
        let guard = Guard {
            bound,
            token: writes,
            read_token: reads,
        };
        tokio::join!(
            async {
                if let Some(socket) = whole {
                    server::serve(
                        socket,
                        router::whole(api.clone(), guard),
                        metrics.clone(),
                        retired.clone(),
                    )
                    .await;
                }
            },
            async {
                if let Some(socket) = scraped {
                    server::serve(
                        Socket::Tcp(socket),
                        router::scraped(api.clone()),
                        metrics.clone(),
                        retired.clone(),
                    )
                    .await;
                }
            }
        );
        Ok(())
    }
}

fn read_token(path: &Path) -> Result<Token, AdminError> {
    Token::read(path).map_err(|why| AdminError::Token {
        path: path.to_path_buf(),
        why,
    })
}

/// What keeps the token in the file at `path` from being used, whoever runs the process: who may not read it now may
/// not be who serves.
pub(crate) fn check_token(path: &Path) -> Result<(), AdminError> {
    match read_token(path) {
        Err(AdminError::Token {
            why: TokenFault::Open(error),
            ..
        }) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        read => read.map(drop),
    }
}

/// What was handed over, if it is where it is to be.
fn take_tcp(handed: OwnedFd, wanted: SocketAddr) -> Option<TcpListener> {
    let socket = TcpListener::from(handed);
    let at = socket.local_addr().ok()?;
    let is_there = at == wanted || wanted.port() == 0 && at.ip() == wanted.ip();
    is_there.then_some(socket)
}

fn take_unix(handed: OwnedFd, wanted: &Path) -> Option<UnixListener> {
    let socket = UnixListener::from(handed);
    let is_there = socket.local_addr().ok()?.as_pathname() == Some(wanted);
    is_there.then_some(socket)
}

/// A unix socket at `path`, for this user alone. One that a process has left behind is taken away; one that answers is
/// somebody's.
fn listen_on(path: &Path) -> Result<UnixListener, AdminError> {
    let wrong = |error: std::io::Error| AdminError::Socket {
        path: path.to_path_buf(),
        error,
    };
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
        std::fs::remove_file(path).map_err(wrong)?;
    }
    let socket = UnixListener::bind(path).map_err(wrong)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(wrong)?;
    socket.set_nonblocking(true).map_err(wrong)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
