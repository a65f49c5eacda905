//! Routes and their rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_core::backoff::Backoff;
use plimsoll_core::document::{Located, Span};
use plimsoll_core::error_page::For;
use plimsoll_core::filter::{FieldMap, FieldName, FileName, FilterEntry};
use plimsoll_core::hedge::HedgePolicy;
use plimsoll_core::maintenance::Notice;
use plimsoll_core::priority::Priority;
use plimsoll_core::reply::Respond;
use plimsoll_core::retry::RetryPolicy;
use plimsoll_core::reversal::HostSent;
use plimsoll_core::route::{HostMatch, PathMatch, Rule, ValueMatch};
use plimsoll_core::snapshot::{Action, Mirror, PoolIndex};
use plimsoll_core::split::{Share, Split};
use plimsoll_core::template::Template;

use super::super::file::{
    self, ErrorPages, File, FilterUse, Keyed, Maintenance, Many, Match, Page, PageText, Part, RetryOn, RetryTable,
    Route, Upgrade, ValueRule,
};
use super::super::plan::{Origin, PagePlan, PageSource, RouteIndex, RoutePlan};
use super::super::source::Sources;
use super::route_name;

/// All routes of the file, in its order.
pub(super) fn routes(file: &File, sources: &Sources, pools: &BTreeMap<&str, PoolIndex>) -> Vec<RoutePlan> {
    file.routes
        .0
        .iter()
        .enumerate()
        .filter_map(|(position, item)| {
            let route = item.value.as_ref()?;
            Some(RoutePlan {
                name: route_name(route, position),
                origin: sources.origin(item.span),
                filters: filters(file, sources, &route.filters),
                action: action(route, pools)?,
                timeout: route.timeout.as_ref().map(|timeout| timeout.value.0),
                retry: retry(&route.retry),
                hedge: route.hedge.as_ref().map(|hedge| HedgePolicy {
                    after: hedge.value.after.value.0,
                    max_percent: hedge.value.max_percent.0,
                }),
                upgrade_websocket: route
                    .upgrade
                    .as_ref()
                    .is_none_or(|upgrades| upgrades.0.contains(&Upgrade::WebSocket)),
                mirror: route.mirror.as_ref().and_then(|mirror| {
                    Some(Mirror {
                        pool: *pools.get(mirror.pool.value.as_str())?,
                        percent: mirror.percent.0,
                    })
                }),
                priority: route.priority.as_ref().map_or_else(Priority::default, priority),
                host: route.host.0.clone(),
                closed: route.maintenance.as_ref().is_some_and(|entry| entry.0.enabled),
                notice: (route.maintenance.as_ref()).map_or_else(Notice::default, |entry| notice(&entry.0)),
                error_pages: error_pages(&route.error_pages, sources),
            })
        })
        .collect()
}

/// The route of a listener that names a pool itself.
pub(super) fn catch_all(listener: &str, pool: PoolIndex) -> RoutePlan {
    RoutePlan {
        name: format!("listener:{listener}"),
        origin: Origin::File,
        filters: Vec::new(),
        action: Action::Pool(pool),
        timeout: None,
        retry: RetryPolicy::default(),
        hedge: None,
        upgrade_websocket: true,
        mirror: None,
        priority: Priority::default(),
        host: HostSent::Keep,
        closed: false,
        notice: Notice::default(),
        error_pages: Vec::new(),
    }
}

/// The filters that `uses` names, those of chains in their places, with their files where they are.
pub(super) fn filters(file: &File, sources: &Sources, uses: &[Located<FilterUse>]) -> Vec<FilterEntry> {
    let chain = |name: &str| {
        let chains = file.filters.read();
        chains
            .into_iter()
            .find(|(known, _, _)| *known == name)
            .map(|(_, _, chain)| &chain.chain)
    };
    let mut entries = Vec::new();
    for written in uses {
        match &written.value {
            FilterUse::One(entry) => entries.push((**entry).clone()),
            FilterUse::Chain(name) => {
                let named = chain(name).into_iter().flat_map(Many::iter);
                entries.extend(named.map(|entry| entry.value.clone()));
            }
        }
    }
    for named in entries.iter_mut().flat_map(|entry| entry.config.files()) {
        if named.name.url().is_none() {
            named.name.path = sources.resolve(named.name.span, &named.name.written);
        }
    }
    entries
}

/// The rules that hold for `listener`, in the order of the file, with the place of the match that each comes from.
pub(in super::super) fn rules(file: &File, listener: &str) -> Vec<(Rule, RouteIndex, Span)> {
    let mut rules = Vec::new();
    for (position, item) in file.routes.0.iter().enumerate() {
        let Some(route) = &item.value else {
            continue;
        };
        let named = route.listeners.iter().any(|name| name.value == listener);
        if route.listeners.written > 0 && !named {
            continue;
        }
        if route.r#match.written == 0 {
            rules.push((any_request(), position, item.span));
        }
        for written in route.r#match.iter() {
            rules.extend(rules_of(&written.value).map(|rule| (rule, position, written.span)));
        }
    }
    rules
}

/// The rule that every request matches.
pub(super) fn any_request() -> Rule {
    Rule {
        host: HostMatch::Any,
        path: PathMatch::Any,
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        cookies: Vec::new(),
        certificate: Vec::new(),
    }
}

/// One rule for each host and path of a match: any of each suffices.
fn rules_of(written: &Match) -> impl Iterator<Item = Rule> {
    let hosts: Vec<HostMatch> = match written.host.items.as_slice() {
        [] => vec![HostMatch::Any],
        hosts => hosts.iter().map(|host| host.value.0.clone()).collect(),
    };
    let paths: Vec<PathMatch> = match (&written.path_regex, written.path.items.as_slice()) {
        (Some(regex), _) => vec![regex.value.0.clone()],
        (None, []) => vec![PathMatch::Any],
        (None, paths) => paths.iter().map(|path| path.value.0.clone()).collect(),
    };
    let methods: Vec<String> = written.methods.iter().map(|method| method.value.0.clone()).collect();
    let headers: Vec<(String, ValueMatch)> = values(&written.headers)
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let query: Vec<(String, ValueMatch)> = values(&written.query).collect();
    let cookies: Vec<(String, ValueMatch)> = values(&written.cookies).collect();
    let certificate = written
        .client_cert
        .as_ref()
        .map(|client| client.value.parts())
        .unwrap_or_default();
    hosts.into_iter().flat_map(move |host| {
        paths
            .iter()
            .map(|path| Rule {
                host: host.clone(),
                path: path.clone(),
                methods: methods.clone(),
                headers: headers.clone(),
                query: query.clone(),
                cookies: cookies.clone(),
                certificate: certificate.clone(),
            })
            .collect::<Vec<_>>()
    })
}

fn values(written: &Keyed<ValueRule>) -> impl Iterator<Item = (String, ValueMatch)> {
    written
        .0
        .iter()
        .map(|(name, rule)| (name.value.clone(), rule.0.clone()))
}

fn action(route: &Route, pools: &BTreeMap<&str, PoolIndex>) -> Option<Action> {
    if let Some(pool) = &route.pool {
        return pools.get(pool.value.as_str()).copied().map(Action::Pool);
    }
    if let Some(split) = &route.split {
        let share = |part: &Located<Part>| {
            let pool = *pools.get(part.value.pool.value.as_str())?;
            let weight = part.value.weight.0;
            Some(Share { pool, weight })
        };
        let shares: Option<Vec<Share>> = split.value.iter().map(share).collect();
        return shares.map(|shares| Action::Split(Arc::new(Split::new(shares))));
    }
    if let Some(redirect) = &route.redirect {
        return redirect.value.of_all().cloned().map(Action::Redirect);
    }
    let respond = route.respond.as_ref()?;
    Some(Action::Respond(Respond {
        status: u16::try_from(respond.status.0).ok()?,
        body: respond.body.0.clone(),
        headers: templates(&respond.headers),
    }))
}

fn notice(written: &Maintenance) -> Notice {
    Notice {
        status: u16::try_from(written.status.0).unwrap_or(Notice::default().status),
        body: written.body.0.clone(),
        headers: templates(&written.headers),
        retry_after: written.retry_after(),
        allow: written.allow.iter().map(|network| network.value).collect(),
    }
}

fn templates(fields: &FieldMap<Template>) -> Vec<(String, Template)> {
    let fields = fields.iter();
    fields
        .map(|(FieldName(name), value)| (name.clone(), value.clone()))
        .collect()
}

/// Error pages, their files where they are.
pub(super) fn error_pages(written: &ErrorPages, sources: &Sources) -> Vec<PagePlan> {
    let source = |page: &Page| match &page.text {
        PageText::Body(text) => PageSource::Body(text.clone()),
        PageText::File(file) => PageSource::File(FileName {
            path: sources.resolve(file.span, &file.written),
            ..file.clone()
        }),
    };
    let plan = |(on, kinds): &(For, Many<Page>)| PagePlan {
        on: *on,
        kinds: kinds
            .iter()
            .map(|page| (page.value.media, source(&page.value)))
            .collect(),
    };
    written.0.iter().map(plan).collect()
}

fn priority(written: &file::Priority) -> Priority {
    let words = |list: &Many<String>| list.iter().map(|word| word.value.to_ascii_lowercase()).collect();
    match written {
        file::Priority::Fixed(class) => Priority::Fixed(*class),
        file::Priority::ByHeader(table) => Priority::Field {
            name: table.header.0.clone(),
            high: words(&table.high),
            low: words(&table.low),
        },
    }
}

fn retry(written: &RetryTable) -> RetryPolicy {
    let mut policy = RetryPolicy {
        attempts: written.attempts.0,
        per_try_timeout: written.per_try_timeout.as_ref().map(|timeout| timeout.value.0),
        non_idempotent: written.non_idempotent.0,
        backoff: (written.backoff.as_ref()).map_or(Backoff::DEFAULT, |written| written.value.backoff()),
        ..RetryPolicy::default()
    };
    let Some(on) = &written.on else {
        return policy;
    };
    policy.on_connect = false;
    policy.on_reset = false;
    for failure in on.iter() {
        match failure.value {
            RetryOn::Connect => policy.on_connect = true,
            RetryOn::Reset => policy.on_reset = true,
            RetryOn::Timeout => policy.on_timeout = true,
            RetryOn::ServerError => policy.on_5xx = true,
            RetryOn::Status(status) => policy.on_status.push(status),
            RetryOn::Grpc(code) => policy.on_grpc.push(code),
        }
    }
    policy
}
