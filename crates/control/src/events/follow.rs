//! Following the events: from the newest, from the last few, or from where a reader was cut off.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;

use super::{Event, Events, FOLLOWERS_MAX};

/// Events that are handed over at once.
const BATCH_MAX: usize = 64;

/// A reader of the events. While it lives it is counted.
pub(crate) struct Follower {
    events: Arc<Events>,
    newest: watch::Receiver<u64>,
    /// The number of the last event that it was handed.
    last: u64,
}

/// What a reader hears.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// What happened, in order.
    Events(Vec<Arc<Event>>),
    /// So many events are not kept any more that it has not seen.
    Missed(u64),
}

impl Events {
    /// A reader that goes on after the event with the id `after`, or, without one, hears the `last` ones first; `None`
    /// when there are too many already. An id of another process means everything that is kept.
    pub(crate) fn follow(self: &Arc<Self>, after: Option<&str>, last: usize) -> Option<Follower> {
        if self.followers.fetch_add(1, Relaxed) >= FOLLOWERS_MAX {
            self.followers.fetch_sub(1, Relaxed);
            return None;
        }
        let newest = self.lock().newest;
        let from = match after.map(|id| self.number_of(id)) {
            Some(number) => number.unwrap_or_else(|| self.oldest().saturating_sub(1)).min(newest),
            None => newest.saturating_sub(last as u64).max(self.oldest().saturating_sub(1)),
        };
        Some(Follower {
            newest: self.newest.subscribe(),
            events: self.clone(),
            last: from,
        })
    }

    /// The number behind an id of this process.
    fn number_of(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.split_once('-')?;
        let ours = u64::from_str_radix(epoch, 16).ok()? == self.epoch;
        number.parse().ok().filter(|_| ours)
    }

    /// The number of the oldest event that is kept.
    fn oldest(&self) -> u64 {
        self.lock().events.front().map_or(1, |event| event.number)
    }
}

impl Follower {
    /// Ready when there is something to hear.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            self.newest.mark_unchanged();
            if let Some(heard) = self.take() {
                return heard;
            }
            // The sender lives as long as the events, which we hold.
            let _ = self.newest.changed().await;
        }
    }

    /// What there is to hear now.
    fn take(&mut self) -> Option<Heard> {
        let ring = self.events.lock();
        let oldest = ring.events.front()?.number;
        if self.last + 1 < oldest {
            let missed = oldest - 1 - self.last;
            self.last = oldest - 1;
            return Some(Heard::Missed(missed));
        }
        // Numbers follow each other: those that were seen stand first.
        let seen = usize::try_from(self.last + 1 - oldest).unwrap_or(usize::MAX);
        let new: Vec<Arc<Event>> = ring.events.iter().skip(seen).take(BATCH_MAX).cloned().collect();
        self.last = new.last()?.number;
        Some(Heard::Events(new))
    }

    /// What a reader names to go on after `event`.
    pub(crate) fn id_of(&self, event: &Event) -> String {
        self.events.id_of(event.number)
    }

    /// What it names to go on after what it was handed until now.
    pub(crate) fn id(&self) -> String {
        self.events.id_of(self.last)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.events.followers.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{EVENTS_MAX, Kind};
    use super::*;

    fn told(count: usize) -> Arc<Events> {
        let events = Arc::new(Events::default());
        (1..=count).for_each(|at| events.tell(Kind::Reload, format!("{at}"), json!({})));
        events
    }

    fn messages(heard: Option<Heard>) -> Vec<String> {
        match heard {
            Some(Heard::Events(events)) => events.iter().map(|event| event.message.clone()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_reader_hears_the_last_ones_and_then_what_comes() {
        let events = told(5);
        let mut follower = events.follow(None, 2).expect("room");
        assert_eq!(messages(Some(follower.hear().await)), ["4", "5"]);
        let later = tokio::spawn(async move { messages(Some(follower.hear().await)) });
        tokio::task::yield_now().await;
        events.tell(Kind::Drain, "6", json!({}));
        assert_eq!(later.await.expect("no panic"), ["6"]);
        assert_eq!(events.followers(), 0, "it was dropped");
    }

    #[test]
    fn a_reader_goes_on_where_it_was_cut_off() {
        let events = told(5);
        let id = format!("{:x}-3", events.epoch);
        let mut follower = events.follow(Some(&id), 0).expect("room");
        assert_eq!(messages(follower.take()), ["4", "5"]);
        assert_eq!(follower.take(), None);
        for foreign in ["1-3", "no id", "", "zz-1", "1-"] {
            let mut follower = events.follow(Some(foreign), 0).expect("room");
            assert_eq!(messages(follower.take()).len(), 5, "{foreign}: all that is kept");
        }
        let ahead = format!("{:x}-999", events.epoch);
        assert_eq!(events.follow(Some(&ahead), 0).expect("room").take(), None);
    }

    #[test]
    fn a_reader_that_is_slower_than_the_ring_is_told_what_it_missed() {
        let events = told(1);
        let mut follower = events.follow(None, 1).expect("room");
        (0..EVENTS_MAX + 9).for_each(|_| events.tell(Kind::Health, "x", json!({})));
        assert_eq!(follower.take(), Some(Heard::Missed(10)));
        let mut heard = 0;
        while let Some(Heard::Events(new)) = follower.take() {
            heard += new.len();
        }
        assert_eq!(heard, EVENTS_MAX, "and the rest is handed over");
    }

    #[test]
    fn readers_are_bounded_in_number() {
        let events = told(0);
        let readers: Vec<_> = (0..FOLLOWERS_MAX).map(|_| events.follow(None, 0)).collect();
        assert!(readers.iter().all(Option::is_some) && events.follow(None, 0).is_none());
        drop(readers);
        assert!(events.follow(None, 0).is_some());
    }
}
