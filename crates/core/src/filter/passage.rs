//! A request's way: the listener's filters, the route, the route's filters, the action. The data plane and `explain`
//! take the same one.

use std::net::{IpAddr, SocketAddr};

use super::{Chain, Changes, Done, Edited, Errand, FilterCx, Ran, RequestView};
use crate::decision::{Decision, Stage, Verdict};
use crate::fallback::Serving;
use crate::maintenance::Maintenance;
use crate::pool::{Pool, View};
use crate::reply::Reply;
use crate::rng::Rng;
use crate::route::{Asked, RequestHead};
use crate::secured::Secured;
use crate::snapshot::{Action, HttpService, PoolIndex, Snapshot};
use crate::split::Split;
use crate::time::Now;

/// Whose request it is, and what is known of it besides its head.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'v> {
    /// The client.
    pub client: IpAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The request's id.
    pub request_id: &'v str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// What is known of the client's TLS, when it speaks it with us.
    pub tls: Option<&'v Secured>,
    /// The time.
    pub now: Now,
    /// Tells the time in seconds since 1970, which cookies count by; seldom asked.
    pub wall: fn() -> u64,
    /// Whether nobody is there, and somebody only asks what would be done: nothing is counted.
    pub is_question: bool,
}

/// How far a request has come. It is kept while an errand is done, and then goes on from there.
#[derive(Debug, Default)]
pub struct Progress {
    /// What filters have made of it.
    pub changes: Box<Changes>,
    /// The id that was drawn for it.
    pub id: Option<[u8; 32]>,
    /// Whether what is considered on its way is recorded.
    pub is_recorded: bool,
    /// Its route's position in [`Snapshot::routes`], once it has one.
    pub route: Option<usize>,
    /// Its route's pool, once that was drawn.
    pool: Option<PoolIndex>,
    /// How much of its path the route's match named.
    prefix: usize,
    /// The filter that is on an errand.
    at: usize,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Decided {
    /// It is for the health path, which we answer ourselves.
    Health,
    /// No route matches.
    NoRoute,
    /// A filter answers it.
    Filtered(Reply),
    /// It goes on once this has been done.
    Errand(Errand),
    /// It goes to a backend of a pool.
    Forward(Serving),
    /// It would go to a pool, and no pool of the split gets any.
    NoPool,
    /// The route answers it.
    Answer(Reply),
}

impl Progress {
    /// Nothing has been done, and this is to keep the changes in.
    pub fn new(changes: Box<Changes>) -> Self {
        Progress {
            changes,
            id: None,
            is_recorded: false,
            route: None,
            pool: None,
            prefix: 0,
            at: 0,
        }
    }
}

/// One request on its way.
struct Passage<'p> {
    snapshot: &'p Snapshot,
    asked: &'p Asked<'p>,
    visitor: Visitor<'p>,
    rng: &'p mut Rng,
    record: Option<&'p mut Decision>,
}

impl Snapshot {
    /// What becomes of a request at `service`, from where its `progress` ended on an errand that is `done` now.
    pub fn decide(
        &self,
        service: &HttpService,
        asked: &Asked<'_>,
        visitor: Visitor<'_>,
        rng: &mut Rng,
        (progress, mut done): (&mut Progress, Option<Done>),
        record: Option<&mut Decision>,
    ) -> Decided {
        let mut passage = Passage {
            snapshot: self,
            asked,
            visitor,
            rng,
            record,
        };
        if progress.route.is_none() {
            if done.is_none() && service.is_health(asked) {
                return Decided::Health;
            }
            if done.is_none() && !self.node.trusts(visitor.peer.ip()) {
                self.node
                    .vouched
                    .iter()
                    .for_each(|name| progress.changes.request.remove(name));
            }
            if let Some(decided) = passage.filter(&service.filters, progress, done.take()) {
                return decided;
            }
            // The listener's filters have had their say on the fields.
            let fields = Edited {
                fields: asked.fields,
                edits: &progress.changes.request,
            };
            let head = RequestHead {
                fields: &fields,
                tls: passage.visitor.tls,
                ..asked.head()
            };
            let Some(taken) = service.routes.find(&head, passage.record.as_deref_mut()) else {
                return Decided::NoRoute;
            };
            progress.route = Some(taken.route.index);
            if let Some(reply) = passage.closed(&taken.route.maintenance, progress) {
                return Decided::Answer(reply);
            }
            progress.prefix = taken.prefix(&asked.path).len();
            progress.at = 0;
            progress.pool = match &taken.route.action {
                Action::Pool(pool) => Some(*pool),
                Action::Split(split) => passage.belongs(split).or_else(|| split.draw(passage.rng)),
                Action::Redirect(_) | Action::Respond(_) => None,
            };
        }
        passage.act(progress, done)
    }
}

impl Passage<'_> {
    /// The pool of `split` that the request's sticky session is with; one that gets no requests any more keeps none.
    fn belongs(&mut self, split: &Split) -> Option<PoolIndex> {
        let Visitor { client, now, wall, .. } = self.visitor;
        let shares = split.shares();
        let drawn = shares.iter().filter(|share| share.weight > 0);
        let mut sticky = drawn.filter_map(|share| Some((share.pool, self.snapshot.pools[share.pool].sticky()?)));
        let (pool, _) = sticky.find(|(_, sticky)| {
            let tie = sticky.tie(self.asked.fields, client, wall(), self.rng);
            sticky.knows(&tie, now)
        })?;
        if let Some(decision) = self.record.as_deref_mut() {
            let why = "its sticky session is with this pool: nothing is drawn";
            decision.step(Stage::Pick, &*self.snapshot.pools[pool].name, Verdict::Taken, why);
        }
        Some(pool)
    }

    /// What a closed route tells whomever it does not let in. Nothing behind it is asked, its filters among that.
    fn closed(&mut self, maintenance: &Maintenance, progress: &mut Progress) -> Option<Reply> {
        if !maintenance.is_closed() {
            return None;
        }
        let client = self.visitor.client;
        let is_let_in = maintenance.lets_in(client);
        if let Some(decision) = self.record.as_deref_mut() {
            let (verdict, what) = if is_let_in {
                (Verdict::Passed, format!("{client} is let in all the same"))
            } else {
                (Verdict::Refused, "its filters are not asked".into())
            };
            let why = format!("{}: {what}", maintenance.closed_by());
            decision.step(Stage::Filter, "maintenance", verdict, why);
        }
        (!is_let_in).then(|| self.with_values(progress, |values| maintenance.reply(values)))
    }

    /// The pool that serves for `pool`: a fallback when it cannot, unless the request's session belongs to it.
    fn serving(&mut self, pool: PoolIndex) -> Serving {
        let Visitor { client, now, wall, .. } = self.visitor;
        let (fields, rng) = (self.asked.fields, &mut *self.rng);
        let keeps = |pool: &Pool, view: &View| {
            let sticky = pool.sticky();
            sticky.is_some_and(|sticky| pool.keeps(&sticky.tie(fields, client, wall(), rng), view, now))
        };
        self.snapshot.serving(pool, keeps, self.record.as_deref_mut())
    }

    /// Runs the route's filters, and then its action.
    fn act(&mut self, progress: &mut Progress, done: Option<Done>) -> Decided {
        let Some(route) = progress.route.and_then(|at| self.snapshot.routes.get(at)) else {
            return Decided::NoRoute;
        };
        if let Some(decided) = self.filter(&route.filters, progress, done) {
            return decided;
        }
        let reply = match &route.action {
            Action::Pool(_) | Action::Split(_) => {
                let serving = progress.pool.map(|pool| self.serving(pool));
                return serving.map_or(Decided::NoPool, Decided::Forward);
            }
            Action::Redirect(redirect) => self.with_values(progress, |values| redirect.reply(values)),
            Action::Respond(respond) => self.with_values(progress, |values| respond.reply(values)),
        };
        Decided::Answer(reply)
    }

    /// Runs a chain; what it decided, unless the request goes on.
    fn filter(&mut self, chain: &Chain, progress: &mut Progress, done: Option<Done>) -> Option<Decided> {
        if chain.is_empty() {
            return None;
        }
        let (snapshot, asked, from) = (self.snapshot, self.asked, progress.at);
        let mut cx = context(snapshot, self.visitor, self.rng, (progress.route, progress.pool));
        let mut head = RequestView {
            asked,
            changes: &mut progress.changes,
            prefix: asked.path.get(..progress.prefix).unwrap_or_default(),
        };
        match chain.run(from, done, &mut head, &mut cx, self.record.as_deref_mut()) {
            Ran::Through => None,
            Ran::Reply(reply) => Some(Decided::Filtered(reply)),
            Ran::Errand(at, errand) => {
                progress.at = at;
                Some(Decided::Errand(errand))
            }
        }
    }

    fn with_values(
        &mut self,
        progress: &mut Progress,
        answer: impl FnOnce(&crate::template::Values<'_>) -> Reply,
    ) -> Reply {
        let cx = context(self.snapshot, self.visitor, self.rng, (progress.route, progress.pool));
        let head = RequestView {
            asked: self.asked,
            changes: &mut progress.changes,
            prefix: "",
        };
        let fields = head.fields();
        answer(&cx.values(&head, &fields))
    }
}

fn context<'c>(
    snapshot: &'c Snapshot,
    visitor: Visitor<'c>,
    rng: &'c mut Rng,
    (route, pool): (Option<usize>, Option<PoolIndex>),
) -> FilterCx<'c> {
    let route = route.and_then(|at| snapshot.routes.get(at)).map(|route| &*route.name);
    let pool = pool.and_then(|at| snapshot.pools.get(at)).map(|pool| &*pool.name);
    FilterCx {
        now: visitor.now,
        rng,
        client: visitor.client,
        peer: visitor.peer,
        request_id: visitor.request_id,
        scheme: visitor.scheme,
        tls: visitor.tls,
        route: route.unwrap_or_default(),
        pool: pool.unwrap_or_default(),
        dry_run: false,
        is_question: visitor.is_question,
        said: None,
    }
}
