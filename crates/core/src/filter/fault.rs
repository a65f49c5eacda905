//! `fault`: a share of requests is delayed or fails, to see what clients make of it.

use std::time::Duration;

use super::{Done, Errand, FieldName, Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document;
use crate::document::{Decode, Faults, Json, Node};
use crate::outcome::Reason;
use crate::reply::Reply;
use crate::route::Fields;

/// The longest delay: a request that waits costs a connection all the while.
const DELAY_MAX: Duration = Duration::from_secs(600);

document! {
    /// A share of requests is delayed, or answered with an error, or both.
    struct Settings {
        /// How many of a hundred requests: 100 unless set.
        percent: Percent = Percent(100.0),
        /// How long they wait: not at all unless set.
        delay: Option<Delay>,
        /// The status that they get, 200 to 599; they go on unless set.
        abort: Option<Status>,
        /// Requests without this header field are left alone.
        header: Option<FieldName>,
    }
}

/// The faults as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault(Settings);

/// So many of a hundred.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Percent(f64);

/// How long a request waits.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Delay(Duration);

/// The status of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Status(u16);

impl FilterKind for Fault {
    fn build(&self, _: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Filter for Fault {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let Fault(settings) = self;
        if let Some(FieldName(name)) = &settings.header {
            let mut is_meant = false;
            head.fields().each(name, &mut |_| {
                is_meant = true;
                false
            });
            if !is_meant {
                cx.say(|| format!("the request has no {name}"));
                return Flow::Next;
            }
        }
        let Percent(percent) = settings.percent;
        let drawn = cx.rng.unit() * 100.0 < percent;
        cx.say(|| {
            format!(
                "{percent} of 100 requests, and {}",
                if drawn { "this one" } else { "not this one" }
            )
        });
        match settings.delay {
            _ if !drawn => Flow::Next,
            Some(Delay(delay)) => Flow::Errand(Errand::Wait(delay)),
            None => self.end(),
        }
    }

    fn resume(&self, _: Done, _: &mut RequestView<'_>, _: &mut FilterCx<'_>) -> Flow {
        self.end()
    }
}

impl Fault {
    fn end(&self) -> Flow {
        match self.0.abort {
            Some(Status(status)) => Flow::Reply(Reply::of_status(status, Reason::FaultInjected)),
            None => Flow::Next,
        }
    }
}

impl Decode for Fault {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let settings = Settings::decode(node, faults)?;
        if node.field("delay").is_none() && node.field("abort").is_none() {
            faults
                .error(node.span, "the fault does nothing")
                .help("give it `delay`, `abort`, or both");
            return None;
        }
        Some(Fault(settings))
    }

    fn schema() -> Json {
        Settings::schema()
    }
}

impl Decode for Percent {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let percent = f64::decode(node, faults)?;
        let possible = (0.0..=100.0).contains(&percent);
        if !possible {
            faults
                .error(node.span, format!("{percent} is no share of a hundred"))
                .help("write 0 to 100");
        }
        possible.then_some(Percent(percent))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "number", "minimum": 0, "maximum": 100 })
    }
}

impl Decode for Delay {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let delay = Duration::decode(node, faults)?;
        if delay > DELAY_MAX {
            faults.error(node.span, format!("a delay is {} s at the most", DELAY_MAX.as_secs()));
        }
        (delay <= DELAY_MAX).then_some(Delay(delay))
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

impl Decode for Status {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let status = u16::decode(node, faults)?;
        let possible = (200..600).contains(&status);
        if !possible {
            faults
                .error(node.span, format!("{status} is no status of an answer"))
                .help("write 200 to 599");
        }
        possible.then_some(Status(status))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "integer", "minimum": 200, "maximum": 599 })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{KeepOne, Request, build, read};
    use super::*;

    fn fault(json: &Json) -> Box<dyn Filter> {
        build::<Fault>(json, &mut KeepOne::default())
    }

    #[test]
    fn those_that_are_drawn_wait_and_then_fail() {
        let both = fault(&json!({ "delay": "200ms", "abort": 503 }));
        let waits = Request::get().ask(&*both);
        assert!(matches!(&waits.flow, Flow::Errand(Errand::Wait(span)) if span.as_millis() == 200));
        assert_eq!(Request::get().resume(&*both, Done::Waited).status(), 503);
        let teapot = Request::get().ask(&*fault(&json!({ "abort": 418 })));
        let Flow::Reply(reply) = &teapot.flow else {
            panic!("{teapot:?}")
        };
        assert_eq!((reply.status, reply.reason), (418, Some(Reason::FaultInjected)));
        assert!(reply.body.starts_with("418 fault_injected: "), "{}", reply.body);
        let slow = fault(&json!({ "delay": "1s" }));
        assert_eq!(Request::get().resume(&*slow, Done::Waited).status(), 0);
        assert_eq!(
            Request::get()
                .ask(&*fault(&json!({ "percent": 0, "abort": 503 })))
                .status(),
            0
        );
    }

    #[test]
    fn requests_without_the_header_are_left_alone() {
        let filter = fault(&json!({ "abort": 500, "header": "x-chaos" }));
        assert_eq!(Request::get().ask(&*filter).status(), 0);
        assert_eq!(Request::get().with("x-chaos", "1").ask(&*filter).status(), 500);
    }

    #[test]
    fn the_share_is_the_one_that_is_configured() {
        let filter = fault(&json!({ "percent": 5, "abort": 500 }));
        let mut rng = crate::rng::Rng::seeded(3);
        let hit = (0..10_000)
            .filter(|_| Request::get().drawing(&mut rng).ask(&*filter).status() == 500)
            .count();
        assert!((400..600).contains(&hit), "{hit}");
    }

    #[test]
    fn what_makes_no_fault_is_refused() {
        for (settings, wrong) in [
            (json!({ "percent": 5 }), "does nothing"),
            (json!({ "percent": 101, "abort": 500 }), "no share"),
            (json!({ "abort": 101 }), "no status"),
            (json!({ "delay": "1h" }), "600 s at the most"),
        ] {
            let told = read::<Fault>(&settings).unwrap_err().join("; ");
            assert!(told.contains(wrong), "{settings}: {told}");
        }
    }
}
