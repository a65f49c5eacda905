//! The live view: one picture of text, drawn over the one before.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use super::scene::{BACKENDS, LOAD_LINE, POLICIES, Places, SLOTS, UTILISATION, traffic_per_second};
use super::table::{self, millis};
use super::tally::Samples;
use crate::terminal::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, bar};

/// Cells of a bar.
const BAR_CELLS: usize = 20;

/// Columns of the history of p99.
const HISTORY_MAX: usize = 60;

/// The lowest and the highest p99 of the history, in milliseconds; between them it is drawn by its logarithm, since
/// what matters is how many times.
const HISTORY_MS: (f64, f64) = (10.0, 1_000.0);

/// What is seen at one moment.
pub(super) struct Moment<'m> {
    /// The position of the policy in [`POLICIES`].
    pub(super) policy: usize,
    /// How long until the next one.
    pub(super) left: Duration,
    /// Requests in flight to each backend, as the load balancer counts them.
    pub(super) in_flight: [u32; BACKENDS.len()],
    /// What clients felt of late.
    pub(super) recent: &'m Samples,
    /// What they felt under each policy.
    pub(super) rows: &'m [Samples],
}

/// p99 over time, a column for each look.
#[derive(Default)]
pub(super) struct History(VecDeque<Column>);

enum Column {
    P99(Option<Duration>),
    Switch,
}

impl History {
    /// Another look.
    pub(super) fn push(&mut self, p99: Option<Duration>) {
        self.add(Column::P99(p99));
    }

    /// The policy was switched here.
    pub(super) fn switch(&mut self) {
        if !self.0.is_empty() {
            self.add(Column::Switch);
        }
    }

    fn add(&mut self, column: Column) {
        if self.0.len() == HISTORY_MAX {
            self.0.pop_front();
        }
        self.0.push_back(column);
    }

    fn text(&self) -> String {
        let cell = |column: &Column| match column {
            Column::Switch => '│',
            Column::P99(None) => ' ',
            Column::P99(Some(p99)) => level(*p99),
        };
        self.0.iter().map(cell).collect()
    }
}

/// One of eight heights.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the eight levels"
)]
fn level(p99: Duration) -> char {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (low, high) = HISTORY_MS;
    let height = (p99.as_secs_f64() * 1_000.0 / low).ln() / (high / low).ln();
    LEVELS[(height * 8.0).clamp(0.0, 7.0) as usize]
}

/// The picture of a moment.
pub(super) fn picture(moment: &Moment<'_>, history: &History, places: Places) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail, here and below.
    let _ = writeln!(
        out,
        " {BOLD}plimsoll demo{PLAIN}   {:.0} requests/s, {:.0} % of what three backends can do\n",
        traffic_per_second(),
        UTILISATION * 100.0
    );
    policies(&mut out, moment);
    backends(&mut out, moment);
    clients(&mut out, moment, history);
    for line in table::text(moment.rows).lines() {
        let _ = writeln!(out, " {line}");
    }
    let _ = writeln!(out, "\n {DIM}try{PLAIN}   {}", hints(places).join("\n       "));
    let _ = writeln!(out, "\n {DIM}Ctrl-C ends with the table{PLAIN}");
    out
}

/// What to open and what to try.
pub(super) fn hints(places: Places) -> Vec<String> {
    let Places { proxy, admin, secure } = places;
    let mut hints = vec![
        format!("curl -i http://{proxy}/"),
        format!("http://{admin}/ in a browser: the dashboard"),
        format!("plimsoll top --admin {admin}"),
    ];
    // Nobody vouches for its certificate, which is what -k is for.
    hints.extend(secure.map(|secure| format!("curl -ik https://{secure}/ (HTTP/2; with --http3 where curl can)")));
    hints
}

fn policies(out: &mut String, moment: &Moment<'_>) {
    let names = POLICIES.iter().enumerate().map(|(at, name)| {
        if at == moment.policy {
            format!("\x1b[7m {name} {PLAIN}")
        } else {
            format!("{DIM} {name} {PLAIN}")
        }
    });
    let names: Vec<String> = names.collect();
    let _ = writeln!(
        out,
        " {}  {DIM}{:>2} s{PLAIN}\n",
        names.join(" "),
        moment.left.as_secs()
    );
}

fn backends(out: &mut String, moment: &Moment<'_>) {
    let _ = writeln!(
        out,
        " {DIM}{:<8} {:<10} {:>6}  {:<22} {:>9} {:>9}{PLAIN}",
        "backend", "speed", "share", "in flight", "", "median"
    );
    for (at, spec) in BACKENDS.iter().enumerate() {
        let in_flight = moment.in_flight[at];
        let colour = match in_flight {
            _ if in_flight >= LOAD_LINE => RED,
            _ if in_flight as usize > 2 * SLOTS => YELLOW,
            _ => GREEN,
        };
        let speed = format!("{SLOTS} × {} ms", spec.service.as_millis());
        let _ = writeln!(
            out,
            " {BOLD}{:<8}{PLAIN} {speed:<10} {:>4.0} %  {colour}{}{PLAIN} {in_flight:>3} of {LOAD_LINE:<3} {:>9}",
            spec.name,
            moment.recent.share_percent(at),
            bar(f64::from(in_flight) / f64::from(LOAD_LINE), BAR_CELLS),
            millis(moment.recent.median_of(at)),
        );
    }
    out.push('\n');
}

fn clients(out: &mut String, moment: &Moment<'_>, history: &History) {
    let recent = moment.recent;
    let _ = writeln!(
        out,
        " {DIM}clients feel{PLAIN}  p50 {BOLD}{:<8}{PLAIN} p99 {BOLD}{:<8}{PLAIN} errors {BOLD}{}{PLAIN}",
        millis(recent.percentile(50.0)),
        millis(recent.percentile(99.0)),
        recent.errors,
    );
    let _ = writeln!(out, " {DIM}p99 so far{PLAIN}    {}\n", history.text());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_bounded_and_drawn_by_the_logarithm() {
        let mut history = History::default();
        history.switch();
        assert_eq!(history.text(), "", "no switch stands before everything");
        for ms in [1, 10, 100, 1_000, 9_000] {
            history.push(Some(Duration::from_millis(ms)));
        }
        history.switch();
        history.push(None);
        assert_eq!(history.text(), "▁▁▅██│ ");
        (0..200).for_each(|_| history.push(None));
        assert_eq!(history.0.len(), HISTORY_MAX);
    }

    #[test]
    fn a_picture_fits_a_terminal_of_80_by_24() {
        let mut rows = crate::demo::tally::Tally::new(POLICIES.len());
        for row in 0..POLICIES.len() {
            let sample = crate::demo::tally::Sample {
                at: std::time::Instant::now(),
                latency: Duration::from_millis(812),
                backend: Some(0),
            };
            rows.record(Some(row), sample);
        }
        let places = Places {
            proxy: ([127, 0, 0, 1], 65_535).into(),
            admin: ([127, 0, 0, 1], 65_534).into(),
            secure: None,
        };
        let moment = Moment {
            policy: 1,
            left: Duration::from_secs(10),
            in_flight: [4, 5, LOAD_LINE],
            recent: &rows.rows()[0],
            rows: rows.rows(),
        };
        let mut history = History::default();
        (0..HISTORY_MAX).for_each(|_| history.push(None));
        let picture = picture(&moment, &history, places);
        assert!(picture.lines().count() <= 24, "{picture}");
        for line in picture.lines() {
            let mut width = 0;
            let mut escaped = false;
            for character in line.chars() {
                match character {
                    '\x1b' => escaped = true,
                    'm' if escaped => escaped = false,
                    _ if !escaped => width += 1,
                    _ => {}
                }
            }
            assert!(width <= 80, "{width}: {line}");
        }
    }
}
