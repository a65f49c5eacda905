//! Warnings for matches that no request, or connection, can reach: because others take them all, because the listener answers
//! itself, or because no request is like that.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_core::document::{Faults, Span};
use plimsoll_core::name::NameId;
use plimsoll_core::route::{ConnectionTable, PathMatch, RouteTable, Rule, Shadowed};
use plimsoll_core::snapshot::Route;

use super::super::compile::connections;
use super::super::compile::routes::rules;
use super::super::file::{File, Listener};
use super::super::plan::{HttpPlan, ListenerPlan, PassthroughPlan, Plan, RouteIndex, RoutePlan, ServicePlan};

/// What keeps all requests from a rule, through one listener.
struct Obstacle {
    why: String,
    help: &'static str,
    also: Option<(Span, &'static str)>,
}

/// What is known of the rules that stand in one place of the file, over all listeners that they hold for.
struct Place {
    span: Span,
    route: RouteIndex,
    /// What comes to its listeners: requests or connections.
    comes: &'static str,
    rules: usize,
    hidden: usize,
    first: Option<Obstacle>,
}

/// All places, in the order of the files.
#[derive(Default)]
struct Places(BTreeMap<(u32, u32, u32), Place>);

/// Adds a warning for each place none of whose rules can be reached through any listener.
pub(super) fn warn(file: &File, plan: &Plan, faults: &mut Faults) {
    let routes: Vec<Arc<Route>> = plan.routes.iter().enumerate().map(route).collect();
    let mut places = Places::default();
    for listener in &plan.listeners {
        match &listener.service {
            ServicePlan::Http(http) => look(file, listener, http, &routes, &mut places),
            ServicePlan::Passthrough(passed) => look_at_connections(file, listener, passed, &routes, &mut places),
            ServicePlan::Tcp(_) => {}
        }
    }
    let hidden = |place: &Place| place.hidden == place.rules;
    let mut reached = vec![false; plan.routes.len()];
    for place in places.0.values().filter(|place| !hidden(place)) {
        reached[place.route] = true;
    }
    for place in places.0.values().filter(|place| hidden(place)) {
        let Some(Obstacle { why, help, also }) = &place.first else {
            continue;
        };
        let name = &plan.routes[place.route].name;
        let what = match reached[place.route] {
            true => "this match of the route",
            false => "the route",
        };
        let comes = place.comes;
        let fault = faults.warning(place.span, format!("no {comes} reaches {what} `{name}`: {why}"));
        fault.help(*help);
        if let Some((span, label)) = also.filter(|(span, _)| *span != place.span) {
            fault.also(span, label);
        }
    }
}

/// Adds what `listener` has to say of each place.
fn look(file: &File, listener: &ListenerPlan, http: &HttpPlan, routes: &[Arc<Route>], places: &mut Places) {
    let written = file.listeners.read().find(|(name, _, _)| *name == listener.name);
    let Some((_, _, written)) = written else {
        return;
    };
    // The last rule is the listener's own, when it names a pool.
    let own = written.pool.as_ref().map(|pool| pool.span);
    let spans = rules(file, &listener.name).into_iter().map(|(_, _, span)| span);
    let spans: Vec<Span> = spans.chain(own).collect();
    let built = http.rules.iter().map(|(rule, at)| (rule.clone(), routes[*at].clone()));
    let mut taken: BTreeMap<usize, Obstacle> = BTreeMap::new();
    for shadowed in RouteTable::build(built.collect()).shadowed() {
        taken.insert(shadowed.rule, taken_by(&shadowed, &spans));
    }
    for (at, ((rule, route), span)) in http.rules.iter().zip(&spans).enumerate() {
        let obstacle = unlike_any(rule, &listener.name, http, written).or_else(|| taken.remove(&at));
        places.at(*span, *route, "request").note(obstacle);
    }
}

/// Adds what a listener that passes TLS through has to say of each place.
fn look_at_connections(
    file: &File,
    listener: &ListenerPlan,
    passed: &PassthroughPlan,
    routes: &[Arc<Route>],
    places: &mut Places,
) {
    let written = file.listeners.read().find(|(name, _, _)| *name == listener.name);
    // The last rule is the listener's own, when it names a pool.
    let own = written.and_then(|(_, _, written)| written.pool.as_ref().map(|pool| pool.span));
    let spans = connections::rules(file, &listener.name)
        .into_iter()
        .map(|(_, _, span)| span);
    let spans: Vec<Span> = spans.chain(own).collect();
    let built = passed
        .rules
        .iter()
        .map(|(rule, at)| (rule.clone(), routes[*at].clone()));
    let shadowed = ConnectionTable::build(built.collect()).shadowed();
    let mut taken: BTreeMap<usize, Obstacle> = (shadowed.iter())
        .map(|shadowed| (shadowed.rule, taken_by(shadowed, &spans)))
        .collect();
    for (at, ((_, route), span)) in passed.rules.iter().zip(&spans).enumerate() {
        places.at(*span, *route, "connection").note(taken.remove(&at));
    }
}

fn taken_by(shadowed: &Shadowed, spans: &[Span]) -> Obstacle {
    Obstacle {
        why: format!("`{}` takes them all", shadowed.by),
        help: "the most specific match wins, and of equals the first in the file",
        also: spans.get(shadowed.by_rule).map(|span| (*span, "taken here")),
    }
}

/// Why no request that comes to its routes is like `rule`, whatever else is there.
fn unlike_any(rule: &Rule, name: &str, http: &HttpPlan, written: &Listener) -> Option<Obstacle> {
    if let Some(why) = rule.path.impossible() {
        return Some(Obstacle {
            why,
            help: "the expression has to match a whole path, like \"/api/.*\"",
            also: None,
        });
    }
    let (PathMatch::Exact(path) | PathMatch::Prefix(path)) = &rule.path else {
        return None;
    };
    if matches!(rule.path, PathMatch::Exact(_)) && http.health_path.as_ref() == Some(path) {
        let place = written.health_path.as_ref().map(|path| (path.span, "its health path"));
        return Some(Obstacle {
            why: format!("the listener `{name}` answers {path} itself"),
            help: "choose another path, or another health_path",
            also: place,
        });
    }
    let encoded = ["%2F", "%5C"].into_iter().find(|escape| path.contains(escape))?;
    (!http.allow_encoded_slash).then(|| Obstacle {
        why: format!("the listener `{name}` refuses paths with {encoded}"),
        help: "add allow_encoded_slash = true to the listener",
        also: None,
    })
}

impl Places {
    fn at(&mut self, span: Span, route: RouteIndex, comes: &'static str) -> &mut Place {
        let key = (span.file, span.start, span.end);
        self.0.entry(key).or_insert_with(|| Place {
            span,
            route,
            comes,
            rules: 0,
            hidden: 0,
            first: None,
        })
    }
}

impl Place {
    /// Counts one rule, and what keeps everything from it.
    fn note(&mut self, obstacle: Option<Obstacle>) {
        self.rules += 1;
        if let Some(obstacle) = obstacle {
            self.hidden += 1;
            self.first.get_or_insert(obstacle);
        }
    }
}

fn route((position, plan): (usize, &RoutePlan)) -> Arc<Route> {
    Arc::new(Route {
        index: 0,
        id: NameId(u32::try_from(position).unwrap_or(u32::MAX)),
        name: plan.name.as_str().into(),
        filters: Arc::default(),
        action: plan.action.clone(),
        timeout: plan.timeout,
        retry: plan.retry.clone(),
        hedge: None,
        upgrade_websocket: plan.upgrade_websocket,
        mirror: None,
        priority: plan.priority.clone(),
        host: plan.host.clone(),
        maintenance: Default::default(),
        error_pages: Default::default(),
    })
}
