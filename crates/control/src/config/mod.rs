//! Configuration: from the files that users write to a [`Plan`].

mod plan;

pub use plan::{
    AccessLog, AdminPlan, BackendPlan, CheckKind, CheckPlan, HttpPlan, ListenerPlan, LogPlan, OutlierPlan, Plan,
    PoolPlan, RouteIndex, RoutePlan, ServicePlan,
};
