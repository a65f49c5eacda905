//! Ending a connection from outside the task that uses it.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// What a [`Socket`](crate::Socket) can be ended by: whoever uses the socket shares it with whoever may want its end.
#[derive(Debug, Default)]
pub struct Cut {
    done: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Cut {
    /// Ends the connection, now or as soon as it is made.
    pub fn cut(&self) {
        self.done.set(true);
        let waker = self.waker.borrow_mut().take();
        // Outside the borrow: waking may run a task's drop.
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether it was ended.
    pub fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Ready once it was ended; otherwise the task is woken when it is.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.done.get() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::rc::Rc;

    use super::*;
    use crate::{Blocks, Relayed, Socket, Timers, relay};

    async fn pair() -> (Socket, tokio::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (near, far) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        (
            Socket::new(near.expect("it listens")),
            far.expect("it was connected to").0,
        )
    }

    #[tokio::test(flavor = "local")]
    async fn a_relay_that_waits_for_both_sides_is_cut() {
        let (timers, blocks, cut) = (Timers::new(), Rc::<Blocks>::default(), Rc::<Cut>::default());
        let ((mut client, _far), (backend, _there)) = (pair().await, pair().await);
        let (link, timer) = (cut.clone(), timers.timer());
        let relayed = tokio::task::spawn_local(async move {
            let mut backend = backend.cut_by(Some(link));
            let (idle, moved) = (std::time::Duration::MAX, (&Cell::new(0), &Cell::new(0)));
            let pending = (blocks.buffer(), blocks.buffer());
            relay(&mut client, &mut backend, pending, &timer, idle, moved).await
        });
        tokio::task::yield_now().await;
        assert!(!relayed.is_finished());
        cut.cut();
        assert!(matches!(relayed.await.expect("no panic"), Relayed::Cut));
    }

    #[tokio::test(flavor = "local")]
    async fn a_socket_that_was_cut_before_it_was_there_reads_as_reset() {
        let cut = Rc::<Cut>::default();
        cut.cut();
        let (near, _far) = pair().await;
        let mut near = near.cut_by(Some(cut));
        assert!(!near.is_silent());
        let mut buffer = Rc::<Blocks>::default().buffer();
        let read = poll_fn(|cx| near.poll_fill(cx, &mut buffer)).await;
        assert_eq!(
            read.map_err(|error| error.kind()),
            Err(std::io::ErrorKind::ConnectionReset)
        );
    }
}
