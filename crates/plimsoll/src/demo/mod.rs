//! The demo: the real load balancer on loopback, three backends of unlike speed, live traffic, and one policy after the
//! other, published through the control plane while requests are in flight.

mod backends;
mod scene;
mod table;
mod tally;
mod traffic;
mod view;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use plimsoll_control::{Control, OwnPair};
use plimsoll_core::balance::PolicyConfig;
use plimsoll_proxy::Plane;

use crate::serve;
use crate::start::Start;
use crate::terminal::Screen;
use crate::upgrade::Ended;
use scene::{BACKENDS, LOAD_LINE, POLICIES, POOL, Places, SLOTS, UTILISATION};
use traffic::Traffic;
use view::{History, Moment};

/// How long a policy is shown.
#[derive(Clone, Copy)]
struct Pace {
    /// Before anything is counted: what the policy before left behind is not this one's doing.
    settle: Duration,
    /// While it is counted.
    count: Duration,
}

/// For somebody who watches.
const LIVE: Pace = Pace {
    settle: Duration::from_millis(1_500),
    count: Duration::from_millis(8_500),
};

/// For a script: four policies in ten seconds.
const ONCE: Pace = Pace {
    settle: Duration::from_millis(600),
    count: Duration::from_millis(1_900),
};

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(200);

/// Pictures for each column of the history.
const FRAMES_PER_COLUMN: u32 = 3;

/// How long the last answers are waited for: a little more than a full queue of the slow backend takes.
const LAST_ANSWERS: Duration = Duration::from_millis(1_000);

/// What the arrivals follow from: every run sends the same traffic.
const SEED: u64 = 1876;

/// Runs the demo: live until Ctrl-C, or each policy once; with TLS beside the rest, or without.
pub(crate) fn run(live: bool, tls: bool) -> anyhow::Result<()> {
    let start = Start::new()?;
    let backends = backends::start(&BACKENDS).context("the demo's backends cannot start")?;
    let places = Places::find(tls).context("there is no free port on 127.0.0.1")?;
    let names = ["localhost".to_owned(), places.proxy.ip().to_string()];
    let own = tls.then(|| OwnPair::new(&names)).transpose();
    let own = own.context("the demo's certificate cannot be made")?;
    let loaded = scene::configuration(places, &backends, own.as_ref())?;
    serve::serve_while(start, loaded, async |serving| {
        let show = Show {
            control: serving.control,
            plane: serving.plane,
            traffic: Traffic::start(places.proxy, scene::traffic_per_second(), POLICIES.len(), SEED)?,
            places,
        };
        let ended = tokio::select! {
            played = async { if live { show.live().await } else { show.once().await } } => played,
            () = serving.signals.stop() => Ok(()),
        };
        show.print_table()?;
        ended.map(|()| Ended::Stopped)
    })
}

/// Everything that is on stage.
struct Show<'s> {
    control: &'s Arc<Control>,
    plane: &'s Plane,
    traffic: Traffic,
    places: Places,
}

impl Show<'_> {
    /// Each policy once, with a line for each.
    async fn once(&self) -> anyhow::Result<()> {
        self.print_introduction()?;
        for policy in 0..POLICIES.len() {
            self.switch_to(policy)?;
            tokio::time::sleep(ONCE.settle).await;
            self.traffic.count_in(Some(policy));
            tokio::time::sleep(ONCE.count).await;
            self.traffic.count_in(None);
            self.print_progress(policy)?;
        }
        self.last_answers().await;
        Ok(())
    }

    /// One policy after the other, over and over, in a picture that moves.
    async fn live(&self) -> anyhow::Result<()> {
        let screen = Screen::take()?;
        let mut history = History::default();
        loop {
            for policy in 0..POLICIES.len() {
                self.switch_to(policy)?;
                history.switch();
                self.traffic.tally().clear(policy);
                let settled = Instant::now() + LIVE.settle;
                let span = (settled, settled + LIVE.count);
                self.watch(&screen, &mut history, policy, span).await?;
                self.traffic.count_in(None);
            }
        }
    }

    /// Draws until the policy's time is over, and counts from when it has settled.
    async fn watch(
        &self,
        screen: &Screen,
        history: &mut History,
        policy: usize,
        (settled, end): (Instant, Instant),
    ) -> io::Result<()> {
        let mut frames = 0;
        while Instant::now() < end {
            let now = Instant::now();
            if now >= settled {
                self.traffic.count_in(Some(policy));
            }
            let (recent, rows) = {
                let tally = self.traffic.tally();
                (tally.recent(now), tally.rows().to_vec())
            };
            frames += 1;
            if frames % FRAMES_PER_COLUMN == 0 {
                history.push(recent.percentile(99.0));
            }
            let moment = Moment {
                policy,
                left: end - now,
                in_flight: self.in_flight(),
                recent: &recent,
                rows: &rows,
            };
            screen.draw(&view::picture(&moment, history, self.places))?;
            tokio::time::sleep(FRAME).await;
        }
        Ok(())
    }

    fn switch_to(&self, policy: usize) -> anyhow::Result<()> {
        let name = POLICIES[policy];
        let config = PolicyConfig::named(name).with_context(|| format!("there is no policy {name}"))?;
        anyhow::ensure!(self.control.set_policy(POOL, config), "there is no pool {POOL}");
        self.plane.reconcile();
        Ok(())
    }

    /// Requests in flight to each backend, as the load balancer counts them.
    fn in_flight(&self) -> [u32; BACKENDS.len()] {
        let mut counts = [0; BACKENDS.len()];
        if let Some(pool) = self.control.pool(POOL) {
            for (count, status) in counts.iter_mut().zip(&pool.backends) {
                *count = status.backend.load.in_flight();
            }
        }
        counts
    }

    async fn last_answers(&self) {
        self.traffic.pause();
        let deadline = Instant::now() + LAST_ANSWERS;
        while self.traffic.in_flight() > 0 && Instant::now() < deadline {
            tokio::time::sleep(FRAME / 10).await;
        }
    }

    fn print_introduction(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "plimsoll demo: {:.0} requests/s, {:.0} % of what three backends can do",
            scene::traffic_per_second(),
            UTILISATION * 100.0
        )?;
        for spec in &BACKENDS {
            let ms = spec.service.as_millis();
            writeln!(out, "  {:<8} {SLOTS} requests at once, {ms} ms each", spec.name)?;
        }
        writeln!(
            out,
            "At most {LOAD_LINE} are in flight to each of them; what comes beyond goes to the others."
        )?;
        writeln!(out, "While it runs:\n  {}\n", view::hints(self.places).join("\n  "))
    }

    fn print_progress(&self, policy: usize) -> io::Result<()> {
        let p99 = table::millis(self.traffic.tally().rows()[policy].percentile(99.0));
        let (number, of, name) = (policy + 1, POLICIES.len(), POLICIES[policy]);
        writeln!(io::stdout(), "{number}/{of}  {name:<17} p99 so far {p99}")
    }

    fn print_table(&self) -> io::Result<()> {
        let tally = self.traffic.tally();
        let mut out = io::stdout().lock();
        write!(out, "\n{}", table::text(tally.rows()))?;
        if let Some(verdict) = table::verdict(tally.rows()) {
            writeln!(out, "\n{verdict}")?;
        }
        Ok(())
    }
}
