//! Queues as their users see them: who is called, and that nobody is forgotten.

use super::*;

const LOTS: u32 = 10;

fn queue() -> Arc<Queue> {
    Arc::default()
}

fn join(queue: &Arc<Queue>, class: Class) -> Ticket {
    queue.join(class, LOTS).expect("there is room")
}

fn called(ticket: &Ticket) -> Option<Called> {
    match ticket.poll_called(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(called) => Some(called),
        Poll::Pending => None,
    }
}

/// Somebody who has looked in vain, as those do who join an empty queue of a full pool.
fn waiting(queue: &Arc<Queue>, class: Class) -> Ticket {
    let ticket = join(queue, class);
    if called(&ticket).is_some() {
        ticket.in_vain();
    }
    ticket
}

#[test]
fn the_oldest_is_called_first_and_each_call_is_for_one() {
    let queue = queue();
    let all: Vec<Ticket> = (0..3).map(|_| waiting(&queue, Class::Normal)).collect();
    assert_eq!(queue.waiting(), 3);
    queue.call();
    queue.call();
    assert_eq!(
        all.iter().map(called).collect::<Vec<_>>(),
        [Some(Called::ToPick), Some(Called::ToPick), None]
    );
    drop(all);
    assert!(queue.is_empty());
}

#[test]
fn a_higher_class_comes_first_and_pushes_the_youngest_of_the_lowest_out() {
    let queue = queue();
    let low: Vec<Ticket> = (0..2).map(|_| waiting(&queue, Class::Low)).collect();
    let normal = waiting(&queue, Class::Normal);
    assert_eq!(queue.join(Class::Low, 3).unwrap_err(), QueueFull);
    let high = queue.join(Class::High, 3).expect("low makes room");
    assert_eq!(called(&low[1]), Some(Called::ToLeave));
    assert_eq!(called(&low[0]), None);
    queue.call();
    assert_eq!((called(&high), called(&normal)), (Some(Called::ToPick), None));
    high.served();
    queue.call();
    assert_eq!((called(&normal), called(&low[0])), (Some(Called::ToPick), None));
    assert_eq!(queue.join(Class::High, 0).unwrap_err(), QueueFull);
}

#[test]
fn who_joins_an_empty_queue_looks_once_more() {
    let queue = queue();
    let first = join(&queue, Class::Normal);
    let second = join(&queue, Class::Normal);
    assert_eq!((called(&first), called(&second)), (Some(Called::ToPick), None));
    // Several places may have been given up before the first one was seen.
    first.served();
    assert_eq!(called(&second), Some(Called::ToPick));
}

#[test]
fn a_call_goes_on_when_its_waiter_has_no_use_for_it() {
    let queue = queue();
    let mut all: Vec<Ticket> = (0..4).map(|_| waiting(&queue, Class::Normal)).collect();
    let last = all.pop().unwrap();
    queue.call();
    all.remove(0);
    assert_eq!(called(&all[0]), Some(Called::ToPick), "the first went away unheard");
    all.remove(0);
    assert_eq!(called(&all[0]), Some(Called::ToPick), "and the second without a pick");
    all.remove(0).served();
    assert_eq!(called(&last), None, "the third took the place");
}

#[test]
fn a_place_that_comes_while_a_waiter_picks_is_not_lost() {
    let queue = queue();
    let (first, second) = (waiting(&queue, Class::Normal), waiting(&queue, Class::Normal));
    queue.call();
    assert_eq!(called(&first), Some(Called::ToPick));
    queue.call();
    first.served();
    assert_eq!(called(&second), Some(Called::ToPick));
    second.in_vain();
    drop(second);
    // More places than waiters: whoever comes next hears of them.
    let only = waiting(&queue, Class::Normal);
    queue.call();
    queue.call();
    let late = join(&queue, Class::Normal);
    assert_eq!(called(&only), Some(Called::ToPick));
    only.served();
    assert_eq!(called(&late), Some(Called::ToPick));
}

#[test]
fn calls_go_on_for_as_long_as_they_find_places() {
    let queue = queue();
    let mut all: Vec<Ticket> = (0..3).map(|_| waiting(&queue, Class::Normal)).collect();
    queue.call_while_served();
    assert_eq!(called(&all[0]), Some(Called::ToPick));
    all.remove(0).served();
    assert_eq!(called(&all[0]), Some(Called::ToPick));
    all[0].in_vain();
    all.remove(0);
    assert_eq!(called(&all[0]), None);
}

/// Threads that take and give up two places as workers do: nobody is forgotten, and never are more than two taken.
#[test]
fn no_place_is_lost_between_threads() {
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let (queue, load) = (queue(), crate::load::Load::default());
    let over = AtomicBool::new(false);
    let serve = || {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let cx = &mut Context::from_waker(&waker);
        for _ in 0..2_000 {
            if !(queue.is_empty() && load.enter(2)) {
                let ticket = queue.join(Class::Normal, LOTS).expect("eight at the most");
                loop {
                    match ticket.poll_called(cx) {
                        Poll::Pending => std::thread::park(),
                        Poll::Ready(_) if load.enter(2) => break ticket.served(),
                        Poll::Ready(_) => ticket.in_vain(),
                    }
                }
            }
            if load.in_flight() > 2 {
                over.store(true, SeqCst);
            }
            load.leave();
            queue.call();
        }
    };
    std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(serve))));
    assert!(!over.load(SeqCst));
    assert_eq!((queue.waiting(), load.in_flight()), (0, 0));
}
