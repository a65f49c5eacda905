//! Which requests are told to whoever gathers traces, and what backends are told of them.
//!
//! A node that tells nobody pays for the look alone. A request whose trace is told keeps what it asked for from its
//! begin; of another one that fails, which is known at its end, it is told what is known by then.

use plimsoll_core::decision::{Sent, shortened};
use plimsoll_core::exemplar::Witness;
use plimsoll_core::pool::Lease;
use plimsoll_core::snapshot::NodeSettings;
use plimsoll_core::time::Now;
use plimsoll_core::trace::{Brought, Context, Left, PARENT, STATE, Trace, TraceSettings, Traced, draw_span};
use plimsoll_http::h1::{RequestHead, TraceOut};

use crate::client::Client;
use crate::decisions;
use crate::http::{Forward, Request, Upload};
use crate::log::Finished;
use crate::worker::Pinned;

/// A request's trace, and where it is told of it upstream.
pub(crate) struct Tracing {
    pub(crate) trace: Trace,
    /// Where the id of the span that asks stands in its head as it goes upstream.
    pub(crate) span_at: Option<usize>,
    /// Its path, where filters have changed it.
    pub(crate) path: Option<String>,
}

/// The longest state that is passed on to whoever gathers traces (W3C Trace Context §3.3.1.5 has 512 as what everybody
/// takes).
const STATE_MAX: usize = 512;

/// The trace of the request with this head, when requests have one; a new one is called what was `drawn` for the
/// request, so that whoever knows one id knows the other.
pub(crate) fn begin(
    node: &NodeSettings,
    head: &RequestHead<'_>,
    is_trusted: bool,
    drawn: &[u8; 32],
) -> Option<Box<Tracing>> {
    let settings = node.tracing.as_ref()?;
    let trace = settings.begin(brought(head, is_trusted), number(drawn));
    Some(Box::new(Tracing::new(trace)))
}

fn brought(head: &RequestHead<'_>, is_trusted: bool) -> Brought {
    let fields = |name: &'static str| {
        let fields = head.fields.iter();
        fields.filter(move |field| field.name.eq_ignore_ascii_case(name))
    };
    let mut parents = fields(PARENT);
    let (first, second) = (parents.next(), parents.next());
    let first = first.filter(|_| second.is_none());
    let Some(context) = first.and_then(|field| Context::read(field.value)) else {
        return Brought::default();
    };
    // Several fields are one list (§3.3.1).
    let lists: Vec<&[u8]> = fields(STATE).map(|field| field.value).collect();
    let state = String::from_utf8(lists.join(&b','));
    Brought {
        context: Some(context),
        state: (state.ok())
            .filter(|state| (1..=STATE_MAX).contains(&state.len()))
            .map(Into::into),
        is_trusted,
    }
}

fn number(digits: &[u8; 32]) -> u128 {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    u128::from_str_radix(text, 16).unwrap_or_default()
}

impl Tracing {
    fn new(trace: Trace) -> Self {
        Tracing {
            trace,
            span_at: None,
            path: None,
        }
    }

    /// What is said of it upstream, but for the span.
    pub(crate) fn out(&self) -> TraceOut {
        TraceOut {
            context: self.trace.context(0),
            keeps_state: self.trace.parent.is_some(),
        }
    }
}

impl Request {
    /// Whether its trace is told, whatever becomes of it.
    pub(crate) fn is_sampled(&self) -> bool {
        self.tracing.as_ref().is_some_and(|tracing| tracing.trace.is_sampled())
    }
}

impl Request {
    /// By what it can be looked at when it has ended, if it can: its trace is told, or its decision is kept.
    pub(crate) fn witness(&self, ended: Now) -> Option<Witness> {
        if !self.is_sampled() && self.record.is_none() {
            return None;
        }
        let trace = self.tracing.as_ref().filter(|tracing| tracing.trace.is_sampled());
        let kept = self.log.as_ref().filter(|_| self.record.is_some());
        Witness::of(
            trace.map(|tracing| tracing.trace.id),
            kept.map(|log| log.request_id.as_str()),
            ended,
        )
    }
}

impl Forward<'_> {
    /// The request goes to the backend of `lease` next, and says so: under which name it asks, and in which span.
    pub(crate) fn address(&mut self, upload: &mut Upload, lease: &Lease) {
        upload.go_to(lease.backend().address);
        self.finished.connect = None;
        if self.request.tracing.is_some() {
            self.span = draw_span(&mut self.worker.rng.borrow_mut());
            upload.ask_in(self.span);
        }
    }

    /// How the attempt that is under way since `begun` was sent, for the request's trace.
    pub(crate) fn sent(&self, lease: &Lease, begun: Now) -> Option<Sent> {
        self.request.tracing.as_ref().map(|_| Sent {
            span: self.span,
            begun,
            connect: self.finished.connect,
            to: lease.backend().address,
        })
    }
}

/// Has a request that has ended told to whoever gathers traces, if it is one of those that are.
pub(crate) fn request(client: &Client, pinned: &Pinned, request: &Request, finished: &Finished, ended: Now) {
    let Some(settings) = &pinned.snapshot.node.tracing else {
        return;
    };
    match &request.tracing {
        Some(tracing) => tell((client, settings), (pinned, request), finished, (tracing, ended)),
        // A head that nobody could read has brought no trace.
        None if failed(finished) => {
            let drawn = u128::from_be_bytes(client.worker.random());
            let tracing = Tracing::new(settings.begin(Brought::default(), drawn));
            tell((client, settings), (pinned, request), finished, (&tracing, ended));
        }
        None => {}
    }
}

fn failed(finished: &Finished) -> bool {
    finished.reason.is_some() || finished.status >= 500
}

fn tell(
    (client, settings): (&Client, &TraceSettings),
    (pinned, request): (&Pinned, &Request),
    finished: &Finished,
    (tracing, ended): (&Tracing, Now),
) {
    let worker = &client.worker;
    let traces = &worker.shared.wiring.traces;
    if !tracing.trace.is_sampled() {
        if !settings.failures || !failed(finished) {
            return;
        }
        if !worker.ration.takes_trace(ended) {
            return traces.leave(Left::Rationed, 1);
        }
    }
    let taken = decisions::taken(client, pinned, request, finished, ended.since(request.started));
    let span = draw_span(&mut worker.rng.borrow_mut());
    traces.put(
        worker.index,
        Traced {
            trace: tracing.trace.clone(),
            span,
            is_secure: client.tls.is_some(),
            path: tracing.path.clone().map(shortened),
            user_agent: request
                .log
                .as_ref()
                .and_then(|log| log.user_agent.clone().map(shortened)),
            taken,
        },
    );
}
