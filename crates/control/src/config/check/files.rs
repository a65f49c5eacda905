//! Files that the configuration names: what `run` could not do with them is told in the words of `run`.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use plimsoll_core::document::{Faults, Span};
use plimsoll_core::filter::{FilterEntry, Held};
use plimsoll_core::sticky::{SECRET_BYTES_MIN, SECRETS_MAX};
use plimsoll_net::Identity;

use super::super::file::{AccessTarget, AdminBind, File, FilterUse, Health, Page, Tried};
use super::super::plan::Secrets;
use super::super::source::Sources;
use super::tls;
use crate::{access, admin, files};

/// The longest secret that is read, in bytes.
const SECRET_BYTES_MAX: u64 = 4_096;

/// Adds an error for each file that cannot be used. What a text names that came from no file is not looked at: it is
/// relative to nothing.
pub(in super::super) fn check_files(file: &File, sources: &Sources, faults: &mut Faults) -> Secrets {
    let mut check = |span: Span, path: &str, wrong: &dyn Fn(&Path) -> Option<String>| {
        let is_file = sources.source(span).is_some_and(|source| source.path.is_some());
        if let Some(message) = is_file.then(|| wrong(&sources.resolve(span, path))).flatten() {
            faults.error(span, message);
        }
    };
    // Without the API nobody reads its token.
    let served = (file.admin.bind.0.as_ref()).is_some_and(|bind| bind.value != AdminBind::Off);
    for token in [&file.admin.token_file, &file.admin.read_token_file] {
        if let (true, Some(Tried(Some(path)))) = (served, token) {
            check(path.span, path, &|path| admin::check_token(path).err().map(told));
        }
    }
    if let AccessTarget::File(path) = &file.log.access.value {
        check(file.log.access.span, path, &|path| access::check(path).err().map(told));
    }
    if let Some(user) = &file.server.user {
        check(user.span, &user.value, &|_| Identity::named(user).err().map(told));
    }
    for mut entry in filters(file) {
        // Nobody is asked by a check.
        let files = entry.config.files();
        for named in files.into_iter().filter(|named| named.name.url().is_none()) {
            let name = &named.name;
            check(name.span, &name.written, &|path| {
                files::judge(path, &name.written, &*(named.slot)())
            });
        }
    }
    for name in pages(file).filter_map(Page::file) {
        let slot = Held::<plimsoll_core::error_page::Page>::slot();
        check(name.span, &name.written, &|path| {
            files::judge(path, &name.written, &*slot)
        });
    }
    super::tracing::check_files(file, &mut check);
    check_programs(file, sources, faults);
    tls::check_files(file, sources, faults);
    super::pool_tls::check_files(file, sources, faults);
    secrets(file, sources, faults)
}

/// Adds an error for each program that is named by anything but a file of this machine: whoever may send us a
/// configuration may not make us run programs.
fn check_programs(file: &File, sources: &Sources, faults: &mut Faults) {
    let is_file = |span: Span| sources.source(span).is_some_and(|source| source.path.is_some());
    let mut check = |span: Span| {
        if !is_file(span) {
            faults.error(span, "programs are named by a configuration's file alone");
        }
    };
    for (_, _, listener) in file.listeners.read() {
        let tls = listener.tls.as_ref().and_then(|item| item.value.as_ref());
        let hook = tls.and_then(|tls| tls.acme.as_ref()?.value.dns_hook.as_ref());
        hook.into_iter().for_each(|hook| check(hook.span));
    }
    for (_, _, pool) in file.pools.read() {
        let Some(Health::Check(table)) = pool.health.as_ref().map(|health| &health.value) else {
            continue;
        };
        let words = table.exec.as_ref().and_then(|exec| exec.0.as_ref());
        words.into_iter().for_each(|words| check(words.span));
    }
}

/// All filters, wherever they are written.
fn filters(file: &File) -> Vec<FilterEntry> {
    let listeners = file.listeners.read();
    let routes = file.routes.0.iter().filter_map(|item| item.value.as_ref());
    let uses = listeners.flat_map(|(_, _, listener)| &listener.filters);
    let own = uses.chain(routes.flat_map(|route| &route.filters));
    let own = own.filter_map(|written| match &written.value {
        FilterUse::One(entry) => Some((**entry).clone()),
        FilterUse::Chain(_) => None,
    });
    let chains = file.filters.read().flat_map(|(_, _, chain)| chain.chain.iter());
    own.chain(chains.map(|entry| entry.value.clone())).collect()
}

/// All error pages, wherever they are written.
fn pages(file: &File) -> impl Iterator<Item = &Page> {
    let listeners = file.listeners.read().map(|(_, _, listener)| &listener.error_pages);
    let routes = file.routes.0.iter().filter_map(|item| item.value.as_ref());
    let all = std::iter::once(&file.error_pages).chain(listeners);
    let all = all.chain(routes.map(|route| &route.error_pages));
    all.flat_map(|pages| &pages.0)
        .flat_map(|(_, kinds)| kinds.iter().map(|page| &page.value))
}

/// The secrets of the files that `secret_files` names.
fn secrets(file: &File, sources: &Sources, faults: &mut Faults) -> Secrets {
    let mut secrets = Secrets::default();
    if let Some(extra) = file.server.secret_files.get(SECRETS_MAX) {
        faults.error(extra.span, format!("there are at most {SECRETS_MAX} secrets"));
    }
    for written in &file.server.secret_files {
        let path = sources.resolve(written.span, &written.value);
        if sources.source(written.span).is_none_or(|source| source.path.is_none()) {
            continue;
        }
        match secret(&path) {
            Ok((secret, is_private)) => {
                if !is_private {
                    faults
                        .warning(written.span, "everybody on this machine can read the secret")
                        .help("chmod 600, or 640 for the group of the service");
                }
                secrets.0.push(secret);
            }
            Err(message) => {
                let fault = faults.error(written.span, message);
                fault.help(format!("openssl rand -base64 48 > {} makes one", written.value));
            }
        }
    }
    secrets
}

/// The secret in the file at `path`, without white space around it, and whether it is kept from strangers.
fn secret(path: &Path) -> Result<(Vec<u8>, bool), String> {
    let unreadable = |error: std::io::Error| format!("cannot read the secret: {error}");
    let file = crate::files::open_file(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("the secret is longer than {SECRET_BYTES_MAX} bytes"));
    }
    let secret = bytes.trim_ascii().to_vec();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "the secret has {} bytes: {SECRET_BYTES_MIN} at least",
            secret.len()
        ));
    }
    Ok((secret, mode & 0o004 == 0))
}

fn told(error: impl std::error::Error) -> String {
    error.to_string()
}
