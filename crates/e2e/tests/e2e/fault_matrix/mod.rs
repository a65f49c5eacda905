//! The fault matrix: everything that can go wrong with a backend × methods × lengths of bodies × versions of HTTP × what
//! the route says of retries.
//!
//! Of each cell it is known what may come of it. Over all of them: nothing unsafe is sent twice unless the route says so,
//! nobody takes half an answer for the whole, and what comes to the backends is bounded by the budget.

mod backends;
mod cells;
mod clients;

use std::sync::Arc;
use std::time::Instant;

use e2e::{Backend, Plimsoll};

use backends::Arrivals;
use cells::{Cell, Fault, Got, METHODS, Word};
use clients::{LANES, send};

/// The backends, and Plimsoll before them.
struct Matrix {
    plimsoll: Plimsoll,
    arrivals: Arc<Arrivals>,
    _backends: [Backend; 3],
}

/// One pool a kind of fault, whose first backend has it and whose second is well; one route a pool and word.
fn matrix(h2: bool, budget: &str) -> Matrix {
    let arrivals: Arc<Arrivals> = Arc::default();
    let backend = if h2 { backends::h2 } else { backends::h1 };
    let (bad, good, refused) = (backend(&arrivals, false), backend(&arrivals, true), Backend::refusing());
    let protocol = if h2 { "h2" } else { "h1" };
    let mut config = String::from("[server]\nworkers = 2\n[listeners.web]\nbind = \"@web@\"\n");
    for (pool, bad, more) in [
        ("faulty", "@bad@", ""),
        ("refusing", "@refused@", ""),
        ("silent", "@bad@", "timeouts = { response_header = \"2s\" }"),
    ] {
        config += &format!(
            "[pools.{pool}]\nbackends = [\"{bad}\", {{ address = \"@good@\", priority = 1 }}]\nprotocol = \"{protocol}\"\n\
             health = false\noutlier = false\nretry_budget = {budget}\n{more}\n"
        );
        for word in Word::ALL {
            let (path, lines) = (word.path(), word.lines());
            config += &format!("[[routes]]\nmatch = {{ path = \"/{path}/{pool}\" }}\npool = \"{pool}\"\n{lines}\n");
        }
    }
    let plimsoll = Plimsoll::config(&config)
        .address("bad", bad.address())
        .address("good", good.address())
        .address("refused", refused.address())
        .start();
    Matrix {
        plimsoll,
        arrivals,
        _backends: [bad, good, refused],
    }
}

/// Sends every cell once, and looks at what has come of each.
fn run(client: &str, h2: bool) {
    let matrix = matrix(h2, "{ percent = 100, per_second = 1000 }");
    let cells = Cell::all(h2);
    println!(
        "scale: {} cells, {client} to {}",
        cells.len(),
        if h2 { "h2" } else { "h1" }
    );
    let got = send(&matrix.plimsoll, client, &cells);
    let (mut wrong, mut retried) = (Vec::new(), 0);
    for (number, (cell, got)) in cells.iter().zip(got).enumerate() {
        let [bad, good] = matrix.arrivals.of(number);
        retried += u32::from(good > 0);
        let allowed = cell.outcomes();
        // An answer of ours that comes before the whole request has, curl may take for a failure to send: with HTTP/2, since
        // its stream then ends with NO_ERROR (RFC 9113 §8.1), and otherwise when the connection is closed under it. It
        // has no answer then, and knows it.
        let early = |(ours, ..): &&(Got, u32, u32)| cell.size > 0 && ours.is_ours();
        let hidden = allowed
            .iter()
            .filter(early)
            .map(|(_, bad, good)| (Got::Broken, *bad, *good));
        let hidden: Vec<_> = hidden.collect();
        let outcome = (got.clone(), bad, good);
        if !allowed.contains(&outcome) && !hidden.contains(&outcome) {
            wrong.push(format!(
                "{cell}: {got:?} with {bad} and {good} heads, not one of {:?}",
                cell.outcomes()
            ));
        }
        // By the words of the promise, apart from what the cell's outcomes say: a stream that was refused was not processed.
        let processed = good + if cell.fault == Fault::RefusedStream { 0 } else { bad };
        assert!(
            cell.is_repeatable() || processed <= 1,
            "an unsafe request was sent twice: {cell}"
        );
    }
    println!("{retried} of {} were answered by another backend", cells.len());
    assert!(
        wrong.is_empty(),
        "{} of {} cells:\n{}",
        wrong.len(),
        cells.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
    assert_eq!(matrix.arrivals.wrong(), Vec::<String>::new());
}

#[test]
fn from_http_1_to_http_1() {
    run("http1.1", false);
}

#[test]
fn from_http_1_0_to_http_1() {
    run("http1.0", false);
}

#[test]
fn from_http_2_to_http_1() {
    run("http2-prior-knowledge", false);
}

#[test]
fn from_http_1_to_http_2() {
    run("http1.1", true);
}

#[test]
fn from_http_2_to_http_2() {
    run("http2-prior-knowledge", true);
}

/// Requests that may all be sent again, and whose first backend fails all of them: by resets, also of connections that were
/// kept after a 503, and by 503.
fn outage(requests: usize) -> Vec<Cell> {
    let faults = [
        Fault::ResetBeforeAnswer,
        Fault::UnavailableAndKept,
        Fault::ResetInUpload,
    ];
    let cell = |number: usize| Cell {
        fault: faults[number % faults.len()],
        method: METHODS[if number.is_multiple_of(2) { 0 } else { 2 }],
        size: [0, 1 << 10][number / 2 % 2],
        word: Word::Wide,
    };
    (0..requests).map(cell).collect()
}

#[test]
fn an_outage_is_multiplied_by_no_more_than_the_budget() {
    for (budget, free, per_second) in [("{ percent = 20, per_second = 0 }", 0.0, 0.0), ("{}", 100.0, 10.0)] {
        for h2 in [false, true] {
            let matrix = matrix(h2, budget);
            let cells = outage(6_000);
            let begun = Instant::now();
            // Whatever each of them got, none was truncated.
            send(&matrix.plimsoll, "http1.1", &cells);
            let took = begun.elapsed().as_secs_f64();
            let (sent, came) = (cells.len() as f64, f64::from(matrix.arrivals.total()));
            // What is under way when a backend begins to fail is not charged, once in ten seconds: on kept connections, and
            // otherwise.
            let graced = 2.0 * LANES as f64 * (1.0 + took / 10.0);
            let most = sent * 1.2 + free + per_second * took + graced;
            println!("{budget}, h2 {h2}: {sent} sent, {came} came: {:.3}", came / sent);
            assert!(came <= most, "{came} requests came of {sent}, and {most} may");
            assert!(came > sent * 1.1, "the budget is there to be spent: {came} of {sent}");
        }
    }
}
