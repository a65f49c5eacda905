//! Filters in their order.

use std::fmt;

use super::{Done, Errand, Filter, FilterCx, FilterEntry, Flow, RequestView};
use crate::decision::{Decision, Stage, Verdict};
use crate::reply::Reply;

/// Filters in their order.
#[derive(Default)]
pub struct Chain(Vec<Link>);

/// One of them.
struct Link {
    kind: &'static str,
    dry_run: bool,
    filter: Box<dyn Filter>,
}

/// How a request came through a chain.
#[derive(Debug)]
pub enum Ran {
    /// It goes on.
    Through,
    /// A filter answers it.
    Reply(Reply),
    /// The filter at this position needs something to be done before it goes on.
    Errand(usize, Errand),
}

impl Chain {
    /// A chain of what `build` makes of `entries`.
    pub fn build(entries: &[FilterEntry], mut build: impl FnMut(&FilterEntry) -> Box<dyn Filter>) -> Self {
        let link = |entry: &FilterEntry| Link {
            kind: entry.config.kind(),
            dry_run: entry.dry_run,
            filter: build(entry),
        };
        Chain(entries.iter().map(link).collect())
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs the filters from the one at `from` on, which gets to know how its errand went when it had one.
    pub fn run(
        &self,
        from: usize,
        mut done: Option<Done>,
        head: &mut RequestView<'_>,
        cx: &mut FilterCx<'_>,
        mut record: Option<&mut Decision>,
    ) -> Ran {
        for (at, link) in self.0.iter().enumerate().skip(from) {
            let mut said = String::new();
            let before = link.dry_run.then(|| head.changes.noticeable());
            let flow = {
                let mut cx = FilterCx {
                    now: cx.now,
                    rng: cx.rng,
                    said: record.is_some().then_some(&mut said),
                    dry_run: link.dry_run,
                    ..*cx
                };
                let flow = match done.take() {
                    Some(done) => link.filter.resume(done, head, &mut cx),
                    None => link.filter.request(head, &mut cx),
                };
                match flow {
                    // Nobody is made to wait on trial.
                    Flow::Errand(Errand::Wait(_)) if link.dry_run => link.filter.resume(Done::Waited, head, &mut cx),
                    flow => flow,
                }
            };
            if let Some(before) = before {
                head.changes.take_back(before);
            }
            if let Some(decision) = record.as_deref_mut() {
                link.tell(&flow, &said, decision);
            }
            match flow {
                Flow::Next => {}
                Flow::Reply(reply) if link.dry_run => head.changes.rehearsed.extend(reply.reason),
                Flow::Reply(reply) => return Ran::Reply(reply),
                Flow::Errand(errand) => return Ran::Errand(at, errand),
            }
        }
        Ran::Through
    }
}

impl Link {
    fn tell(&self, flow: &Flow, said: &str, decision: &mut Decision) {
        let (verdict, what) = match flow {
            Flow::Next => (Verdict::Passed, "passes".to_owned()),
            Flow::Reply(reply) => {
                let reason = reply
                    .reason
                    .map(|reason| format!(" {}", reason.word()))
                    .unwrap_or_default();
                let would = if self.dry_run { "would answer" } else { "answers" };
                let verdict = if self.dry_run {
                    Verdict::Passed
                } else {
                    Verdict::Refused
                };
                (verdict, format!("{would} {}{reason}", reply.status))
            }
            Flow::Errand(errand) => (Verdict::Passed, errand.told()),
        };
        let why = if said.is_empty() {
            what
        } else {
            format!("{what}: {said}")
        };
        decision.step(Stage::Filter, self.kind, verdict, why);
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.0.iter().map(|link| link.kind)).finish()
    }
}
