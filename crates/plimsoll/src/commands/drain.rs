//! `plimsoll drain`: no new work for a backend, and what it still has.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::aim::{Aim, Manner, page};
use super::client::{Client, Failure};
use super::text;

/// How often it is looked how much is left.
const LOOK: Duration = Duration::from_millis(250);

/// How long what is cut at the deadline may take to be gone.
const CUT_PATIENCE: Duration = Duration::from_secs(15);

/// Give a backend no new work, and tell what it still has and when it can be stopped
#[derive(Args)]
pub(crate) struct Drain {
    /// A backend, by its name or its address and port; or a pool, for all of its backends
    #[arg(value_name = "POOL[/BACKEND]")]
    aim: Aim,
    /// How long what it has may go on, like 60s; the pool's or the server's drain_timeout unless given
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Come back when it can be stopped
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    manner: Manner,
}

impl Drain {
    /// Exit code 0: it drains, or with --wait can be stopped. 3 when the process refuses or cannot be reached.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        super::answer(self.ask())
    }

    fn ask(&self) -> Result<String, Failure> {
        let client = self.manner.target.client()?;
        let mut change = json!({ "state": "drain" });
        if let Some(timeout) = &self.timeout {
            change["timeout"] = timeout.as_str().into();
        }
        let changed = self.aim.change(&client, &change)?;
        let left = if self.wait {
            self.wait(&client, &changed)?
        } else {
            changed
        };
        Ok(page(&self.aim, &left, self.manner.json, left_of))
    }

    /// Looks again and again until all can be stopped; what changes meanwhile is told on standard error.
    fn wait(&self, client: &Client, changed: &[Value]) -> Result<Vec<Value>, Failure> {
        let (mut told, mut left) = (String::new(), changed.to_vec());
        let mut over: Option<Instant> = None;
        loop {
            if let Some(taken) = left.iter().find(|backend| takes_work(backend)) {
                return Err(Failure::refused(format!(
                    "{}/{} takes work again ({}): somebody has made it ready, and it cannot be stopped",
                    self.aim.pool,
                    text(&taken["name"]),
                    text(&taken["state"]),
                )));
            }
            if left.iter().all(|backend| stands(backend) == Stands::Done) {
                return Ok(left.into_iter().map(|backend| since(changed, backend)).collect());
            }
            if let Some(busy) = left.iter().find(|backend| stands(backend) == Stands::Overdue)
                && over.get_or_insert_with(Instant::now).elapsed() > CUT_PATIENCE
            {
                return Err(Failure::refused(format!(
                    "{}/{} still has {} under way after its deadline; the log of the process may say why",
                    self.aim.pool,
                    text(&busy["name"]),
                    text(&busy["in_flight"]),
                )));
            }
            let news = page(&self.aim, &left, false, left_of);
            if news != told {
                crate::stderr::say(news.trim_end());
                told = news;
            }
            thread::sleep(LOOK);
            left = self.aim.look(client, &left)?;
        }
    }
}

/// `backend` with what was cut since it was as in `before`, instead of since the process's start.
fn since(before: &[Value], mut backend: Value) -> Value {
    let was = before.iter().find(|was| was["address"] == backend["address"]);
    let had = was.and_then(|was| was["cut"].as_u64()).unwrap_or_default();
    backend["cut"] = backend["cut"].as_u64().unwrap_or_default().saturating_sub(had).into();
    backend
}

/// How a draining backend stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// It has nothing that would be lost.
    Done,
    /// It has.
    Busy,
    /// It has, and its time is up: that is being cut.
    Overdue,
}

/// Whether `backend` drains no more.
fn takes_work(backend: &Value) -> bool {
    backend["state"] != "draining" && backend["state"] != "maintenance"
}

/// How `backend` stands.
fn stands(backend: &Value) -> Stands {
    let is_past = backend["drain_left_ms"] == 0;
    let has = |what: &str| backend[what].as_u64().unwrap_or_default() > 0;
    // What a process before has ends by its own drain.
    if has("in_flight_before") && !(is_past && has("in_flight")) {
        return Stands::Busy;
    }
    match (has("in_flight"), has("sticky_sessions"), is_past) {
        (true, _, true) => Stands::Overdue,
        // From the deadline on sessions move to other backends.
        (false, _, true) | (false, false, false) => Stands::Done,
        (true, _, false) | (false, true, false) => Stands::Busy,
    }
}

/// What is left of a draining backend.
fn left_of(backend: &Value) -> String {
    let count = |what: &str| backend[what].as_u64().unwrap_or_default();
    let (flight, sessions, connections) = (count("in_flight"), count("sticky_sessions"), count("connections"));
    let state = text(&backend["state"]);
    if stands(backend) == Stands::Done {
        let cut = match count("cut") {
            0 => String::new(),
            cut => format!(", {cut} cut at the deadline"),
        };
        let moved = match sessions {
            0 => String::new(),
            sessions => format!(", {sessions} sticky sessions move"),
        };
        return format!("{state}, nothing is left{moved}{cut}; it can be stopped");
    }
    let until = text(&backend["drains_until"]);
    let before = match count("in_flight_before") {
        0 => String::new(),
        before => format!(", {before} in flight with the process before the upgrade"),
    };
    format!(
        "{state} until {until}; left: {flight} in flight, {sessions} sticky sessions, {connections} connections{before}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_can_be_stopped_when_nothing_would_be_lost() {
        for (in_flight, sessions, left, expected) in [
            (0, 0, json!(5), Stands::Done),
            (1, 0, json!(5), Stands::Busy),
            (0, 1, json!(5), Stands::Busy),
            (0, 1, json!(0), Stands::Done),
            (1, 0, json!(0), Stands::Overdue),
            (0, 0, json!(0), Stands::Done),
            (1, 0, json!(null), Stands::Busy),
        ] {
            let mut backend = json!({ "in_flight": in_flight, "sticky_sessions": sessions, "drain_left_ms": left });
            assert_eq!(stands(&backend), expected, "{backend}");
            backend["in_flight_before"] = 1.into();
            let still = [expected, Stands::Busy][usize::from(expected != Stands::Overdue)];
            assert_eq!(stands(&backend), still, "{backend}");
        }
    }

    #[test]
    fn what_was_cut_is_told_of_this_drain_alone() {
        let before = [json!({ "address": "a", "cut": 3 })];
        let after = since(
            &before,
            json!({ "address": "a", "cut": 5, "state": "draining", "drain_left_ms": 0 }),
        );
        assert_eq!(
            left_of(&after),
            "draining, nothing is left, 2 cut at the deadline; it can be stopped"
        );
        let other = since(&before, json!({ "address": "b", "cut": 1 }));
        assert_eq!(other["cut"], 1);
    }
}
