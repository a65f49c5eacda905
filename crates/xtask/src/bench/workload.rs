//! What is measured, and what `performance` promises about it.

/// How the proxy is loaded and what is read off it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Processor time for a request, under `wrk`.
    CpuPerRequest,
    /// Resident memory for an idle kept connection.
    IdleMemory,
    /// From starting the process to the first answer.
    StartUp,
    /// What one client on one connection waits.
    Latency,
}

/// One thing to measure.
pub(crate) struct Workload {
    /// Its name on the command line and in the table.
    pub(crate) name: &'static str,
    /// One line for people.
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// Layer 4: bytes are relayed, not messages.
    pub(crate) layer4: bool,
    /// Clients speak HTTP/2, by prior knowledge.
    pub(crate) http2: bool,
    /// What the client asks for.
    pub(crate) path: &'static str,
    /// Every request comes on a connection of its own.
    pub(crate) close: bool,
    /// The route does what routes in use do: it edits two headers, limits the rate, and keeps sessions.
    pub(crate) typical: bool,
    /// Sizes that are compared with the first.
    pub(crate) variants: &'static [Variant],
    /// The most that ours may cost, as a ratio to a peer's cost.
    pub(crate) budgets: &'static [(&'static str, f64)],
    /// The most that the last variant may cost, as a ratio to the first of the same proxy.
    pub(crate) growth_max: Option<f64>,
    /// What is not equal among the peers, and what else a reader of the table has to know.
    pub(crate) note: &'static str,
}

/// The size of what is configured.
pub(crate) struct Variant {
    pub(crate) label: &'static str,
    pub(crate) routes: usize,
    pub(crate) backends: usize,
    pub(crate) workers: usize,
    /// A copy of every request goes to a target that takes it and never answers.
    pub(crate) mirrored: bool,
}

const PLAIN: Variant = Variant {
    label: "",
    routes: 1,
    backends: 2,
    workers: 1,
    mirrored: false,
};

const BASE: Workload = Workload {
    name: "",
    about: "",
    kind: Kind::CpuPerRequest,
    layer4: false,
    http2: false,
    path: "/small",
    close: false,
    typical: false,
    variants: &[PLAIN],
    budgets: &[],
    growth_max: None,
    note: "",
};

/// All of them, in the table's order.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "h1-small",
        about: "HTTP/1.1, 160-byte responses, 64 kept connections",
        budgets: &[("nginx", 0.85), ("haproxy", 0.78)],
        ..BASE
    },
    Workload {
        name: "h1-1mib",
        about: "HTTP/1.1, 1 MiB responses, 64 kept connections",
        path: "/large",
        budgets: &[("haproxy-splice", 1.1)],
        ..BASE
    },
    Workload {
        name: "h1-close",
        about: "HTTP/1.1, a new connection for each request",
        close: true,
        budgets: &[("nginx", 0.9)],
        ..BASE
    },
    Workload {
        name: "h2-small",
        about: "HTTP/2 from clients, 160-byte responses, 16 connections with 10 streams each",
        http2: true,
        budgets: &[("haproxy", 0.85)],
        ..BASE
    },
    Workload {
        name: "h1-typical",
        about: "h1-small with two header edits, a rate limit by client and sticky sessions by cookie",
        typical: true,
        note: "clients bring the cookie that they were given. nginx has no sticky cookie: `userid` reads and logs one \
               and a consistent hash over it stands in for the least connections. Its rate limit and ours are buckets, \
               HAProxy's is a rate over a second",
        ..BASE
    },
    Workload {
        name: "mirror",
        about: "a mirror of all requests that never answers, against none",
        variants: &[
            Variant { label: "off", ..PLAIN },
            Variant {
                label: "hangs",
                mirrored: true,
                ..PLAIN
            },
        ],
        growth_max: Some(1.05),
        note: "HAProxy mirrors through an agent of its own protocol alone, and nginx holds a client's next request \
               until the mirror has answered the last one",
        ..BASE
    },
    Workload {
        name: "tcp-small",
        about: "layer 4 relay of small exchanges, 64 connections",
        layer4: true,
        budgets: &[("haproxy", 1.0)],
        ..BASE
    },
    Workload {
        name: "latency",
        about: "added latency of one client on one connection",
        kind: Kind::Latency,
        budgets: &[("haproxy", 1.0)],
        ..BASE
    },
    Workload {
        name: "idle",
        about: "memory of an idle kept connection",
        kind: Kind::IdleMemory,
        ..BASE
    },
    Workload {
        name: "routes",
        about: "10,000 routes against 10",
        variants: &[
            Variant {
                label: "10",
                routes: 10,
                ..PLAIN
            },
            Variant {
                label: "10000",
                routes: 10_000,
                ..PLAIN
            },
        ],
        growth_max: Some(1.15),
        ..BASE
    },
    Workload {
        name: "backends",
        about: "10,000 backends against 10",
        variants: &[
            Variant {
                label: "10",
                backends: 10,
                ..PLAIN
            },
            Variant {
                label: "10000",
                backends: MANY_BACKENDS,
                ..PLAIN
            },
        ],
        growth_max: Some(1.15),
        ..BASE
    },
    Workload {
        name: "workers",
        about: "two workers against one",
        variants: &[
            Variant { label: "1", ..PLAIN },
            Variant {
                label: "2",
                workers: 2,
                ..PLAIN
            },
        ],
        growth_max: Some(1.05),
        ..BASE
    },
    Workload {
        name: "start-up",
        about: "from start to the first answer, with 10 and with 10,000 routes",
        kind: Kind::StartUp,
        variants: &[
            Variant {
                label: "10",
                routes: 10,
                ..PLAIN
            },
            Variant {
                label: "10000",
                routes: 10_000,
                ..PLAIN
            },
        ],
        ..BASE
    },
];

/// More backends than this would not fit the descriptors of the usual machine (20,000).
pub(crate) const MANY_BACKENDS: usize = 10_000;

impl Workload {
    /// What the first value of a sample is.
    pub(crate) fn unit(&self) -> &'static str {
        match self.kind {
            Kind::CpuPerRequest => "µs/request",
            Kind::IdleMemory => "bytes/connection",
            Kind::StartUp => "ms",
            Kind::Latency => "µs p50",
        }
    }

    /// What the two further values of a sample are.
    pub(crate) fn detail(&self) -> &'static str {
        match self.kind {
            Kind::CpuPerRequest => "user/sys",
            Kind::IdleMemory => "KiB before/after",
            Kind::StartUp => "",
            Kind::Latency => "p50/p99",
        }
    }

    /// Whether backends have to answer at thousands of addresses.
    pub(crate) fn needs_many_backends(&self) -> bool {
        self.variants.iter().any(|variant| variant.backends > 10)
    }
}
