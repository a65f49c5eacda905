//! A client's connection at layer 4.

use plimsoll_core::outcome::Reason;
use plimsoll_core::snapshot::Service;

use super::forward::{Way, forward};
use super::route;
use crate::client::Connection;
use crate::decisions;
use crate::log::{self, ConnectionLog, Finished};

/// Serves a connection to its end.
pub(crate) async fn serve(mut connection: Connection) {
    let client = &connection.client;
    let worker = client.worker.clone();
    let pinned = client.pin();
    let Some(listener) = pinned.listener(client.listener) else {
        return;
    };
    let mut log = ConnectionLog::default();
    let mut finished = Finished::new(&pinned);
    let sampled = worker.ration.takes(client.born);
    if sampled {
        finished.keep_attempts();
    }
    let is_too_many = client.is_too_many(pinned.snapshot.node.max_connections) || worker.sheds();
    match &listener.service {
        Service::Http(_) => return,
        _ if is_too_many => finished.fail(Reason::Overloaded),
        Service::Tcp(service) => {
            let way = Way::of_listener(service);
            forward(&mut connection, &pinned, (way, worker.blocks.buffer()), &mut finished).await;
        }
        Service::Passthrough(service) => {
            log.protocol = "TLS";
            route::pass(&mut connection, &pinned, service, (&mut log, &mut finished)).await;
        }
    }
    {
        let mut shard = worker.shard();
        let counts = shard.listener(connection.client.listener);
        counts.bytes_in += finished.bytes_in;
        counts.bytes_out += finished.bytes_out;
        if let Some(reason) = finished.reason {
            shard.failure(reason);
        }
        finished.count_fallback(&pinned, &mut shard);
    }
    decisions::connection(&connection.client, &pinned, &log, &finished, sampled);
    if pinned.snapshot.node.access_log.is_some() && log::is_written(&connection.client, &pinned, &finished) {
        worker
            .shared
            .wiring
            .access
            .write(log::connection_line(&connection.client, &pinned, &log, &finished));
    }
}
