//! TLS that is passed through: the ClientHello says where its connection goes, and is forwarded as it came.

use plimsoll_core::outcome::Reason;
use plimsoll_core::route::{ConnectionHead, Destination};
use plimsoll_core::snapshot::PassthroughService;
use plimsoll_net::{Alert, Buffer, GROWN_MAX, HELLO_WIRE_MAX, Hello, HelloFault, HelloScan};

use super::forward::{Way, forward};
use crate::client::Connection;
use crate::log::{ConnectionLog, Finished};
use crate::worker::Pinned;

// What the scan asks for has room.
const _: () = assert!(HELLO_WIRE_MAX <= GROWN_MAX);

/// Why a client is not asked on.
enum Unheard {
    /// What it sent is no ClientHello.
    Fault(HelloFault),
    /// The time is up.
    Late(Reason),
    /// It has gone.
    Gone,
}

/// Forwards a connection to where its ClientHello says.
pub(super) async fn pass(
    connection: &mut Connection,
    pinned: &Pinned,
    service: &PassthroughService,
    (log, finished): (&mut ConnectionLog, &mut Finished),
) {
    let mut input = connection.client.worker.blocks.buffer();
    let heard = hear(connection, service, &mut input).await;
    finished.bytes_in = input.len() as u64;
    let hello = match heard {
        Ok(hello) => hello,
        // Whoever only looks whether somebody listens has done nothing wrong.
        Err(Unheard::Gone) if input.is_empty() => return,
        Err(Unheard::Gone) => return finished.fail(Reason::ClientClosed),
        Err(Unheard::Late(reason)) => return finished.fail(reason),
        Err(Unheard::Fault(fault)) => {
            finished.fail(reason(fault));
            return refuse(connection, fault.alert(), &mut input).await;
        }
    };
    let destination = destination(connection, pinned, service, &hello);
    log.route = destination.route;
    let Hello { sni, alpn } = hello;
    log.sni = sni;
    let pool = match destination.pool {
        Ok(pool) => pool,
        Err(reason) => {
            finished.fail(reason);
            // RFC 6066 §3: as whoever serves other names would say.
            let alert = (reason == Reason::NoRoute).then_some(Alert::UnrecognizedName);
            return refuse(connection, alert, &mut input).await;
        }
    };
    let way = Way {
        pool,
        idle_timeout: service.idle_timeout,
        sni: log.sni.as_deref(),
        alpn: &alpn,
    };
    forward(connection, pinned, (way, input), finished).await;
}

/// Reads until the ClientHello is whole. It stays in `input`, with what came behind it.
async fn hear(connection: &mut Connection, service: &PassthroughService, input: &mut Buffer) -> Result<Hello, Unheard> {
    let (timer, socket) = (&connection.timer, &mut connection.socket);
    let deadline = timer.after(service.hello_timeout);
    let mut scan = HelloScan::default();
    loop {
        if input.is_full() {
            input.grow(GROWN_MAX);
        }
        match timer.within(deadline, socket.fill(input)).await {
            Err(_) if timer.is_expired() => return Err(Unheard::Late(Reason::DrainDeadline)),
            Err(_) => return Err(Unheard::Late(Reason::RequestHeaderTimeout)),
            Ok(Err(_) | Ok(0)) => return Err(Unheard::Gone),
            Ok(Ok(_)) => {}
        }
        if let Some(hello) = scan.look(input.unread()).map_err(Unheard::Fault)? {
            return Ok(hello);
        }
    }
}

fn destination(connection: &Connection, pinned: &Pinned, service: &PassthroughService, hello: &Hello) -> Destination {
    let client = &connection.client;
    let head = ConnectionHead {
        sni: hello.sni.as_deref().unwrap_or_default(),
        alpn: &hello.alpn,
        client: client.peer.ip().to_canonical(),
    };
    let mut rng = client.worker.rng.borrow_mut();
    let now = client.worker.now();
    pinned.snapshot.destination(service, &head, (now, &mut rng), None)
}

fn reason(fault: HelloFault) -> Reason {
    match fault {
        HelloFault::NotTls(_) | HelloFault::Malformed(_) => Reason::BadRequest,
        HelloFault::TooLarge => Reason::HeaderTooLarge,
    }
}

/// Tells the client, when it speaks TLS, and closes so that it can read that.
async fn refuse(connection: &mut Connection, alert: Option<Alert>, input: &mut Buffer) {
    let Some(alert) = alert else { return };
    // The first bytes that we send always have room; a client that has gone needs none.
    if connection.socket.write_all(&alert.record()).await.is_ok() {
        connection.linger(input).await;
    }
}
