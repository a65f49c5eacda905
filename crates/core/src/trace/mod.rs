//! Traces: what everybody who had a part in a request tells of it, each a span, to whoever gathers them.
//!
//! A request has a trace from its begin, or brings one (W3C Trace Context). Whether it is told is decided then, by the
//! sender's word or by chance, and all further parts are told the same; only what fails may be told all the same, as far
//! as it happened here.

mod context;
mod ring;

pub use context::{Context, PARENT, PARENT_BYTES, STATE};
pub use ring::{LEFT_OUT, Left, TRACES_MAX, Traced, Traces};

use crate::rng::Rng;

/// How requests are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceSettings {
    /// Which of the traces that begin here are told.
    pub sample: Share,
    /// Whether a request that fails is told though its trace is not.
    pub failures: bool,
    /// Whether traces of senders that are not trusted are gone on with.
    pub believes_anyone: bool,
}

/// A share of all traces, by their ids: whoever takes the same share takes the same traces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(f64);

/// The bits of an id that are random for sure (W3C Trace Context level 2, §3.2.2.3.1).
const RANDOM_BITS: u32 = 56;

impl Share {
    /// `ratio` of all, 0 to 1.
    pub fn of(ratio: f64) -> Self {
        Share(ratio.clamp(0.0, 1.0))
    }

    /// The ratio.
    pub fn ratio(self) -> f64 {
        self.0
    }

    /// Whether the trace is among them.
    #[expect(clippy::cast_precision_loss, reason = "56 bits against 53: shares are not that fine")]
    fn takes(self, trace: u128) -> bool {
        let space = 1_u64 << RANDOM_BITS;
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
        let drawn = trace as u64 & (space - 1);
        (drawn as f64) < self.0 * space as f64
    }
}

/// The trace of one request, as far as it is known when the request begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Its id.
    pub id: u128,
    /// Whether it is told, and how its id was drawn: [`Context::SAMPLED`], [`Context::RANDOM`].
    pub flags: u8,
    /// The sender's span, when the sender's trace is gone on with.
    pub parent: Option<u64>,
    /// What others want to be passed on with it.
    pub state: Option<Box<str>>,
    /// What a sender that is not believed calls its own trace.
    pub link: Option<Context>,
}

/// What a request brings of a trace.
#[derive(Clone, Debug, Default)]
pub struct Brought {
    /// The sender's trace and span.
    pub context: Option<Context>,
    /// What is passed on with them.
    pub state: Option<Box<str>>,
    /// Whether the sender is believed.
    pub is_trusted: bool,
}

impl TraceSettings {
    /// The trace of a request that brings this; a new one has the id `drawn`.
    pub fn begin(&self, brought: Brought, drawn: u128) -> Trace {
        let Brought {
            context,
            state,
            is_trusted,
        } = brought;
        match context {
            Some(context) if is_trusted || self.believes_anyone => Trace {
                id: context.trace,
                flags: context.flags,
                parent: Some(context.span),
                state,
                link: None,
            },
            // §4.2 of the recommendation: what is restarted has nothing of what went before, its state least of all.
            link => Trace {
                id: drawn.max(1),
                flags: Context::RANDOM | if self.sample.takes(drawn) { Context::SAMPLED } else { 0 },
                parent: None,
                state: None,
                link,
            },
        }
    }
}

impl Trace {
    /// Whether it is told, whatever becomes of the request.
    pub fn is_sampled(&self) -> bool {
        self.flags & Context::SAMPLED != 0
    }

    /// What a backend is told of it that `span` asks.
    pub fn context(&self, span: u64) -> Context {
        Context {
            trace: self.id,
            span,
            flags: self.flags,
        }
    }
}

/// A new span's id.
pub fn draw_span(rng: &mut Rng) -> u64 {
    // 0 is no id (§3.2.2.4).
    rng.bits().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(ratio: f64) -> TraceSettings {
        TraceSettings {
            sample: Share::of(ratio),
            failures: true,
            believes_anyone: false,
        }
    }

    fn brought(flags: u8, is_trusted: bool) -> Brought {
        Brought {
            context: Some(Context {
                trace: 7,
                span: 8,
                flags,
            }),
            state: Some("a=1".into()),
            is_trusted,
        }
    }

    #[test]
    fn a_trusted_sender_s_trace_is_gone_on_with_and_its_word_obeyed() {
        for (ratio, flags) in [(0.0, 1), (1.0, 0), (0.5, 3)] {
            let trace = settings(ratio).begin(brought(flags, true), 99);
            assert_eq!((trace.id, trace.parent, trace.flags), (7, Some(8), flags));
            assert_eq!(trace.state.as_deref(), Some("a=1"));
            assert!(trace.link.is_none());
        }
    }

    #[test]
    fn what_a_stranger_brings_is_linked_to_and_decides_nothing() {
        let trace = settings(0.0).begin(brought(1, false), 99);
        assert_eq!((trace.id, trace.parent, trace.state.clone()), (99, None, None));
        assert!(!trace.is_sampled());
        assert_eq!(trace.link.map(|link| link.trace), Some(7));
        let open = TraceSettings {
            believes_anyone: true,
            ..settings(0.0)
        };
        assert_eq!(open.begin(brought(1, false), 99).id, 7);
    }

    #[test]
    fn a_share_takes_about_as_many_as_it_says() {
        let mut rng = Rng::seeded(1);
        let mut draw = || u128::from(rng.bits()) << 64 | u128::from(rng.bits());
        let ids: Vec<u128> = (0..100_000).map(|_| draw()).collect();
        for ratio in [0.0, 0.01, 0.25, 1.0] {
            let taken = ids.iter().filter(|id| Share::of(ratio).takes(**id)).count();
            #[expect(clippy::cast_precision_loss, reason = "few")]
            let off = (taken as f64 / 100_000.0 - ratio).abs();
            // Five standard deviations of a share of 100,000.
            let bound = 5.0 * (ratio * (1.0 - ratio) / 100_000.0).sqrt();
            assert!(off <= bound, "{ratio}: {taken}");
        }
    }
}
