//! `[tracing]`: fields that can be sent, files that can be read, and secrets that stay secret.

use std::path::Path;

use plimsoll_core::document::{Faults, Span};

use super::super::file::{FieldText, File};
use crate::{files, originations, traces};

/// Fields that say how the request itself is sent, which is up to us.
const OURS: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "transfer-encoding",
    "user-agent",
];

/// Adds an error for each field that cannot be sent.
pub(super) fn check(file: &File, faults: &mut Faults) {
    let Some(tracing) = &file.tracing else { return };
    for (name, _) in &tracing.headers.0 {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            faults.error(name.span, format!("\"{}\" is no field's name", name.escape_debug()));
        } else if OURS.contains(&name.to_ascii_lowercase().as_str()) {
            faults.error(name.span, format!("`{}` is set by us", name.value));
        }
    }
}

/// Warns of secrets that everybody on the way can read.
pub(super) fn warn(file: &File, faults: &mut Faults) {
    let Some(tracing) = &file.tracing else { return };
    let url = &tracing.otlp.value.0;
    let host = url.host_and_port().map_or("", |(host, _)| host);
    let is_near = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
    if !url.secure && !is_near && !tracing.headers.0.is_empty() {
        faults
            .warning(tracing.otlp.span, "`headers` are sent to the collector in plain text")
            .help("use https://, or a collector on this machine");
    }
}

/// Looks at the file that stands at a place, and tells what is wrong with it.
type Check<'c> = dyn FnMut(Span, &str, &dyn Fn(&Path) -> Option<String>) + 'c;

/// Adds an error for each file that cannot be used, by `check`.
pub(super) fn check_files(file: &File, check: &mut Check<'_>) {
    let Some(tracing) = &file.tracing else { return };
    for (_, text) in &tracing.headers.0 {
        if let FieldText::In(path) = text {
            check(path.span, path, &|path| traces::read_field(path).err());
        }
    }
    if let Some(path) = &tracing.ca {
        check(path.span, path, &|found| {
            let read = files::open(found).and_then(|(_, bytes)| originations::authorities(&bytes));
            read.err().map(|wrong| wrong.told(&path.value))
        });
    }
}
