//! From a plan to a snapshot, over the pools, backends and filters' states that live.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::backend::Backend;
use plimsoll_core::maintenance::Maintenance;
use plimsoll_core::name::BackendId;
use plimsoll_core::route::{ConnectionTable, RouteTable};
use plimsoll_core::snapshot::{Action, HttpService, Listener, PassthroughService, Route, Service, Snapshot, TlsTerms};
use plimsoll_core::split::{Share, Split};
use plimsoll_core::sticky::Seal;
use plimsoll_core::time::Now;

use super::{State, count};
use crate::certificates::Wanted;
use crate::config::{ListenerPlan, Plan, RoutePlan, ServicePlan};
use crate::living::{Departing, LivingPool, Node};

impl State {
    /// The snapshot that `plan` asks for, over the pools and backends that live.
    pub(super) fn compile(&mut self, plan: &Plan, generation: u64, now: Now) -> Snapshot {
        let node = self.node(plan);
        let mut before = std::mem::take(&mut self.pools);
        let had: Vec<(Duration, Vec<Arc<Backend>>)> = before
            .values()
            .map(|living| (living.drain_timeout(), living.backends()))
            .collect();
        for pool in &plan.pools {
            let was = before.remove(&*pool.name);
            let (living, transitions) = LivingPool::build(pool, &node, was, &mut self.identities, now);
            count(&mut self.transitions, &pool.name, &transitions);
            self.events.tell_transitions(&pool.name, &transitions);
            self.pools.insert(living.pool.name.clone(), living);
        }
        drop(before);
        self.depart(had, now);
        self.identities.forget_unused();
        self.filters.begin();
        let ids = plan.pools.iter().map(|pool| (self.pools[&*pool.name].pool.id, pool));
        self.originations.set(ids, self.filters.files());
        self.restore_splits(plan);
        let pools = plan
            .pools
            .iter()
            .map(|pool| self.pools[&*pool.name].pool.clone())
            .collect();
        let routes: Vec<Arc<Route>> = plan
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| Arc::new(self.route(index, route)))
            .collect();
        let listeners: Vec<Arc<Listener>> = plan
            .listeners
            .iter()
            .map(|listener| Arc::new(self.listener(listener, &routes)))
            .collect();
        let error_pages = self.filters.error_pages(&plan.error_pages);
        self.filters.end();
        self.certificates.adopt(&self.wanted_certificates(plan, &listeners));
        Snapshot {
            generation,
            listeners,
            routes,
            pools,
            fallbacks: plan.pools.iter().map(|pool| pool.fallback).collect(),
            error_pages,
            has_error_pages: plan.has_error_pages(),
            node: plan.node.clone(),
        }
    }

    /// Lets the backends that were had before, and are in no pool any more, end what they have.
    fn depart(&mut self, had: Vec<(Duration, Vec<Arc<Backend>>)>, now: Now) {
        let kept: HashSet<BackendId> = (self.pools.values())
            .flat_map(LivingPool::backends)
            .map(|backend| backend.id)
            .collect();
        for (timeout, backends) in had {
            for backend in backends.into_iter().filter(|backend| !kept.contains(&backend.id)) {
                backend.leaving.set(true);
                let until = now + timeout;
                self.departing.push(Departing { backend, until });
            }
        }
    }

    /// Shares requests out as operators want them, where a route still has the pools that they have set the weights of.
    fn restore_splits(&mut self, plan: &Plan) {
        let routes: BTreeMap<&str, &RoutePlan> = plan.routes.iter().map(|route| (&*route.name, route)).collect();
        self.splits.retain(|name, wanted| {
            let shares = routes.get(&**name).and_then(|route| match &route.action {
                Action::Split(split) => Some((split, operated(split, wanted, plan)?)),
                _ => None,
            });
            match shares {
                Some((split, shares)) => split.publish(shares),
                None => {
                    tracing::warn!(
                        route = name,
                        "the weights that an operator has set are gone: the split has other pools"
                    );
                    return false;
                }
            }
            true
        });
    }

    fn wanted_certificates<'p>(&self, plan: &'p Plan, listeners: &[Arc<Listener>]) -> Vec<Wanted<'p>> {
        let both = plan.listeners.iter().zip(listeners);
        both.filter_map(|(plan, listener)| {
            Some(Wanted {
                id: listener.id,
                name: listener.name.clone(),
                plan: plan.tls.as_ref()?,
            })
        })
        .collect()
    }

    fn node(&mut self, plan: &Plan) -> Node {
        let own = || vec![self.own_secret.to_vec()];
        let secrets = if plan.secrets.is_empty() {
            own()
        } else {
            plan.secrets.0.clone()
        };
        let seal = Seal::new(secrets);
        if *self.seal != seal {
            self.seal = Arc::new(seal);
        }
        Node {
            zone: plan.zone.as_deref().map(Into::into),
            drain_timeout: plan.node.drain_timeout,
            seal: self.seal.clone(),
            seed: self.rng.bits(),
        }
    }

    fn route(&mut self, index: usize, plan: &RoutePlan) -> Route {
        let owner = format!("route:{}", plan.name);
        Route {
            id: self.identities.names.intern(&plan.name),
            index,
            name: plan.name.as_str().into(),
            filters: self.filters.chain(&owner, &plan.filters),
            action: plan.action.clone(),
            timeout: plan.timeout,
            retry: plan.retry.clone(),
            hedge: plan.hedge.map(|policy| self.filters.hedge(&owner, policy)),
            upgrade_websocket: plan.upgrade_websocket,
            mirror: plan.mirror,
            priority: plan.priority.clone(),
            host: plan.host.clone(),
            maintenance: Maintenance {
                configured: plan.closed,
                switch: self.filters.switch(&owner),
                notice: plan.notice.clone(),
            },
            error_pages: self.filters.error_pages(&plan.error_pages),
        }
    }

    fn listener(&mut self, plan: &ListenerPlan, routes: &[Arc<Route>]) -> Listener {
        let service = match &plan.service {
            ServicePlan::Tcp(service) => Service::Tcp(service.clone()),
            ServicePlan::Passthrough(passed) => {
                let rules = passed.rules.iter();
                let rules = rules.map(|(rule, at)| (rule.clone(), routes[*at].clone()));
                Service::Passthrough(PassthroughService {
                    routes: ConnectionTable::build(rules.collect()),
                    hello_timeout: passed.hello_timeout,
                    idle_timeout: passed.idle_timeout,
                })
            }
            ServicePlan::Http(http) => Service::Http(HttpService {
                filters: self.filters.chain(&format!("listener:{}", plan.name), &http.filters),
                routes: RouteTable::build(
                    http.rules
                        .iter()
                        .map(|(rule, at)| (rule.clone(), routes[*at].clone()))
                        .collect(),
                ),
                health_path: http.health_path.clone(),
                keepalive_requests: http.keepalive_requests,
                keepalive_age: http.keepalive_age,
                timeouts: http.timeouts,
                limits: http.limits,
                allow_encoded_slash: http.allow_encoded_slash,
                error_pages: self.filters.error_pages(&http.error_pages),
            }),
        };
        Listener {
            id: self.identities.names.intern(&plan.name),
            name: plan.name.as_str().into(),
            bind: plan.bind.clone(),
            max_connections_per_client: plan.max_connections_per_client,
            tls: plan.tls.as_ref().map(|tls| TlsTerms {
                handshake_timeout: tls.handshake_timeout,
            }),
            http3: plan.http3,
            proxy_protocol: plan.proxy_protocol.clone(),
            service,
        }
    }
}

/// The shares of `split` with the weights that an operator wants; `None` when it has other pools by now.
fn operated(split: &Split, wanted: &[(String, u32)], plan: &Plan) -> Option<Vec<Share>> {
    let name_of = |share: &Share| plan.pools[share.pool].name.as_str();
    let has: BTreeSet<&str> = split.configured.iter().map(name_of).collect();
    if has != wanted.iter().map(|(pool, _)| pool.as_str()).collect() {
        return None;
    }
    let weigh = |share: &Share| {
        let (_, weight) = wanted.iter().find(|(pool, _)| pool == name_of(share))?;
        Some(Share {
            pool: share.pool,
            weight: *weight,
        })
    };
    split.configured.iter().map(weigh).collect()
}
