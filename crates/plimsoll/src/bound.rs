//! What comes before the first thread: everything that may fail, or belong to somebody else.

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::Context;
use plimsoll_control::Control;
use plimsoll_control::admin::Admin;
use plimsoll_control::config::{Base, Loaded, Plan};
use plimsoll_net::{Identity, Privileges};
use plimsoll_proxy::{Clock, Sockets};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::stderr::Stderr;
use crate::upgrade::{Came, Given, Inherited};

/// A process that could serve.
pub(crate) struct Bound {
    /// With no more connections than the descriptor limit allows.
    pub(crate) plan: Plan,
    /// What it was read from, without what the API has made.
    pub(crate) base: Base,
    /// How many that are.
    pub(crate) connections_max: Option<u32>,
    pub(crate) workers: usize,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
    /// The process that this one takes over from.
    pub(crate) inherited: Option<Inherited>,
    pub(crate) admin: Admin,
    pub(crate) control: Arc<Control>,
    pub(crate) sockets: Sockets,
}

impl Bound {
    /// Compiles what `loaded` says, takes over or binds every address that it names, and becomes the user that it names.
    pub(crate) fn new(loaded: Loaded, came: Came) -> anyhow::Result<Bound> {
        log_to_stderr(loaded.plan.log.level)?;
        let (inherited, mut given) = match came {
            Came::ByItself => (None, Given::by_systemd()),
            Came::After(inherited, given) => (Some(inherited), *given),
            Came::Alone(why) => {
                tracing::warn!("this process was to take over, and goes on alone with sockets of its own: {why}");
                (None, Given::default())
            }
        };
        let base = loaded.base();
        let loaded = loaded.with(&mut given.handed.additions);
        let (plan, connections_max) = within_descriptors(loaded.plan);
        let (clock, seed) = (Clock::start(), seed());
        let workers = plan.workers.unwrap_or_else(workers_default);
        let admin = Admin::bind(&plan.admin, given.admin)?;
        let control = Control::continuing(&plan, given.handed, move || clock.now(), seed);
        let mut sockets = Sockets::new(workers, given.listeners, given.quic);
        sockets.bind(&control.snapshot().load()).map_err(anyhow::Error::msg)?;
        for address in sockets.give_up_the_rest() {
            tracing::warn!(%address, "a socket was handed over that no listener has: it is given up");
        }
        // Threads that were there already would stay what they are.
        assume_user(&plan, &sockets)?;
        Ok(Bound {
            plan,
            base,
            connections_max,
            workers,
            clock,
            seed,
            inherited,
            admin,
            control,
            sockets,
        })
    }
}

/// Threads that carry traffic unless the plan says how many: one a core.
pub(crate) fn workers_default() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Becomes the user that `plan` names, with no privileges but those that its listeners need.
fn assume_user(plan: &Plan, sockets: &Sockets) -> anyhow::Result<()> {
    let Some(name) = &plan.user else { return Ok(()) };
    let privileges = Privileges {
        bind_service: sockets.needs_privilege(),
    };
    let assumed = Identity::named(name).and_then(|identity| identity.assume(privileges));
    assumed.with_context(|| format!("[server] user = \"{name}\""))?;
    tracing::info!(
        user = name,
        ports_below_1024 = privileges.bind_service,
        "root is given up"
    );
    Ok(())
}

/// Descriptors that are kept for listeners, logs, checks and the admin API.
const DESCRIPTORS_RESERVED: u64 = 256;

/// `[server] max_connections` when it is left out.
const MAX_CONNECTIONS_DEFAULT: u32 = 100_000;

/// Connections that are enough for whoever has not asked for a number.
const ROOMY: u32 = 4_096;

/// The plan with no more connections than the descriptor limit allows, each of which may need another one to a backend;
/// and how many that are.
fn within_descriptors(mut plan: Plan) -> (Plan, Option<u32>) {
    let mut most = None;
    if let Some(limit) = plimsoll_net::raise_limit() {
        let room = u32::try_from(limit.saturating_sub(DESCRIPTORS_RESERVED) / 2)
            .unwrap_or(u32::MAX)
            .max(1);
        most = Some(room);
        let asked = plan.node.max_connections;
        if asked > room {
            let says = "max_connections is clamped: raise the descriptor limit (ulimit -n, LimitNOFILE=)";
            // The default asks for more than most limits allow, and nobody wrote it: a warning only where it is tight.
            if asked == MAX_CONNECTIONS_DEFAULT && room >= ROOMY {
                tracing::info!(asked, allowed = room, descriptors = limit, "{says}");
            } else {
                tracing::warn!(asked, allowed = room, descriptors = limit, "{says}");
            }
            plan.node.max_connections = room;
        }
    }
    (plan, most)
}

/// What is said goes to standard error; standard output is for results and for the access log.
fn log_to_stderr(level: &str) -> anyhow::Result<()> {
    let level: tracing::level_filters::LevelFilter = level.parse().context("the log level")?;
    // Libraries tell what clients do, as often as those do it: theirs is for debugging alone.
    let theirs = if level >= tracing::level_filters::LevelFilter::DEBUG {
        level
    } else {
        tracing::level_filters::LevelFilter::OFF
    };
    let ours = Targets::new().with_default(theirs).with_target("plimsoll", level);
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_writer(|| Stderr)
        .log_internal_errors(false)
        .finish()
        .with(ours);
    tracing::subscriber::set_global_default(log).context("the log")
}

/// Randomness from the process's start: hash tables' seeds, random choices. Nothing secret hangs on it.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
