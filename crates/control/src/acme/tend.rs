//! Sees to one certificate for as long as it is wanted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{Account, CertificateIdentifier, Error};

use super::account::Accounts;
use super::fault::Fault;
use super::issue::Issue;
use super::order::Ordering;
use super::schedule::{self, ADVICE_HOLDS, Advice, Failure, Held, Why};
use super::transport::Transport;

/// Between two looks at what is due: clocks are set, and others who share the storage are heard of.
const LOOK: Duration = Duration::from_secs(1);

/// Between two looks whether somebody else who shares the storage has ended its turn.
const TURN_LOOK: Duration = Duration::from_secs(5);

/// How long an order may take in all; with dns-01, each record has its own time besides.
const ORDER_MAX: Duration = Duration::from_secs(600);

/// How long it is until advice is asked for again that could not be had, and that is not given at all.
const ADVICE_RETRY: Duration = Duration::from_secs(3_600);
const ADVICE_NEVER: Duration = Duration::from_secs(86_400);

/// Sees to `issue` until it is dropped.
pub(super) async fn tend(issue: Arc<Issue>) {
    loop {
        let now = SystemTime::now();
        let (at, why) = issue.due(now);
        let rest = if at <= now {
            take_turn(&issue).await
        } else {
            if why == Why::Renewal {
                take_advice(&issue, now).await;
            }
            LOOK
        };
        tokio::time::sleep(rest).await;
        look(&issue).await;
    }
}

async fn look(issue: &Arc<Issue>) {
    let issue = issue.clone();
    if let Err(error) = tokio::task::spawn_blocking(move || issue.look()).await {
        tracing::error!(%error, "what is kept of a certificate could not be looked at");
    }
}

/// Asks for a certificate, unless somebody else who shares the storage does. How long to rest then.
async fn take_turn(issue: &Arc<Issue>) -> Duration {
    let (store, name) = (issue.store.clone(), issue.places.turn.clone());
    let turn = tokio::task::spawn_blocking(move || store.take(&name)).await;
    let taken = match turn {
        Ok(Ok(None)) => return TURN_LOOK,
        Ok(Ok(Some(turn))) => Ok(turn),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let _turn = match taken {
        Ok(turn) => turn,
        Err(why) => {
            let storage = issue.plan.storage.display();
            // Without a place to keep it in, every start would ask for another one.
            end(
                issue,
                Err(Fault::ours(format!("{storage} cannot be written to: {why}"))),
            )
            .await;
            return LOOK;
        }
    };
    // Whoever had the turn before may have done it, or may know when to try again.
    look(issue).await;
    let (at, why) = issue.due(SystemTime::now());
    if at > SystemTime::now() {
        return LOOK;
    }
    let domains = issue.plan.domains.join(", ");
    match &why {
        Why::Missing => tracing::info!(domains, directory = issue.plan.directory, "asking for a certificate"),
        Why::Lacks(lacks) => tracing::info!(domains, lacks = lacks.join(", "), "asking for a certificate"),
        Why::Renewal => tracing::info!(domains, directory = issue.plan.directory, "renewing a certificate"),
    }
    let under = issue.ordering();
    let patience = ORDER_MAX + hooks(issue);
    let ended = tokio::time::timeout(patience, try_once(issue, &why)).await;
    drop(under);
    let late = || Err(Fault::ours(format!("no certificate within {} s", patience.as_secs())));
    end(issue, ended.unwrap_or_else(|_| late())).await;
    LOOK
}

/// How long the programs of dns-01 may take in all.
fn hooks(issue: &Issue) -> Duration {
    let records = u32::try_from(issue.plan.domains.len()).unwrap_or(u32::MAX);
    match issue.plan.dns_hook {
        Some(_) => issue.plan.dns_timeout.saturating_mul(records.saturating_mul(2)),
        None => Duration::ZERO,
    }
}

async fn try_once(issue: &Arc<Issue>, why: &Why) -> Result<(), Fault> {
    let transport = Transport::new(&issue.plan).map_err(Fault::ours)?;
    let accounts = Accounts {
        plan: &issue.plan,
        places: &issue.places,
        store: &issue.store,
        transport: &transport,
    };
    let ordering = Ordering {
        plan: &issue.plan,
        answers: &issue.answers,
        transport: &transport,
    };
    let replaces = || (*why == Why::Renewal).then(|| identifier(issue)).flatten();
    let account = accounts.open().await?;
    let pem = match ordering.certificate(&account, replaces()).await {
        // The authority has forgotten the account, or closed it: another one is as good.
        Err(fault) if fault.is("accountDoesNotExist") || is_closed(&account, &fault).await => {
            tracing::warn!(
                told = fault.told,
                "the account is of no use any more: another one is registered"
            );
            let account = accounts.register().await?;
            ordering.certificate(&account, replaces()).await?
        }
        other => other?,
    };
    super::put(&issue.store, &issue.places.certificate, pem).await
}

/// Whether it is the account that is not authorized, and not a name: one that is closed may not even look at itself.
async fn is_closed(account: &Account, fault: &Fault) -> bool {
    if !fault.is("unauthorized") {
        return false;
    }
    let seen = account.order(account.id().to_owned()).await;
    matches!(seen, Err(Error::Api(problem)) if problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":unauthorized")))
}

/// Notes how a try has ended.
async fn end(issue: &Arc<Issue>, ended: Result<(), Fault>) {
    let (_, memory) = issue.known();
    let domains = issue.plan.domains.join(", ");
    issue.count(ended.as_ref().err().map(|fault| fault.failure));
    // What was put is read, and is held from now on.
    look(issue).await;
    let (held, _) = issue.known();
    let now = SystemTime::now();
    let memory = match (ended, &held) {
        (Ok(()), Some(held)) => {
            tracing::info!(domains, "a certificate was issued");
            schedule::given(now, held)
        }
        (Ok(()), None) => {
            let error = "what was kept cannot be read".to_owned();
            schedule::failed(now, &memory, None, (Failure::Other, error), None, random())
        }
        (Err(fault), held) => {
            let told = (fault.failure, fault.told.clone());
            let memory = schedule::failed(now, &memory, held.as_ref(), told, fault.retry_after, random());
            let again = memory.try_again.map(humantime::format_rfc3339_seconds);
            let again = again.map(|again| again.to_string()).unwrap_or_default();
            let failures = memory.failures;
            tracing::error!(
                domains,
                failures,
                again,
                error = fault.told,
                "no certificate was issued"
            );
            memory
        }
    };
    issue.remember(memory).await;
}

/// Asks the authority when it wants what it has given to be renewed, where that is not known.
async fn take_advice(issue: &Arc<Issue>, now: SystemTime) {
    let (Some(held), memory) = issue.known() else { return };
    if !schedule::wants_advice(now, &held, &memory) {
        return;
    }
    let (window, ask_again) = match advice(issue).await {
        Ok((window, holds)) => (window, schedule::advice_ends(now, holds)),
        Err(told) => {
            tracing::debug!(told, "the authority gives no advice");
            (known_window(&held, &memory), now + ADVICE_RETRY)
        }
    };
    let advice = Advice {
        of: held.fingerprint,
        window,
        ask_again,
    };
    issue
        .remember(schedule::Memory {
            advice: Some(advice),
            ..memory
        })
        .await;
}

fn known_window(held: &Held, memory: &schedule::Memory) -> Option<(SystemTime, SystemTime)> {
    let advice = memory.advice.as_ref().filter(|advice| advice.of == held.fingerprint);
    advice.and_then(|advice| advice.window)
}

/// When a certificate is to be renewed, and how long that holds; `None` of an authority that gives no advice.
type Advised = (Option<(SystemTime, SystemTime)>, Duration);

async fn advice(issue: &Arc<Issue>) -> Result<Advised, String> {
    let transport = Transport::new(&issue.plan)?;
    let accounts = Accounts {
        plan: &issue.plan,
        places: &issue.places,
        store: &issue.store,
        transport: &transport,
    };
    let Some(identifier) = identifier(issue) else {
        return Ok((None, ADVICE_NEVER));
    };
    let account = accounts.existing().await.map_err(|fault| fault.told)?;
    // What was given to another account is asked about by nobody.
    let Some(account) = account else {
        return Ok((None, ADVICE_HOLDS));
    };
    match account.renewal_info(&identifier).await {
        Ok((info, holds)) => {
            let window = &info.suggested_window;
            let (from, to) = (SystemTime::from(window.start), SystemTime::from(window.end));
            if let Some(url) = &info.explanation_url {
                tracing::info!(
                    domains = issue.plan.domains.join(", "),
                    url,
                    "the authority explains when to renew"
                );
            }
            Ok((Some((from, to)), holds))
        }
        Err(Error::Unsupported(_)) => Ok((None, ADVICE_NEVER)),
        Err(error) => Err(error.to_string()),
    }
}

/// What the authority knows the certificate by that is held (RFC 9773 §4.1).
fn identifier(issue: &Issue) -> Option<CertificateIdentifier<'static>> {
    let marks = issue.pair()?.marks()?;
    let encode = |bytes: &[u8]| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, bytes).into();
    Some(CertificateIdentifier {
        authority_key_identifier: encode(&marks.authority_key),
        serial: encode(&marks.serial),
    })
}

/// From 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness, everybody waits as long as the others.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
