//! Warnings for matches that no request can reach, because others take them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_core::document::{Faults, Span};
use plimsoll_core::name::NameId;
use plimsoll_core::route::{RouteTable, Shadowed};
use plimsoll_core::snapshot::Route;

use super::super::compile::routes::rules;
use super::super::file::File;
use super::super::plan::{Plan, ServicePlan};

/// What is known of the rules that stand in one place of the file, over all listeners that they hold for.
#[derive(Default)]
struct Place {
    rules: usize,
    hidden: Vec<(Shadowed, Span)>,
}

/// All places, in the order of the files.
#[derive(Default)]
struct Places(BTreeMap<(u32, u32, u32), (Span, Place)>);

impl Places {
    fn at(&mut self, span: Span) -> &mut Place {
        let key = (span.file, span.start, span.end);
        &mut self.0.entry(key).or_insert_with(|| (span, Place::default())).1
    }
}

/// Adds a warning for each place none of whose rules can be reached through any listener.
pub(super) fn warn(file: &File, plan: &Plan, faults: &mut Faults) {
    let routes: Vec<Arc<Route>> = plan.routes.iter().enumerate().map(route).collect();
    let mut places = Places::default();
    for listener in &plan.listeners {
        let ServicePlan::Http(http) = &listener.service else {
            continue;
        };
        // The last rule is the listener's own, when it names a pool.
        let own = file
            .listeners
            .read()
            .find(|(name, _, _)| *name == listener.name)
            .and_then(|(_, _, written)| written.pool.as_ref().map(|pool| pool.span));
        let spans: Vec<Span> = rules(file, &listener.name)
            .into_iter()
            .map(|(_, _, span)| span)
            .chain(own)
            .collect();
        for span in &spans {
            places.at(*span).rules += 1;
        }
        let built = http.rules.iter().map(|(rule, at)| (rule.clone(), routes[*at].clone()));
        for shadowed in RouteTable::build(built.collect()).shadowed() {
            if let (Some(span), Some(by)) = (spans.get(shadowed.rule), spans.get(shadowed.by_rule)) {
                places.at(*span).hidden.push((shadowed, *by));
            }
        }
    }
    for (span, place) in places.0.into_values() {
        if let Some((shadowed, by)) = place.hidden.first()
            && place.hidden.len() == place.rules
        {
            told(span, shadowed, *by, faults);
        }
    }
}

fn told(span: Span, shadowed: &Shadowed, by: Span, faults: &mut Faults) {
    let Shadowed { route, by: taker, .. } = shadowed;
    let message = match shadowed.whole_route {
        true => format!("no request reaches the route `{route}`: `{taker}` takes them all"),
        false => format!("no request reaches this match of the route `{route}`: `{taker}` takes them all"),
    };
    let fault = faults.warning(span, message);
    fault.help("the most specific match wins, and of equals the first in the file");
    if by != span {
        fault.also(by, "taken here");
    }
}

fn route((position, plan): (usize, &super::super::plan::RoutePlan)) -> Arc<Route> {
    Arc::new(Route {
        index: 0,
        id: NameId(u32::try_from(position).unwrap_or(u32::MAX)),
        name: plan.name.as_str().into(),
        action: plan.action.clone(),
        timeout: plan.timeout,
        retry: plan.retry.clone(),
        upgrade_websocket: plan.upgrade_websocket,
    })
}
