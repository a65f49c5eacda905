//! Which listener a URL means.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use plimsoll_core::decision::{Decision, Stage, Verdict};
use plimsoll_core::document::nearest;
use plimsoll_core::snapshot::{Listener, Service, Snapshot};

use super::question::{Question, Scheme, Unanswerable, Url};

/// How well a listener fits a URL; the smallest is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// Another port than the scheme's, of a URL that names none.
    other_port: bool,
    /// No TLS, of a URL that wants it.
    without_tls: bool,
    /// An address that the URL does not name.
    other_address: bool,
    /// Every address rather than the URL's very one.
    any_address: bool,
}

/// The listener that the question names, or the one that fits its URL best.
pub(super) fn choose<'s>(
    snapshot: &'s Snapshot,
    question: &Question,
    decision: &mut Decision,
) -> Result<&'s Arc<Listener>, Unanswerable> {
    let listeners = &snapshot.listeners;
    let url = &question.url;
    let taken = match &question.listener {
        Some(name) => {
            let named = listeners.iter().find(|listener| *listener.name == **name);
            let named = named.ok_or_else(|| unknown(name, listeners))?;
            speaks(named, url).map_err(|why| Unanswerable::Listener(format!("the listener {name} {why}")))?;
            step(
                decision,
                named,
                Verdict::Taken,
                format!("named by --listener; {}", describe(named)),
            );
            named
        }
        None => fitting(listeners, url, decision)?,
    };
    if url.scheme == Scheme::Https && taken.tls.is_none() && matches!(taken.service, Service::Http(_)) {
        let why = "speaks no TLS; explained as if it came from a proxy in front that ends TLS";
        step(decision, taken, Verdict::Passed, why.into());
    }
    decision.listener = Some(taken.name.to_string());
    Ok(taken)
}

fn fitting<'s>(
    listeners: &'s [Arc<Listener>],
    url: &Url,
    decision: &mut Decision,
) -> Result<&'s Arc<Listener>, Unanswerable> {
    let judged: Vec<(&Arc<Listener>, Result<Fit, String>)> = listeners
        .iter()
        .map(|listener| (listener, fit(listener, url)))
        .collect();
    let best = judged.iter().filter_map(|(_, fit)| fit.as_ref().ok()).min().copied();
    let Some(best) = best else {
        let listed: Vec<String> = judged
            .iter()
            .map(|(listener, fit)| {
                let why = fit.as_ref().err().map_or("", String::as_str);
                format!("\n  {} {why} ({})", listener.name, describe(listener))
            })
            .collect();
        return Err(Unanswerable::Listener(format!(
            "no listener would take this; --listener NAME picks one all the same:{}",
            listed.concat()
        )));
    };
    let mut taken: Option<&Arc<Listener>> = None;
    for (listener, fit) in judged {
        let (verdict, why) = match (fit, taken) {
            (Err(why), _) => (Verdict::Refused, why),
            (Ok(fit), None) if fit == best => {
                taken = Some(listener);
                (Verdict::Taken, taken_words(fit, listener, url))
            }
            (Ok(fit), _) if fit == best => {
                let why = format!("would do as well: --listener {} picks it", listener.name);
                (Verdict::Passed, why)
            }
            (Ok(_), _) => (Verdict::Passed, format!("fits less well: {}", describe(listener))),
        };
        step(decision, listener, verdict, why);
    }
    Ok(taken.expect("the best fit is somebody's"))
}

fn taken_words(fit: Fit, listener: &Listener, url: &Url) -> String {
    let what = describe(listener);
    if fit.other_port {
        format!("the URL names no port; {what}")
    } else if fit.other_address {
        format!("the port is the URL's, though not the address {}; {what}", url.host)
    } else {
        what
    }
}

/// How well `listener` fits, or why it does not at all.
fn fit(listener: &Listener, url: &Url) -> Result<Fit, String> {
    speaks(listener, url)?;
    let wanted = url.port.or(url.scheme.default_port());
    // A port 0 is chosen when it is bound.
    let on_port = |bind: &SocketAddr| wanted.is_none_or(|port| bind.port() == port || bind.port() == 0);
    let other_port = !listener.bind.iter().any(on_port);
    let is_tcp = matches!(listener.service, Service::Tcp(_));
    if other_port && (url.port.is_some() || is_tcp) {
        let port = wanted.map_or_else(String::new, |port| format!(" {port}"));
        return Err(format!("is not at port{port}"));
    }
    if url.scheme != Scheme::Tcp && is_tcp && url.port.is_none() {
        return Err("speaks tcp, and the URL names no port".into());
    }
    let address = match &*url.host {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.parse::<IpAddr>().ok(),
    };
    let binds = || {
        listener
            .bind
            .iter()
            .filter(|bind| other_port || on_port(bind))
            .map(SocketAddr::ip)
    };
    let exact = address.is_some_and(|address| binds().any(|ip| ip == address));
    let covered = address.is_none_or(|address| binds().any(|ip| covers(ip, address)));
    Ok(Fit {
        other_port,
        without_tls: url.scheme == Scheme::Https
            && listener.tls.is_none()
            && !matches!(listener.service, Service::Passthrough(_)),
        other_address: !covered,
        any_address: !exact,
    })
}

/// Whether whoever connects to `address` may be accepted at `bind`.
fn covers(bind: IpAddr, address: IpAddr) -> bool {
    bind == address || bind.is_unspecified() && bind.is_ipv4() == address.is_ipv4()
}

fn speaks(listener: &Listener, url: &Url) -> Result<(), String> {
    let other = |says: &str, scheme: &str| {
        let host = if url.authority.starts_with(':') { "HOST" } else { "" };
        Err(format!("{says}; write {scheme}://{host}{}", url.authority))
    };
    match (&listener.service, url.scheme) {
        (Service::Http(_), Scheme::Tcp) if listener.tls.is_some() => other("speaks https", "https"),
        (Service::Http(_), Scheme::Tcp) => other("speaks http", "http"),
        (Service::Http(_), Scheme::Tls) => other("speaks http", "https"),
        (Service::Http(_), Scheme::Http) if listener.tls.is_some() => other("speaks TLS", "https"),
        (Service::Passthrough(_), Scheme::Http) => other("passes TLS through", "https"),
        (Service::Passthrough(_), Scheme::Tcp) => other("passes TLS through", "tls"),
        _ => Ok(()),
    }
}

fn describe(listener: &Listener) -> String {
    let protocol = match (&listener.service, listener.tls) {
        (Service::Http(_), None) => "http",
        (Service::Http(_), Some(_)) => "https",
        (Service::Tcp(_), None) => "tcp",
        (Service::Tcp(_), Some(_)) => "tcp in TLS",
        (Service::Passthrough(_), _) => "tls, passed through,",
    };
    let binds: Vec<String> = listener.bind.iter().map(ToString::to_string).collect();
    let each = listener.max_connections_per_client;
    let each = each.map(|most| format!(", {most} connections a client at the most"));
    let begins = listener.proxy_protocol.as_ref();
    let begins = begins.map_or("", |_| ", begun by a PROXY header");
    format!("{protocol} on {}{begins}{}", binds.join(", "), each.unwrap_or_default())
}

fn unknown(name: &str, listeners: &[Arc<Listener>]) -> Unanswerable {
    let names = || listeners.iter().map(|listener| &*listener.name);
    let help = match nearest(name, names()) {
        Some(word) => format!("did you mean {word}?"),
        None => format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
    };
    Unanswerable::Listener(format!("there is no listener \"{name}\"; {help}"))
}

fn step(decision: &mut Decision, listener: &Listener, verdict: Verdict, why: String) {
    decision.step(Stage::Listener, &*listener.name, verdict, why);
}
