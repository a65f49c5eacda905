//! The access log's writer: a bounded ring from the workers to one thread that writes.
//!
//! A worker never waits: a line that finds no room is dropped and counted.

mod sink;

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use plimsoll_core::upcall;

use self::sink::{LogFile, Sink, Syslog};
use crate::config::AccessLog;

/// Lines that may wait.
const RING_LINES_MAX: usize = 8192;

/// Bytes that may wait; a line can hold a path of many kilobytes.
const RING_BYTES_MAX: usize = 16 << 20;

/// Bytes that are written at once.
const BATCH_BYTES: usize = 64 << 10;

/// Pauses while nothing comes: the writer looks again after the first, then later and later. Were it asleep in the
/// ring, every worker would pay a system call to wake it.
const PAUSES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(40)];

/// Between two complaints about lines that cannot be written.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// How long the end of the process waits for a file that takes no more.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// Why the access log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file cannot be had.
    #[error("the access log cannot be opened at {}: {error}; set [log] access", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Nobody listens there.
    #[error("the access log cannot be sent to syslog: {0}; set [log] access")]
    Syslog(io::Error),
    /// There is no thread to write it.
    #[error("the access log's writer cannot be started: {0}")]
    Thread(io::Error),
}

/// The workers' end of the ring.
#[derive(Debug)]
pub struct Ring {
    lines: SyncSender<Message>,
    counts: Arc<Counts>,
}

/// The writer, to be finished at the end of the process.
#[derive(Debug)]
pub struct Writer {
    lines: SyncSender<Message>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting_bytes: AtomicUsize,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(Vec<u8>),
    /// The file may have been moved away.
    Reopen,
    /// Nothing more is wanted; the sender is told when everything before is written.
    End(SyncSender<()>),
}

/// The access log at `target`: what workers write to, and what is to be finished; nothing when it is off. Lines that
/// are lost are counted in `dropped`.
///
/// # Errors
/// The file cannot be opened for appending.
pub fn open(target: &AccessLog, dropped: Arc<AtomicU64>) -> Result<Option<(Ring, Writer)>, AccessError> {
    let sink: Box<dyn Sink> = match target {
        AccessLog::Off => return Ok(None),
        AccessLog::Stdout => Box::new(io::stdout()),
        AccessLog::File(path) => Box::new(LogFile::open(path).map_err(|error| AccessError::Open {
            path: path.clone(),
            error,
        })?),
        AccessLog::Syslog(address) => Box::new(Syslog::open(*address).map_err(AccessError::Syslog)?),
    };
    start(sink, dropped).map(Some).map_err(AccessError::Thread)
}

/// What keeps the file at `path` from being opened, whoever runs the process, as far as it can be told without making
/// it: that it is a directory, or has none to be in.
pub(crate) fn check(path: &Path) -> Result<(), AccessError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let obstacle = match fs::metadata(path) {
        Ok(found) if found.is_dir() => OpenOptions::new().append(true).open(path).err(),
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::metadata(directory).err(),
        Err(error) => Some(error),
    };
    match obstacle {
        Some(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(AccessError::Open {
            path: path.to_path_buf(),
            error,
        }),
        _ => Ok(()),
    }
}

fn start(sink: Box<dyn Sink>, dropped: Arc<AtomicU64>) -> io::Result<(Ring, Writer)> {
    let (lines, outlet) = sync_channel(RING_LINES_MAX);
    let counts = Arc::new(Counts {
        waiting_bytes: AtomicUsize::new(0),
        dropped,
    });
    let mut pen = Pen {
        sink,
        batch: Vec::with_capacity(BATCH_BYTES),
        batched: 0,
        counts: counts.clone(),
        complained: None,
        mid_line: false,
    };
    let thread = std::thread::Builder::new()
        .name("access-log".into())
        .spawn(move || pen.write_all(&outlet))?;
    let ring = Ring {
        lines: lines.clone(),
        counts,
    };
    Ok((ring, Writer { lines, thread }))
}

impl upcall::AccessLog for Ring {
    fn write(&self, line: Vec<u8>) {
        let bytes = line.len();
        let fits = self.counts.waiting_bytes.fetch_add(bytes, Relaxed) + bytes <= RING_BYTES_MAX;
        if !fits || self.lines.try_send(Message::Line(line)).is_err() {
            self.counts.waiting_bytes.fetch_sub(bytes, Relaxed);
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// What has the access log begin anew where its file is called now.
#[derive(Clone, Debug)]
pub struct Reopener(SyncSender<Message>);

impl Reopener {
    /// Asks for it. A ring that is full of lines has the writer look by itself within a second.
    pub fn reopen(&self) {
        let _ = self.0.try_send(Message::Reopen);
    }
}

impl Writer {
    /// What has the log begin anew.
    pub fn reopener(&self) -> Reopener {
        Reopener(self.lines.clone())
    }

    /// Waits until what was handed over is written, or a few seconds have shown that it cannot be.
    pub fn finish(self) {
        let (done, ended) = sync_channel(1);
        let deadline = Instant::now() + FLUSH_PATIENCE;
        let mut end = Message::End(done);
        // A full ring empties, unless the file takes nothing.
        while let Err(std::sync::mpsc::TrySendError::Full(back)) = self.lines.try_send(end) {
            if Instant::now() > deadline {
                return tracing::error!("the access log takes no more; its last lines are lost");
            }
            end = back;
            std::thread::sleep(PAUSES[0]);
        }
        match ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            // The thread is at its end, or it panicked and has said so.
            Ok(()) => drop(self.thread.join()),
            Err(_) => tracing::error!("the access log takes no more; its last lines are lost"),
        }
    }
}

/// The writing thread's own.
struct Pen {
    sink: Box<dyn Sink>,
    batch: Vec<u8>,
    batched: u64,
    counts: Arc<Counts>,
    complained: Option<Instant>,
    /// What was written last ends in the middle of a line.
    mid_line: bool,
}

impl Pen {
    fn write_all(&mut self, lines: &Receiver<Message>) {
        let mut pause = PAUSES[0];
        loop {
            match lines.try_recv() {
                Ok(Message::Line(line)) => {
                    self.counts.waiting_bytes.fetch_sub(line.len(), Relaxed);
                    self.batch.extend_from_slice(&line);
                    self.batched += 1;
                    if self.batch.len() >= BATCH_BYTES {
                        self.write_batch();
                    }
                    pause = PAUSES[0];
                }
                Ok(Message::Reopen) => {
                    self.write_batch();
                    let reopened = self.sink.reopen();
                    self.complain(reopened);
                }
                Err(TryRecvError::Empty) => {
                    self.write_batch();
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(PAUSES[1]);
                }
                Ok(Message::End(done)) => {
                    self.write_batch();
                    // Whoever asked may have given up.
                    let _ = done.try_send(());
                    return;
                }
                Err(TryRecvError::Disconnected) => return self.write_batch(),
            }
        }
    }

    fn write_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        // A file that cannot be found again is written to where it is.
        let looked = self.sink.look();
        self.complain(looked);
        let (count, written) = self.put();
        if written.is_err() {
            let lines = self.batch[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.counts
                .dropped
                .fetch_add(self.batched.saturating_sub(lines), Relaxed);
        }
        self.complain(written);
        self.batch.clear();
        // A long line may have made it large.
        self.batch.shrink_to(BATCH_BYTES);
        self.batched = 0;
    }

    /// Writes the batch; how many of its bytes were, and what went wrong with the others. A line that a full disk has cut
    /// off is ended before anything else is written, or the next one would be lost with it.
    fn put(&mut self) -> (usize, io::Result<()>) {
        if self.mid_line {
            if let Err(error) = self.sink.write_all(b"\n") {
                return (0, Err(error));
            }
            self.mid_line = false;
        }
        let mut count = 0;
        let written = loop {
            match self.sink.write(&self.batch[count..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if count == self.batch.len() {
                break self.sink.flush();
            }
        };
        if count > 0 {
            self.mid_line = self.batch[count - 1] != b'\n';
        }
        (count, written)
    }

    /// Tells what went wrong, now and then.
    fn complain(&mut self, result: io::Result<()>) {
        let Err(error) = result else { return };
        let (now, dropped) = (Instant::now(), self.counts.dropped.load(Relaxed));
        if self.complained.is_none_or(|at| now - at >= COMPLAINT_INTERVAL) {
            self.complained = Some(now);
            tracing::error!(%error, dropped, "the access log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use plimsoll_core::upcall::AccessLog as _;

    use super::*;

    /// Takes what is written, or is stuck, or fails.
    #[derive(Clone, Default)]
    struct Paper {
        text: Arc<Mutex<Vec<u8>>>,
        gate: Arc<Mutex<()>>,
        fails: bool,
        /// Bytes that it has room for, where that is not endless.
        room: Arc<Mutex<Option<usize>>>,
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().expect("no panic");
            if self.fails {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let mut room = self.room.lock().expect("no panic");
            let count = room.map_or(bytes.len(), |room| room.min(bytes.len()));
            if let Some(room) = &mut *room {
                *room -= count;
            }
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.text.lock().expect("no panic").extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Paper {}

    fn begin(sink: &Paper) -> (Ring, Writer, Arc<AtomicU64>) {
        let dropped = Arc::new(AtomicU64::new(0));
        let (ring, writer) = start(Box::new(sink.clone()), dropped.clone()).expect("a thread");
        (ring, writer, dropped)
    }

    #[test]
    fn every_line_is_written_in_order_before_the_end() {
        let sink = Paper::default();
        let (ring, writer, dropped) = begin(&sink);
        let lines: Vec<String> = (0..5_000).map(|at| format!("line {at}\n")).collect();
        lines.iter().for_each(|line| ring.write(line.clone().into_bytes()));
        writer.finish();
        let text = String::from_utf8(sink.text.lock().expect("no panic").clone()).expect("text");
        assert_eq!(text, lines.concat());
        assert_eq!(dropped.load(Relaxed), 0);
    }

    #[test]
    fn a_disk_that_was_full_costs_the_lines_that_did_not_fit_and_no_other() {
        let sink = Paper::default();
        *sink.room.lock().expect("no panic") = Some(20);
        let (ring, writer, dropped) = begin(&sink);
        let wait = |count: u64| {
            let begun = Instant::now();
            while dropped.load(Relaxed) < count {
                assert!(begun.elapsed() < FLUSH_PATIENCE * 4, "{count} lines are dropped");
                std::thread::sleep(PAUSES[0]);
            }
        };
        ring.write(b"the first line\n".to_vec());
        ring.write(b"the second line\n".to_vec());
        wait(1);
        ring.write(b"the third line\n".to_vec());
        wait(2);
        *sink.room.lock().expect("no panic") = None;
        ring.write(b"the fourth line\n".to_vec());
        writer.finish();
        let text = String::from_utf8(sink.text.lock().expect("no panic").clone()).expect("text");
        assert_eq!(text, "the first line\nthe s\nthe fourth line\n");
        assert_eq!(dropped.load(Relaxed), 2);
    }

    #[test]
    fn a_file_that_is_stuck_costs_lines_and_no_time() {
        let sink = Paper::default();
        let (ring, writer, dropped) = begin(&sink);
        let gate = sink.gate.lock().expect("no panic");
        let lines = 3 * RING_LINES_MAX as u64;
        // Long enough that the thread's batch, which fills before it is stuck, holds few of them.
        (0..lines).for_each(|_| ring.write(vec![b'x'; 64]));
        assert!(dropped.load(Relaxed) > RING_LINES_MAX as u64 / 2);
        drop(gate);
        writer.finish();
        let written = sink.text.lock().expect("no panic").len() as u64 / 64;
        assert_eq!(written + dropped.load(Relaxed), lines);
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let sink = Paper::default();
        let (ring, writer, dropped) = begin(&sink);
        let gate = sink.gate.lock().expect("no panic");
        (0..64).for_each(|_| ring.write(vec![b'x'; 1 << 20]));
        assert!(dropped.load(Relaxed) >= 40, "{}", dropped.load(Relaxed));
        drop(gate);
        writer.finish();
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let sink = Paper {
            fails: true,
            ..Paper::default()
        };
        let (ring, writer, dropped) = begin(&sink);
        (0..10).for_each(|_| ring.write(b"x\n".to_vec()));
        writer.finish();
        assert_eq!(dropped.load(Relaxed), 10);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let target = AccessLog::File("/nonexistent/access.log".into());
        let error = open(&target, Arc::default()).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("/nonexistent/access.log")));
        assert!(open(&AccessLog::Off, Arc::default()).is_ok_and(|log| log.is_none()));
    }
}
