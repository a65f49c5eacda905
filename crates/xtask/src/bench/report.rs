//! The table.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::machine::Machine;
use super::peers::Peer;
use super::stats::Spread;
use super::{Options, Series};
use crate::Fault;

/// Renders everything that was measured as Markdown.
pub(crate) fn render(machine: &Machine, peers: &[Box<dyn Peer>], all: &[Series], options: &Options) -> String {
    let measured = |name: &str| {
        all.iter()
            .any(|series| series.peer == name && !series.samples.is_empty())
    };
    let mut names = ["plimsoll"].into_iter().chain(peers.iter().map(|peer| peer.name()));
    let subject = names.find(|name| measured(name)).unwrap_or_default();
    let mut text = String::new();
    let _ = writeln!(text, "{}.", machine.describe());
    let _ = writeln!(
        text,
        "One worker on a core of its own, load and backends on the other; {} rounds of {} s each, peers in turn.\n",
        options.rounds, options.seconds
    );
    for peer in peers {
        let _ = writeln!(text, "- {}: {}", peer.name(), peer.version());
    }
    let _ = writeln!(
        text,
        "\nRatios are {subject}'s cost to the peer's, taken within a round.\n"
    );
    let _ = writeln!(
        text,
        "| work | proxy | unit | min | median | max | detail | ratio min | median | max | at most |"
    );
    let _ = writeln!(text, "|---|---|---|--:|--:|--:|---|--:|--:|--:|--:|");
    for series in all {
        row(&mut text, series, find(all, series, subject, series.variant));
    }
    growth(&mut text, all);
    notes(&mut text, all);
    text
}

/// The series of another peer or variant in the same workload.
fn find<'a>(all: &'a [Series], like: &Series, peer: &str, variant: usize) -> Option<&'a Series> {
    all.iter()
        .find(|other| other.workload.name == like.workload.name && other.peer == peer && other.variant == variant)
}

fn row(text: &mut String, series: &Series, subject: Option<&Series>) {
    let workload = series.workload;
    let name = format!("{} {}", workload.name, workload.variants[series.variant].label);
    let _ = write!(text, "| {} | {} | {} |", name.trim(), series.peer, workload.unit());
    cells(text, Spread::of(series.samples.iter().map(|sample| sample.value)), 1);
    let first = Spread::of(series.samples.iter().map(|sample| sample.detail.0));
    let second = Spread::of(series.samples.iter().map(|sample| sample.detail.1));
    match (workload.detail(), first, second) {
        ("", ..) | (_, None, _) | (_, _, None) => text.push_str(" |"),
        (detail, Some(first), Some(second)) => {
            let _ = write!(text, " {detail} {:.1}/{:.1} |", first.median, second.median);
        }
    }
    let other = subject.filter(|subject| subject.peer != series.peer);
    cells(text, other.and_then(|subject| ratio(subject, series)), 2);
    let budget = workload.budgets.iter().find(|(peer, _)| *peer == series.peer);
    let _ = match budget.filter(|_| subject.is_some_and(|subject| subject.peer == "plimsoll")) {
        Some((_, most)) => writeln!(text, " {most:.2} |"),
        None => writeln!(text, " |"),
    };
}

/// What growing the configuration or the workers costs each proxy.
fn growth(text: &mut String, all: &[Series]) {
    let grown = |series: &&Series| series.variant > 0;
    if !all.iter().any(|series| grown(&series)) {
        return;
    }
    let _ = writeln!(
        text,
        "\n| growth | proxy | ratio min | median | max | at most |\n|---|---|--:|--:|--:|--:|"
    );
    for series in all.iter().filter(grown) {
        let Some(base) = find(all, series, &series.peer, 0) else {
            continue;
        };
        let variants = series.workload.variants;
        let (to, from) = (variants[series.variant].label, variants[0].label);
        let _ = write!(text, "| {} {to} : {from} | {} |", series.workload.name, series.peer);
        cells(text, ratio(series, base), 2);
        let _ = match series.workload.growth_max.filter(|_| series.peer == "plimsoll") {
            Some(most) => writeln!(text, " {most:.2} |"),
            None => writeln!(text, " |"),
        };
    }
}

/// What has to be known of a workload's figures.
fn notes(text: &mut String, all: &[Series]) {
    let mut noted: Vec<_> = (all.iter().map(|series| series.workload))
        .filter(|workload| !workload.note.is_empty())
        .collect();
    noted.dedup_by_key(|workload| workload.name);
    if !noted.is_empty() {
        text.push('\n');
    }
    for workload in noted {
        let _ = writeln!(text, "- {}: {}.", workload.name, workload.note);
    }
}

/// `over` to `under`, round by round.
fn ratio(over: &Series, under: &Series) -> Option<Spread> {
    Spread::of(
        over.samples
            .iter()
            .zip(&under.samples)
            .map(|(over, under)| over.value / under.value),
    )
}

fn cells(text: &mut String, spread: Option<Spread>, digits: usize) {
    let _ = match spread {
        Some(Spread { min, median, max }) => write!(text, " {min:.digits$} | {median:.digits$} | {max:.digits$} |"),
        None => write!(text, " | | |"),
    };
}

/// Writes the table to `bench/results/peers-DATE-COMMIT.md`.
pub(crate) fn write(root: &Path, machine: &Machine, text: &str) -> Result<PathBuf, Fault> {
    let dir = root.join("bench/results");
    std::fs::create_dir_all(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    let day = super::machine::said(
        "date",
        &["-u", "+%Y-%m-%d-%H%M", "-d", &format!("@{}", machine.unix_time)],
    );
    let file = dir.join(format!("peers-{day}-{}.md", machine.commit));
    super::backends::write(&file, &format!("# Peers benchmark\n\n{text}"))?;
    Ok(file)
}
