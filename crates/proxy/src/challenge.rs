//! Whoever issues our certificates, and asks for proofs that their names are ours.

use std::sync::Arc;

use plimsoll_net::tls::Termination;
use plimsoll_net::{Buffer, Deadline, GROWN_MAX, HelloScan};

use crate::client::Connection;
use crate::worker::Worker;

/// The protocol of whoever issues certificates, and asks for a proof that a name is ours (RFC 8737 §6.2).
const ACME: &[u8] = b"acme-tls/1";

impl Worker {
    /// What answers who asks at `path` over plain HTTP.
    pub(crate) fn proof(&self, path: &str) -> Option<Arc<str>> {
        self.shared.wiring.proofs.at(path)
    }
}

/// What answers a client that asks for a proof of a name, and for nothing else. What was read of it to know that is left
/// in `read`, also where it is no such client, or none that can be understood: that is for the handshake to tell.
/// Nothing is read while nobody is expected to ask.
pub(crate) async fn asked(connection: &mut Connection, until: Deadline, read: &mut Buffer) -> Option<Arc<Termination>> {
    let challenges = {
        let challenges = connection.client.worker.shared.wiring.challenges.load();
        (!challenges.is_empty()).then(|| Arc::clone(&challenges))
    }?;
    let (timer, socket) = (&connection.timer, &mut connection.socket);
    let mut scan = HelloScan::default();
    let hello = loop {
        if read.is_full() {
            read.grow(GROWN_MAX);
        }
        match timer.within(until, socket.fill(read)).await {
            Ok(Ok(1..)) => {}
            _ => return None,
        }
        match scan.look(read.unread()) {
            Ok(None) => {}
            Ok(Some(hello)) => break hello,
            Err(_) => return None,
        }
    };
    // RFC 8737 §3: that protocol, and no other beside it.
    let asks = matches!(&*hello.alpn, [only] if only == ACME);
    challenges.get(hello.sni.as_deref().filter(|_| asks)?).cloned()
}
