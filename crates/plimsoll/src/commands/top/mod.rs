//! `plimsoll top`: a running process, live in the terminal.

mod rates;
mod view;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::aim::escaped;
use super::client::{Client, Failure, Target};
use crate::terminal::{Screen, is_live};
use rates::Rates;

/// Between two pictures.
const PERIOD: Duration = Duration::from_secs(2);

/// What a table is about, when it is printed once.
const ONCE: Duration = Duration::from_secs(1);

/// Backends that are asked for; a terminal has fewer lines.
const BACKENDS_MAX: usize = 60;

/// Watch a running process: rates, latencies, errors, and the load of its backends.
#[derive(Args)]
pub(crate) struct Top {
    #[command(flatten)]
    target: Target,
    /// The pool whose backends are shown; the busiest unless given
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Print one table about a second, and end; as when standard output is no terminal
    #[arg(long)]
    once: bool,
    /// The same as JSON
    #[arg(long)]
    json: bool,
}

impl Top {
    /// Runs until Ctrl-C, or for a second. Exit code 3 when the process cannot be reached or refuses.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if self.once || self.json || !is_live() {
            return super::answer(self.once());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(self.live())? {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(failure) => super::answer(Err(failure)),
        }
    }

    fn once(&self) -> Result<String, Failure> {
        let client = self.target.client()?;
        let first = self.ask(&client, self.pool.as_deref())?;
        let pool = self.pool_of(&first);
        let before = if self.pool == pool {
            first
        } else {
            self.ask(&client, pool.as_deref())?
        };
        std::thread::sleep(ONCE);
        let now = self.ask(&client, pool.as_deref())?;
        let rates = Rates::between(&before, &now);
        Ok(if self.json {
            format!("{:#}\n", rates.json())
        } else {
            view::picture(&rates, false, usize::MAX)
        })
    }

    /// Draws until Ctrl-C; ends when the process is gone.
    async fn live(&self) -> std::io::Result<Result<(), Failure>> {
        let drawing = async {
            let client = match self.target.client() {
                Ok(client) => client,
                Err(failure) => return Ok(Err(failure)),
            };
            let mut before = match self.ask(&client, self.pool.as_deref()) {
                Ok(stats) => stats,
                Err(failure) => return Ok(Err(failure)),
            };
            let screen = Screen::take()?;
            let mut pause = ONCE;
            loop {
                tokio::time::sleep(pause).await;
                pause = PERIOD;
                let now = match self.ask(&client, self.pool_of(&before).as_deref()) {
                    Ok(stats) => stats,
                    Err(failure) => return Ok(Err(failure)),
                };
                screen.draw(&view::picture(&Rates::between(&before, &now), true, lines()))?;
                before = now;
            }
        };
        tokio::select! {
            ended = drawing => ended,
            _ = tokio::signal::ctrl_c() => Ok(Ok(())),
        }
    }

    fn ask(&self, client: &Client, pool: Option<&str>) -> Result<Value, Failure> {
        let query = pool.map(|pool| format!("?pool={}&limit={BACKENDS_MAX}&sort=load", escaped(pool)));
        client.get(&format!("/api/v1/stats{}", query.unwrap_or_default()))
    }

    /// The pool that is shown.
    fn pool_of(&self, stats: &Value) -> Option<String> {
        let busiest = || {
            let pools = stats["pools"].as_array()?;
            let pool = pools.iter().max_by_key(|pool| pool["requests"].as_u64())?;
            pool["name"].as_str().map(str::to_owned)
        };
        let shown = stats["backends"]["pool"].as_str().map(str::to_owned);
        self.pool.clone().or(shown).or_else(busiest)
    }
}

/// Lines that the terminal has.
fn lines() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map_or(24, |size| usize::from(size.ws_row)).max(10)
}
