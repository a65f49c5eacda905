//! Where what runs and what the file says differ.

use serde_json::{Value, json};

use super::Api;
use super::pools::operator_json;
use crate::config::{Addition, What};

/// What operators have set, what was made by the API, and whether the file has changed since it was read.
pub(super) fn differs_json(api: &Api) -> Value {
    let control = &api.control;
    let pools = control.pools();
    let of_pools = pools.iter().flat_map(|pool| {
        let set = pool.backends.iter().filter(|backend| backend.operator.is_set());
        set.map(|backend| {
            let operator = operator_json(backend.operator);
            json!({
                "pool": &*pool.name, "backend": &*backend.name,
                "state": operator["state"], "weight": operator["weight"],
            })
        })
    });
    let snapshot = control.snapshot().load();
    let of_routes = snapshot.routes.iter().filter_map(|route| {
        let (maintenance, split) = (route.maintenance.switch.wanted(), control.split_of(&route.name));
        let is_set = maintenance.is_some() || split.is_some();
        is_set.then(|| json!({ "route": &*route.name, "maintenance": maintenance, "split": split.is_some() }))
    });
    json!({
        "backends": of_pools.collect::<Vec<_>>(),
        "routes": of_routes.collect::<Vec<_>>(),
        "additions": control.additions().iter().map(addition_json).collect::<Vec<_>>(),
        "file_changed": api.reloader.is_file_changed(),
    })
}

fn addition_json(addition: &Addition) -> Value {
    let mut json = match &addition.what {
        What::Backend { pool, address } => json!({ "pool": pool, "backend": address }),
        What::Route { name } => json!({ "route": name }),
    };
    json["leaving"] = addition.leaving.into();
    json["set_aside"] = addition.set_aside.clone().into();
    json
}
