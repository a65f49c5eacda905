//! Faults as text for people, and as JSON for machines.

use std::ops::Range;

use ariadne::{Color, Config, IndexType, Label, Report, ReportKind};
use plimsoll_core::document::{Fault, Json, Severity, Span};
use serde_json::json;

use super::source::{Sources, floor_boundary};

/// The longest line that is shown; a configuration in one line would be shown whole with each fault.
const LINE_BYTES_MAX: usize = 2_000;

/// The most faults that are shown as text. The list as JSON has them all.
const SHOWN_MAX: usize = 1_000;

/// The faults as text for a terminal, each with its place underlined. The order is the caller's.
pub fn text(faults: &[Fault], sources: &Sources, colour: bool) -> String {
    let mut out = Vec::new();
    let mut cache = ariadne::sources(
        sources
            .files
            .iter()
            .map(|source| (source.name.clone(), source.text.as_str())),
    );
    for fault in faults.iter().take(SHOWN_MAX) {
        if !shown_well(fault, sources) {
            out.extend_from_slice(plain(fault, sources).as_bytes());
            continue;
        }
        let report = report(fault, sources, colour);
        if report.write(&mut cache, &mut out).is_err() {
            out.extend_from_slice(plain(fault, sources).as_bytes());
        }
    }
    if faults.len() > SHOWN_MAX {
        out.extend_from_slice(format!("and {} more\n", faults.len() - SHOWN_MAX).as_bytes());
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The faults as a JSON list of `{ severity, file, line, column, message, help }`, and `also` where there is a second
/// place.
pub fn json(faults: &[Fault], sources: &Sources) -> Json {
    faults
        .iter()
        .map(|fault| {
            let position = sources.position(fault.span);
            let mut object = json!({
                "severity": severity(fault),
                "file": position.file,
                "line": position.line,
                "column": position.column,
                "message": fault.message,
                "help": fault.help,
            });
            if let Some((span, label)) = &fault.also {
                let position = sources.position(*span);
                object["also"] = json!({
                    "file": position.file, "line": position.line, "column": position.column, "message": label,
                });
            }
            object
        })
        .collect()
}

fn severity(fault: &Fault) -> &'static str {
    match fault.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Whether the lines of the fault can be shown: they exist and have a length that a terminal takes.
fn shown_well(fault: &Fault, sources: &Sources) -> bool {
    let also = fault.also.as_ref().map(|(span, _)| *span);
    std::iter::once(fault.span).chain(also).all(|span| {
        let Some(source) = sources.source(span) else {
            return false;
        };
        let text = &source.text;
        let at = floor_boundary(text, span.start as usize);
        let start = text[..at].rfind('\n').map_or(0, |line| line + 1);
        let end = text[at..].find('\n').map_or(text.len(), |line| at + line);
        end > 0 && end - start <= LINE_BYTES_MAX
    })
}

fn report<'a>(fault: &Fault, sources: &Sources, colour: bool) -> Report<'a, (String, Range<usize>)> {
    let (kind, mark) = match fault.severity {
        Severity::Error => (ReportKind::Error, Color::Red),
        Severity::Warning => (ReportKind::Warning, Color::Yellow),
    };
    // By characters: by bytes, ariadne slices lines at places that are none.
    let config = Config::default().with_color(colour).with_index_type(IndexType::Char);
    let place = place(fault.span, sources);
    // What has no message is not underlined.
    let label = Label::new(place.clone())
        .with_color(mark)
        .with_message(fault.help.as_deref().unwrap_or("here"));
    let mut labels = vec![label];
    if let Some((span, message)) = &fault.also {
        let second = Label::new(self::place(*span, sources))
            .with_message(message)
            .with_color(Color::Blue);
        // In the order of their lines, which are shown together then.
        let before = span.file == fault.span.file && span.start < fault.span.start;
        labels.insert(usize::from(!before), second);
    }
    Report::build(kind, place)
        .with_config(config)
        .with_message(&fault.message)
        .with_labels(labels)
        .finish()
}

/// The span in characters: at least one wide, where there is one, so that something is underlined.
fn place(span: Span, sources: &Sources) -> (String, Range<usize>) {
    let Some(source) = sources.source(span) else {
        return (String::new(), 0..0);
    };
    let text = &source.text;
    let mut start = floor_boundary(text, span.start as usize);
    if start == text.len() {
        start = floor_boundary(text, start.saturating_sub(1));
    }
    let end = floor_boundary(text, span.end as usize).max(start);
    let first = text[..start].chars().count();
    let width = text[start..end].chars().count().max(1);
    (source.name.clone(), first..first + width)
}

fn plain(fault: &Fault, sources: &Sources) -> String {
    let position = sources.position(fault.span);
    let mut line = format!(
        "{}: {}:{}:{}: {}",
        severity(fault),
        position.file,
        position.line,
        position.column,
        fault.message
    );
    if let Some(help) = &fault.help {
        line.push_str(&format!("\n  help: {help}"));
    }
    if let Some((span, label)) = &fault.also {
        let position = sources.position(*span);
        line.push_str(&format!(
            "\n  {label}: {}:{}:{}",
            position.file, position.line, position.column
        ));
    }
    line.push('\n');
    line
}
