//! Traces are told to a collector, by OTLP over HTTP.
//!
//! The encoding is ours: what opentelemetry-otlp would do for us is to write five messages, and it brings an SDK whose
//! tracers, samplers and queues live where requests do. Ours are records of requests that have ended, which workers leave
//! in bounded rings; who takes them from there is slow or dead at nobody's cost but the traces'.

mod otlp;
mod protobuf;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_core::trace::{Left, Traced, Traces};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::otlp::{Names, Resource};
use self::protobuf::{Found, find};
use crate::config::{FieldSource, TracingPlan};
use crate::fetch::{Answer, Ask, ask, trusting_file};
use crate::files::open;
use crate::publish::Control;

/// How often the rings are emptied.
const LOOK: Duration = Duration::from_millis(250);

/// Requests that are told at once.
const BATCH_MAX: usize = 512;

/// How long a collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Pauses before a batch is sent again that a collector did not take for now; after the last one it is given up. The
/// rings hold what comes meanwhile, and drop what does not fit.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// The longest that a collector may ask us to wait.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long the end of the process waits for the last traces to be taken.
const LAST_PATIENCE: Duration = Duration::from_secs(3);

/// Between two complaints about a collector.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// Tells traces.
pub struct Exporter {
    control: Arc<Control>,
    traces: Arc<Traces>,
    complained: Option<Instant>,
}

/// An exporter that runs, to be finished at the end of the process.
#[derive(Debug)]
pub struct Exporting {
    ends: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Exporting {
    /// Tells what is left, for as long as a few seconds.
    pub async fn finish(self) {
        let _ = self.ends.send(true);
        if tokio::time::timeout(LAST_PATIENCE, self.task).await.is_err() {
            tracing::warn!("the last traces were not told: their collector does not answer");
        }
    }
}

/// What became of a batch.
enum Fate {
    /// It was taken, but for so many spans.
    Taken { refused: u64, why: String },
    /// It is not wanted.
    Refused(String),
    /// It may be sent again, not before then.
    NotNow(String, Option<Duration>),
}

impl Exporter {
    /// Tells what workers leave in `traces`.
    pub fn new(control: Arc<Control>, traces: Arc<Traces>) -> Self {
        Exporter {
            control,
            traces,
            complained: None,
        }
    }

    /// Begins.
    pub fn start(self) -> Exporting {
        let (ends, ended) = watch::channel(false);
        Exporting {
            ends,
            task: tokio::spawn(self.run(ended)),
        }
    }

    async fn run(mut self, mut ended: watch::Receiver<bool>) {
        loop {
            let ends = *ended.borrow();
            let mut waiting = self.traces.take();
            if let Some(plan) = self.control.plan().tracing.clone() {
                while !waiting.is_empty() {
                    let rest = waiting.split_off(waiting.len().min(BATCH_MAX));
                    self.tell(&plan, &waiting, &mut ended).await;
                    waiting = rest;
                }
            }
            if ends {
                return;
            }
            // Nobody ends it but by saying so, or by going away with all the rest.
            let _ = tokio::time::timeout(LOOK, ended.changed()).await;
        }
    }

    /// Tells a batch, several times if need be.
    async fn tell(&mut self, plan: &TracingPlan, batch: &[Traced], ended: &mut watch::Receiver<bool>) {
        let body: Arc<[u8]> = self.encode(plan, batch).into();
        let count = batch.len() as u64;
        for pause in PAUSES.iter().map(Some).chain([None]) {
            match send(plan.clone(), body.clone()).await {
                Fate::Taken { refused, why } => {
                    self.traces.tell(count);
                    if refused > 0 {
                        self.complain(&format!("{refused} spans were refused: {why}"));
                    }
                    return;
                }
                Fate::Refused(why) => {
                    self.traces.leave(Left::Refused, count);
                    return self.complain(&why);
                }
                Fate::NotNow(why, after) => {
                    let Some(pause) = pause.filter(|_| !*ended.borrow()) else {
                        self.traces.leave(Left::Unreachable, count);
                        return self.complain(&why);
                    };
                    let pause = after.map_or(*pause, |after| after.min(PAUSE_MAX));
                    // At the end of the process there is one more try, at once.
                    let _ = tokio::time::timeout(pause, ended.changed()).await;
                }
            }
        }
    }

    fn encode(&self, plan: &TracingPlan, batch: &[Traced]) -> Vec<u8> {
        let control = &self.control;
        let secured: Vec<_> = (control.plan().pools.iter())
            .filter(|pool| pool.tls.is_some())
            .map(|pool| pool.name.clone())
            .collect();
        let mut names = Vec::with_capacity(batch.len());
        control.with_names(|naming| {
            names.extend(batch.iter().map(|traced| Names {
                listener: naming.name(traced.taken.listener),
                route: traced.taken.route.map(|id| naming.name(id)),
                pool: traced.taken.pool.map(|id| naming.name(id)),
            }));
        });
        let resource = Resource {
            service_name: &plan.service_name,
            attributes: &plan.attributes,
            secured: &secured,
        };
        otlp::request(&resource, batch.iter().zip(&names), &|now| control.wall_time(now))
    }

    /// Tells what went wrong, now and then.
    fn complain(&mut self, why: &str) {
        let now = Instant::now();
        if self.complained.is_none_or(|at| now - at >= COMPLAINT_INTERVAL) {
            self.complained = Some(now);
            tracing::warn!(why, "traces cannot be told");
        }
    }
}

/// Sends a batch, on a thread that may wait.
async fn send(plan: TracingPlan, body: Arc<[u8]>) -> Fate {
    let asked = tokio::task::spawn_blocking(move || ask_collector(&plan, &body)).await;
    let shown = |message: String| Fate::NotNow(message, None);
    match asked {
        Ok(Ok(answer)) => judge(&answer),
        Ok(Err(message)) => shown(message),
        Err(error) => shown(error.to_string()),
    }
}

fn ask_collector(plan: &TracingPlan, body: &[u8]) -> Result<Answer, String> {
    let trust = plan.authorities.as_deref().map(trusting_file).transpose()?;
    let own = plan.headers.iter().map(|(name, source)| {
        Ok((
            name.as_str(),
            match source {
                FieldSource::Text(text) => text.clone(),
                FieldSource::File(path) => read_field(path)?,
            },
        ))
    });
    let own = own.collect::<Result<Vec<_>, String>>()?;
    let mut fields = vec![("content-type", "application/x-protobuf")];
    fields.extend(own.iter().map(|(name, value)| (*name, value.as_str())));
    let answer = ask(&Ask {
        method: "POST",
        url: &plan.url,
        fields: &fields,
        body,
        trust: trust.as_ref(),
        timeout: TIMEOUT,
    });
    answer.map_err(|wrong| wrong.told(&plan.url.shown()))
}

/// The value of a field that stands in a file, without white space around it.
///
/// # Errors
/// Why it is none.
pub(crate) fn read_field(path: &Path) -> Result<String, String> {
    let shown = path.display().to_string();
    let (_, bytes) = open(path).map_err(|wrong| wrong.told(&shown))?;
    let text = bytes.trim_ascii();
    let is_plain = text.iter().all(|byte| *byte == b' ' || byte.is_ascii_graphic());
    match std::str::from_utf8(text) {
        Ok(text) if is_plain && !text.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("{shown}: a field's value is of plain ASCII, on one line")),
    }
}

/// What an answer means (OTLP 1.x, "OTLP/HTTP Response").
fn judge(answer: &Answer) -> Fate {
    match answer.status {
        200..300 => {
            let partial = match find(&answer.body, 1) {
                Some(Found::Bytes(partial)) => partial,
                _ => &[],
            };
            let refused = match find(partial, 1) {
                Some(Found::Number(count)) => count,
                _ => 0,
            };
            let why = match find(partial, 2) {
                Some(Found::Bytes(text)) => String::from_utf8_lossy(text).into_owned(),
                _ => String::new(),
            };
            Fate::Taken { refused, why }
        }
        status @ (429 | 502 | 503 | 504) => {
            let after = answer
                .fields
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
            let after = after.and_then(|(_, value)| std::str::from_utf8(value).ok()?.trim().parse().ok());
            Fate::NotNow(
                format!("the collector answers {status}"),
                after.map(Duration::from_secs),
            )
        }
        status => Fate::Refused(format!("the collector answers {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        Answer {
            status,
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            body: body.to_vec(),
        }
    }

    #[test]
    fn what_may_be_sent_again_is_what_the_protocol_says() {
        for status in [429, 502, 503, 504] {
            assert!(matches!(judge(&answer(status, &[], b"")), Fate::NotNow(..)), "{status}");
        }
        for status in [301, 400, 401, 404, 413, 500] {
            assert!(matches!(judge(&answer(status, &[], b"")), Fate::Refused(_)), "{status}");
        }
        let later = judge(&answer(503, &[("Retry-After", "7")], b""));
        assert!(matches!(later, Fate::NotNow(_, Some(after)) if after == Duration::from_secs(7)));
    }

    #[test]
    fn spans_that_are_refused_are_told() {
        let whole = judge(&answer(200, &[], b""));
        assert!(matches!(whole, Fate::Taken { refused: 0, .. }));
        let partly = judge(&answer(200, &[], b"\x0a\x07\x08\x03\x12\x03bad"));
        assert!(matches!(partly, Fate::Taken { refused: 3, why } if why == "bad"));
    }
}
