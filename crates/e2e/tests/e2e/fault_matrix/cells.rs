//! What can go wrong, to which request, on which route; and what may come of it.

use std::fmt;

/// What a backend does to a request. Its number is the first digit of a request's `x-case`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    ResetBeforeAnswer,
    ResetAfterHead,
    ResetInBody,
    /// Half of what `content-length` promises, and an orderly end.
    HalfAnswer,
    Silence,
    Unavailable,
    /// Nobody listens.
    Refused,
    ResetInUpload,
    /// Of HTTP/2: the backend says that it has done nothing of it.
    RefusedStream,
    /// 503, and the connection is kept: only where stale connections are wanted.
    UnavailableAndKept,
}

impl Fault {
    pub(super) const ALL: [Fault; 10] = [
        Fault::ResetBeforeAnswer,
        Fault::ResetAfterHead,
        Fault::ResetInBody,
        Fault::HalfAnswer,
        Fault::Silence,
        Fault::Unavailable,
        Fault::Refused,
        Fault::ResetInUpload,
        Fault::RefusedStream,
        Fault::UnavailableAndKept,
    ];

    /// The pool whose first backend does it.
    pub(super) fn pool(self) -> &'static str {
        match self {
            Fault::Silence => "silent",
            Fault::Refused => "refusing",
            _ => "faulty",
        }
    }
}

/// A method, and whether an `Idempotency-Key` comes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    pub(super) name: &'static str,
    pub(super) keyed: bool,
    pub(super) idempotent: bool,
}

const fn method(name: &'static str, keyed: bool, idempotent: bool) -> Method {
    Method {
        name,
        keyed,
        idempotent,
    }
}

pub(super) const METHODS: [Method; 7] = [
    method("GET", false, true),
    method("HEAD", false, true),
    method("PUT", false, true),
    method("DELETE", false, true),
    method("POST", false, false),
    method("PATCH", false, false),
    method("POST", true, false),
];

/// Up to 64 KiB a body is kept to be sent again.
pub(super) const KEPT: usize = 64 << 10;
pub(super) const SIZES: [usize; 5] = [0, 1 << 10, KEPT, KEPT + 1, 1 << 20];

/// What a route says of retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Nothing,
    Never,
    Wide,
    Keyed,
    All,
}

impl Word {
    pub(super) const ALL: [Word; 5] = [Word::Nothing, Word::Never, Word::Wide, Word::Keyed, Word::All];

    /// The route's path.
    pub(super) fn path(self) -> &'static str {
        match self {
            Word::Nothing => "nothing",
            Word::Never => "never",
            Word::Wide => "wide",
            Word::Keyed => "keyed",
            Word::All => "all",
        }
    }

    /// The route's words.
    pub(super) fn lines(self) -> &'static str {
        match self {
            Word::Nothing => "",
            Word::Never => "retry = { attempts = 0 }",
            Word::Wide => r#"retry = { on = ["connect", "reset", "timeout", "503"] }"#,
            Word::Keyed => {
                r#"retry = { on = ["connect", "reset", "timeout", "503"], non_idempotent = "idempotency-key" }"#
            }
            Word::All => r#"retry = { on = ["connect", "reset", "timeout", "503"], non_idempotent = true }"#,
        }
    }

    fn is_wide(self) -> bool {
        matches!(self, Word::Wide | Word::Keyed | Word::All)
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) fault: Fault,
    pub(super) method: Method,
    pub(super) size: usize,
    pub(super) word: Word,
}

/// What the client has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// 200, and all of its body.
    Whole,
    /// 200, and an error in the middle of its body.
    Broken,
    /// The backend's 503, whole.
    TheirUnavailable,
    /// An answer of Plimsoll's own.
    Ours(u16, &'static str),
    /// What nobody expects.
    Else(String),
}

impl Got {
    /// Whether it is an answer of Plimsoll's own.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Got::Ours(..))
    }
}

/// What may come of a cell: what the client gets, and how many heads of it came to the faulty backend and to the good one.
pub(super) type Outcome = (Got, u32, u32);

const RESET: Got = Got::Ours(502, "backend_reset");
const TIMED_OUT: Got = Got::Ours(504, "response_timeout");

impl Cell {
    /// All of them, for backends that speak HTTP/2 or not.
    pub(super) fn all(h2: bool) -> Vec<Cell> {
        let faults = Fault::ALL.into_iter().filter(move |fault| match fault {
            Fault::RefusedStream => h2,
            Fault::UnavailableAndKept => false,
            _ => true,
        });
        let sized = METHODS.into_iter().flat_map(|method| {
            // What a body of HEAD would mean nobody knows (RFC 9110 §9.3.2).
            let sizes = if method.name == "HEAD" { &SIZES[..1] } else { &SIZES[..] };
            sizes.iter().map(move |size| (method, *size))
        });
        let sized: Vec<(Method, usize)> = sized.collect();
        let mut cells = Vec::new();
        for fault in faults {
            for &(method, size) in &sized {
                cells.extend(Word::ALL.map(|word| Cell {
                    fault,
                    method,
                    size,
                    word,
                }));
            }
        }
        cells
    }

    /// Whether it may be processed twice.
    pub(super) fn is_repeatable(&self) -> bool {
        self.method.idempotent
            || match self.word {
                Word::Nothing | Word::Never | Word::Wide => false,
                Word::Keyed => self.method.keyed,
                Word::All => true,
            }
    }

    /// What may come of it.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        let retries = self.word != Word::Never;
        let reset = self.retried(retries && self.is_repeatable(), (RESET, 1));
        match self.fault {
            // Nothing was sent: any method, of any length.
            Fault::Refused if retries => vec![(Got::Whole, 0, 1)],
            Fault::Refused => vec![(Got::Ours(502, "connect_failed"), 0, 0)],
            Fault::RefusedStream => self.retried(retries, (RESET, 1)),
            Fault::ResetBeforeAnswer | Fault::ResetInUpload => reset,
            // A head is all that there is of an answer to HEAD.
            _ if self.is_answered_by_head() => vec![(Got::Whole, 1, 0)],
            Fault::HalfAnswer => vec![(Got::Broken, 1, 0)],
            Fault::ResetAfterHead | Fault::ResetInBody => {
                // A reset may overtake the head that was sent before it.
                let mut outcomes = reset;
                outcomes.push((Got::Broken, 1, 0));
                outcomes
            }
            Fault::Silence => {
                let retried = retries && self.word.is_wide() && self.is_repeatable();
                let mut outcomes = self.retried(retried, (TIMED_OUT, 1));
                // On a machine that is busy enough the good one is late as well.
                outcomes.extend(retried.then_some((TIMED_OUT, 1, 1)));
                outcomes
            }
            Fault::Unavailable | Fault::UnavailableAndKept => self.retried(
                retries && self.word.is_wide() && self.is_repeatable(),
                (Got::TheirUnavailable, 1),
            ),
        }
    }

    fn is_answered_by_head(&self) -> bool {
        let after = matches!(
            self.fault,
            Fault::ResetAfterHead | Fault::ResetInBody | Fault::HalfAnswer
        );
        after && self.method.name == "HEAD"
    }

    /// `failed` with so many heads at the faulty backend, or the good one's answer when it is `retried`. What is longer than
    /// is kept may or may not be: it depends on how much of it was sent.
    fn retried(&self, retried: bool, (failed, heads): (Got, u32)) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        if retried {
            outcomes.push((Got::Whole, heads, 1));
        }
        if !retried || self.size > KEPT {
            outcomes.push((failed, heads, 0));
        }
        outcomes
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.method.keyed { " with a key" } else { "" };
        let (fault, method, size) = (self.fault, self.method.name, self.size);
        write!(out, "{fault:?} × {method}{key} × {size} bytes × {:?}", self.word)
    }
}
