//! Which parts of a connection have something to do: a bit for each, set by whatever the part waits for.
//!
//! A task that has many parts would have to look at all of them whenever it is woken. Here each part has a waker of its
//! own, and the task is woken once for all that become due before it looks.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Words of bits.
pub(super) const WORDS: usize = 4;

/// Parts that a task may have.
pub(super) const PARTS_MAX: usize = WORDS * 64;

/// The parts of one task.
#[derive(Default)]
pub(super) struct Due {
    bits: [AtomicU64; WORDS],
    /// The task has been woken, or is looking: it will see what is set now.
    called: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Due {
    /// What wakes the part `at`.
    pub(super) fn waker(self: &Arc<Self>, at: usize) -> Waker {
        Arc::new(Part { at, due: self.clone() }).into()
    }

    /// The part `at` has something to do.
    pub(super) fn set(&self, at: usize) {
        let bit = 1 << (at % 64);
        let before = self.bits[at / 64].fetch_or(bit, SeqCst);
        // Sequentially consistent with `rest`: either the task sees the bit, or this sees that it has gone to rest.
        if before & bit == 0 && !self.called.load(SeqCst) && !self.called.swap(true, SeqCst) {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(task) = &*task {
                task.wake_by_ref();
            }
        }
    }

    /// The task, which is woken by `waker`, begins to look.
    pub(super) fn begin(&self, waker: &Waker) {
        self.called.store(true, SeqCst);
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    /// Takes the parts of a word that are due, a bit each.
    pub(super) fn take(&self, word: usize) -> u64 {
        if self.bits[word].load(SeqCst) == 0 {
            return 0;
        }
        self.bits[word].swap(0, SeqCst)
    }

    /// These parts of a word have something to do. Nobody but the task itself says so, while it looks.
    pub(super) fn add(&self, word: usize, bits: u64) {
        if bits != 0 {
            self.bits[word].fetch_or(bits, SeqCst);
        }
    }

    /// Whether a part has something to do.
    pub(super) fn any(&self) -> bool {
        self.bits.iter().any(|word| word.load(SeqCst) != 0)
    }

    /// The task goes to rest, unless something has become due meanwhile.
    pub(super) fn rest(&self) -> bool {
        self.called.store(false, SeqCst);
        let rests = self.bits.iter().all(|word| word.load(SeqCst) == 0);
        if !rests {
            self.called.store(true, SeqCst);
        }
        rests
    }
}

/// What the waker of a part knows.
struct Part {
    at: usize,
    due: Arc<Due>,
}

impl Wake for Part {
    fn wake(self: Arc<Self>) {
        self.due.set(self.at);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.due.set(self.at);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn due_parts(due: &Due) -> Vec<usize> {
        (0..PARTS_MAX)
            .collect::<Vec<_>>()
            .chunks(64)
            .enumerate()
            .flat_map(|(word, parts)| {
                let bits = due.take(word);
                parts.iter().copied().filter(move |at| bits >> (at % 64) & 1 == 1)
            })
            .collect()
    }

    #[test]
    fn a_task_is_woken_once_for_all_that_is_due() {
        let (due, task) = (Arc::new(Due::default()), Arc::new(Counted::default()));
        due.begin(&task.clone().into());
        assert!(due.rest());
        for at in [0, 63, 64, PARTS_MAX - 1, 0] {
            due.waker(at).wake();
        }
        assert_eq!(task.0.load(SeqCst), 1);
        assert_eq!(due_parts(&due), [0, 63, 64, PARTS_MAX - 1]);
    }

    #[test]
    fn a_task_that_looks_is_not_woken_and_does_not_rest() {
        let (due, task) = (Arc::new(Due::default()), Arc::new(Counted::default()));
        due.begin(&task.clone().into());
        due.waker(7).wake_by_ref();
        assert!(!due.rest());
        assert_eq!(due_parts(&due), [7]);
        assert!(due.rest());
        assert_eq!(task.0.load(SeqCst), 0);
        due.waker(7).wake_by_ref();
        assert_eq!(task.0.load(SeqCst), 1);
    }

    #[test]
    fn nothing_that_another_thread_sets_is_missed() {
        const SETS: usize = 20_000;
        let due = Arc::new(Due::default());
        let setting = {
            let due = due.clone();
            std::thread::spawn(move || (0..SETS).for_each(|at| due.waker(at % PARTS_MAX).wake()))
        };
        // A task that is parked while it rests: were a wake-up lost, it would stay so.
        let (woken, parked) = std::sync::mpsc::channel();
        struct Sent(std::sync::mpsc::Sender<()>);
        impl Wake for Sent {
            fn wake(self: Arc<Self>) {
                let _ = self.0.send(());
            }
        }
        let waker = Waker::from(Arc::new(Sent(woken)));
        let mut seen = vec![false; PARTS_MAX];
        while !setting.is_finished() || seen.contains(&false) {
            due.begin(&waker);
            due_parts(&due).into_iter().for_each(|at| seen[at] = true);
            if due.rest() && seen.contains(&false) {
                parked
                    .recv_timeout(std::time::Duration::from_secs(60))
                    .expect("a wake-up");
            }
        }
    }
}
