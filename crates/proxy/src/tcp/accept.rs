//! A client's TCP connection.

use plimsoll_core::outcome::Reason;
use plimsoll_core::snapshot::Service;

use super::forward::forward;
use crate::client::Connection;
use crate::log::{self, Finished};

/// Serves a connection to its end.
pub(crate) async fn serve(mut connection: Connection) {
    let client = &connection.client;
    let worker = client.worker.clone();
    let pinned = worker.pin();
    let Some(listener) = pinned.listener(client.listener) else {
        return;
    };
    let Service::Tcp(service) = &listener.service else {
        return;
    };
    let mut finished = Finished::new(&pinned);
    if client.is_too_many(pinned.snapshot.node.max_connections) || worker.sheds() {
        finished.fail(Reason::Overloaded);
    } else {
        forward(&mut connection, &pinned, service, &mut finished).await;
    }
    {
        let mut shard = worker.shard();
        let counts = shard.listener(connection.client.listener);
        counts.bytes_in += finished.bytes_in;
        counts.bytes_out += finished.bytes_out;
        if let Some(reason) = finished.reason {
            shard.failure(reason);
        }
    }
    if pinned.snapshot.node.access_log.is_some() {
        worker
            .shared
            .wiring
            .access
            .write(log::connection_line(&connection.client, &pinned, &finished));
    }
}
