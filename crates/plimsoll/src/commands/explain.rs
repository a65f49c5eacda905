//! `plimsoll explain`: tell a whole decision, step by step.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use plimsoll_control::explain::{self, Question, Unanswerable, Url};
use plimsoll_core::decision::{Decision, Stage, Step, Verdict};
use serde_json::Value;

use super::aim::escaped;
use super::client::{Failure, Target};

/// Steps of one stage that are printed; `--json` has them all.
const STEPS_MAX: usize = 20;

/// The widest name that the others are lined up with.
const SUBJECT_WIDTH_MAX: usize = 24;

/// Tell what a request would get, and why: listener, routes, backends, pick. Nothing is sent. Without a configuration
/// a running process is asked, also for what it did.
#[derive(Args)]
pub(crate) struct Explain {
    /// The configuration: TOML, YAML or JSON; a running process is asked unless given
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What a running process did with the request of this id
    #[arg(long, value_name = "ID", conflicts_with_all = ["config", "url"])]
    request_id: Option<String>,
    /// What it did last by this route
    #[arg(long, value_name = "NAME", conflicts_with_all = ["config", "url", "request_id"])]
    route: Option<String>,
    /// What it did last with this pool
    #[arg(long, value_name = "NAME", conflicts_with_all = ["config", "url", "request_id"])]
    pool: Option<String>,
    /// What it answered last with this reason, like no_healthy_backend
    #[arg(long, value_name = "WORD", conflicts_with_all = ["config", "url", "request_id"])]
    reason: Option<String>,
    #[command(flatten)]
    target: Target,
    /// Who asks: an address, with or without a port; this host unless given
    #[arg(long, value_name = "ADDR")]
    client: Option<String>,
    /// The method
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// A header field, "name: value"; once for each
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// A protocol that is offered within TLS, like "h2"; once for each
    #[arg(long, value_name = "NAME")]
    alpn: Vec<String>,
    /// The listener that the request comes in by; found by the URL unless given
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// What the random part of the pick follows from: the same number, the same pick
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "config")]
    seed: u64,
    /// Print the decision as JSON
    #[arg(long)]
    json: bool,
    /// What is asked for: `http://HOST:PORT/PATH`, `tls://HOST:PORT`, or `tcp://HOST:PORT`
    #[arg(required_unless_present_any = ["request_id", "route", "pool", "reason"])]
    url: Option<String>,
}

impl Explain {
    /// Exit code 0 for any answer, "no route" as well; 1 when the question or the configuration is wrong; 3 when the
    /// running process cannot be reached or knows nothing of it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Some(config) = &self.config else {
            if let Some(url) = &self.url {
                // What nobody could answer is told without asking.
                self.question(url)?;
            }
            return super::answer(self.ask());
        };
        let question = self.question(self.url.as_deref().unwrap_or_default())?;
        let loaded = match super::load(config) {
            Ok(loaded) => loaded,
            Err(code) => return Ok(code),
        };
        let decision = explain::offline(&loaded.plan, &question)?;
        super::show(&self.shown(&serde_json::to_value(&decision)?, &decision))?;
        Ok(ExitCode::SUCCESS)
    }

    /// What a running process would do, or did.
    fn ask(&self) -> Result<String, Failure> {
        let client = self.target.client()?;
        let told = match (&self.url, &self.request_id) {
            (Some(url), _) => client.get(&self.live_question(url))?,
            (None, Some(id)) => client.get(&format!("/api/v1/decisions/{}", escaped(id)))?,
            (None, None) => {
                let wanted = [("route", &self.route), ("pool", &self.pool), ("reason", &self.reason)];
                let wanted = wanted
                    .iter()
                    .filter_map(|(name, value)| Some((*name, value.as_deref()?)));
                let query = query(wanted.chain([("limit", "1")]));
                let latest = client.get(&format!("/api/v1/decisions?{query}"))?;
                let id = latest[0]["request_id"].as_str().map(escaped).ok_or_else(|| {
                    Failure::refused(
                        "no such decision is kept: failures of late are, and a sample of the others".into(),
                    )
                })?;
                client.get(&format!("/api/v1/decisions/{id}"))?
            }
        };
        let decision: Decision = serde_json::from_value(told.clone())
            .map_err(|error| Failure::refused(format!("the answer is no decision: {error}")))?;
        Ok(self.shown(&told, &decision))
    }

    fn live_question(&self, url: &str) -> String {
        let one = [
            ("url", Some(url)),
            ("method", Some(self.method.as_str())),
            ("client", self.client.as_deref()),
            ("listener", self.listener.as_deref()),
        ];
        let one = one.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let headers = self.headers.iter().map(|header| ("header", header.as_str()));
        let alpn = self.alpn.iter().map(|name| ("alpn", name.as_str()));
        format!("/api/v1/explain?{}", query(one.chain(headers).chain(alpn)))
    }

    fn shown(&self, told: &Value, decision: &Decision) -> String {
        if self.json {
            return format!("{told:#}\n");
        }
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        text(decision, colour)
    }

    fn question(&self, url: &str) -> Result<Question, Unanswerable> {
        Ok(Question {
            url: Url::parse(url)?,
            method: Question::method(&self.method)?,
            headers: self
                .headers
                .iter()
                .map(|text| Question::header(text))
                .collect::<Result<_, _>>()?,
            client: self.client.as_deref().map(Question::client).transpose()?,
            alpn: self.alpn.clone(),
            listener: self.listener.clone(),
            seed: self.seed,
        })
    }
}

/// `name=value&…`, escaped.
fn query<'q>(parameters: impl Iterator<Item = (&'q str, &'q str)>) -> String {
    let pairs: Vec<String> = parameters
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    pairs.join("&")
}

/// The decision for people: what it comes to, and then every step in a line.
fn text(decision: &Decision, colour: bool) -> String {
    let style = Style { colour };
    let mut out = format!("{}\n", style.strong(&summary(decision)));
    let width = decision.steps.iter().map(|step| step.subject.chars().count()).max();
    let width = width.unwrap_or(0).min(SUBJECT_WIDTH_MAX);
    for stage in decision.steps.chunk_by(|before, after| before.stage == after.stage) {
        let mut label = stage_word(stage[0].stage);
        out.push('\n');
        for step in shown(stage) {
            let Step { subject, why, .. } = step;
            let line = format!("{} {subject:<width$}  {why}", mark(step.verdict));
            // Writing into a String cannot fail.
            let _ = writeln!(out, "{label:<9} {}", style.line(step.verdict, &line));
            label = "";
        }
        if stage.len() > STEPS_MAX {
            let _ = writeln!(out, "{:<9} … {} in all; --json has them", "", stage.len());
        }
    }
    out
}

/// The steps of a stage that are printed: as many as there is room for, what was taken before anything else.
fn shown(stage: &[Step]) -> Vec<&Step> {
    if stage.len() <= STEPS_MAX {
        return stage.iter().collect();
    }
    let mut order: Vec<usize> = (0..stage.len()).collect();
    order.sort_by_key(|at| stage[*at].verdict != Verdict::Taken);
    order.truncate(STEPS_MAX);
    order.sort_unstable();
    order.into_iter().map(|at| &stage[at]).collect()
}

fn summary(decision: &Decision) -> String {
    let way = [
        ("listener", &decision.listener),
        ("route", &decision.route),
        ("pool", &decision.pool),
        ("backend", &decision.backend),
    ];
    let mut parts: Vec<String> = way
        .iter()
        .filter_map(|(what, name)| Some(format!("{what} {}", name.as_ref()?)))
        .collect();
    match (&decision.reason, &decision.pool) {
        (Some(reason), _) => parts.push(reason.clone()),
        (None, None) => parts.push("answered by us".into()),
        (None, Some(_)) => {}
    }
    parts.join(" → ")
}

fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Listener => "listener",
        Stage::Request => "request",
        Stage::Route => "routes",
        Stage::Filter => "filters",
        Stage::Member => "members",
        Stage::Tier => "tiers",
        Stage::Pick => "pick",
        Stage::Action => "action",
    }
}

fn mark(verdict: Verdict) -> char {
    match verdict {
        Verdict::Taken => '✓',
        Verdict::Passed => '·',
        Verdict::Refused => '✗',
    }
}

/// How things look in a terminal.
struct Style {
    colour: bool,
}

impl Style {
    fn strong(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn line(&self, verdict: Verdict, text: &str) -> String {
        match verdict {
            Verdict::Taken => text.to_owned(),
            Verdict::Passed => self.paint("2", text),
            Verdict::Refused => self.paint("33", text),
        }
    }

    /// `text` in the graphic rendition `code` (ECMA-48 SGR).
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_comes_first_and_the_steps_stand_in_columns() {
        let mut decision = Decision {
            listener: Some("web".into()),
            reason: Some("no_route".into()),
            ..Decision::default()
        };
        decision.step(Stage::Listener, "web", Verdict::Taken, "http on 0.0.0.0:8080");
        decision.step(Stage::Route, "a-longer-name", Verdict::Refused, "host is a, not b");
        decision.step(Stage::Route, "api", Verdict::Refused, "host is a, not c");
        let expected = "\
listener web → no_route

listener  ✓ web            http on 0.0.0.0:8080

routes    ✗ a-longer-name  host is a, not b
          ✗ api            host is a, not c
";
        assert_eq!(text(&decision, false), expected);
        assert!(text(&decision, true).starts_with("\x1b[1mlistener web"));
    }

    #[test]
    fn of_many_steps_the_one_that_was_taken_is_printed() {
        let mut decision = Decision::default();
        for at in 0..100 {
            let verdict = if at == 90 { Verdict::Taken } else { Verdict::Refused };
            decision.step(Stage::Route, format!("r{at}"), verdict, "");
        }
        let text = text(&decision, false);
        assert!(text.contains("✓ r90") && text.contains("… 100 in all"), "{text}");
        assert!(text.lines().count() <= STEPS_MAX + 3);
    }
}
