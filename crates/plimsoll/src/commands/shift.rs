//! `plimsoll shift`: another split for a route, little by little.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, Failure, Target};
use super::text;

/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(500);

/// What percents are written in: a hundredth of one.
const PARTS: f64 = 100.0;

/// Shift the requests of a route from pool to pool, little by little, and back at once when it does badly
#[derive(Args)]
pub(crate) struct Shift {
    /// The route, which has a split
    route: String,
    /// Percents in the end, like green=100; pools that are not named share what is left as they do now
    #[arg(value_name = "POOL=PERCENT", value_parser = part, required_unless_present = "back")]
    parts: Vec<(String, f64)>,
    /// How long it takes, like 10m; at once unless given
    #[arg(long, value_name = "DURATION")]
    over: Option<String>,
    /// Go back when this is so of the pools that grow: 'error_rate > 1%', 'p99 > 250ms'; may be given again
    #[arg(long, value_name = "LIMIT")]
    abort_if: Vec<String>,
    /// Begin only once every backend of the pools that grow is healthy
    #[arg(long)]
    when_healthy: bool,
    /// Come back at once, and leave the process to it
    #[arg(long)]
    detach: bool,
    /// Take the shift that is under way back
    #[arg(long, conflicts_with_all = ["parts", "over", "abort_if", "when_healthy", "detach"])]
    back: bool,
    #[command(flatten)]
    target: Target,
    /// Print the route as JSON, as the admin API tells it
    #[arg(long)]
    json: bool,
}

fn part(written: &str) -> Result<(String, f64), &'static str> {
    let wrong = "write POOL=PERCENT, like green=100";
    let (pool, percent) = written.split_once('=').ok_or(wrong)?;
    let percent: f64 = percent
        .strip_suffix('%')
        .unwrap_or(percent)
        .parse()
        .map_err(|_| wrong)?;
    if pool.is_empty() || !(0.0..=100.0).contains(&percent) {
        return Err("a percent is from 0 to 100, of a pool with a name");
    }
    Ok((pool.to_owned(), percent))
}

impl Shift {
    /// Exit code 0: the route has shifted, or with --detach has begun to. 3 when it went back, the process refuses, or it
    /// cannot be reached.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        super::answer(self.ask())
    }

    fn ask(&self) -> Result<String, Failure> {
        let client = self.target.client()?;
        let path = format!("/api/v1/routes/{}/shift", super::aim::escaped(&self.route));
        if self.back {
            let route = client.call("DELETE", &path, None)?;
            return Ok(self.page(&route));
        }
        let now = self.look(&client)?;
        let mut wish = json!({ "to": weights(&now["split"], &self.parts)? , "when_healthy": self.when_healthy });
        if let Some(over) = &self.over {
            wish["over"] = over.as_str().into();
        }
        if !self.abort_if.is_empty() {
            wish["abort_if"] = json!(self.abort_if);
        }
        let mut route = client.call("POST", &path, Some(&wish))?;
        let (id, mut said) = (route["shift"]["id"].clone(), String::new());
        while !self.detach && is_under_way(&route) {
            let news = progress(&route);
            if news != said {
                crate::stderr::say(&news);
                said = news;
            }
            thread::sleep(LOOK);
            route = self.look(&client)?;
            if route["shift"]["id"] != id {
                let why = match route["shift"].is_null() {
                    true => "the process that shifted was replaced, and the split stays where it was",
                    false => "another shift has taken the place of this one",
                };
                return Err(Failure::refused(format!(
                    "{}: {why}; now {}",
                    self.route,
                    progress(&route)
                )));
            }
        }
        if self.detach || route["shift"]["state"] == "done" {
            return Ok(self.page(&route));
        }
        Err(Failure::refused(progress(&route)))
    }

    /// The route as it stands.
    fn look(&self, client: &Client) -> Result<Value, Failure> {
        let routes = client.get("/api/v1/routes")?;
        let all = routes.as_array().into_iter().flatten();
        let found = all.clone().find(|route| route["name"] == self.route.as_str());
        found.cloned().ok_or_else(|| {
            let names: Vec<String> = all.map(|route| text(&route["name"])).collect();
            Failure::refused(format!(
                "there is no route `{}`; there are {}",
                self.route,
                names.join(", ")
            ))
        })
    }

    fn page(&self, route: &Value) -> String {
        if self.json {
            return format!("{route:#}\n");
        }
        format!("{}\n", progress(route))
    }
}

fn is_under_way(route: &Value) -> bool {
    ["waiting", "shifting"]
        .iter()
        .any(|state| route["shift"]["state"] == *state)
}

/// `shop: shifting, 40 % done: blue 60 %, green 40 %`.
fn progress(route: &Value) -> String {
    let shift = &route["shift"];
    let state = match shift["state"].as_str() {
        Some("shifting") => format!("shifting, {} % done", text(&shift["percent"])),
        Some(state) => state.replace('_', " "),
        None => "not shifted".into(),
    };
    let why = if shift["why"].is_null() {
        String::new()
    } else {
        format!(" ({})", text(&shift["why"]))
    };
    let parts = route["split"].as_array().cloned().unwrap_or_default();
    let weight = |part: &Value| part["weight"].as_f64().unwrap_or_default();
    let whole: f64 = parts.iter().map(weight).sum::<f64>().max(1.0);
    let part = |part: &Value| format!("{} {:.4} %", text(&part["pool"]), weight(part) * 100.0 / whole);
    // 40.0000 is 40, and 0.0100 is 0.01.
    let trim = |part: String| {
        let (name, percent) = part.rsplit_once(' ').unwrap_or((&part, ""));
        format!("{} {percent}", name.trim_end_matches('0').trim_end_matches('.'))
    };
    let parts: Vec<String> = parts.iter().map(|of| trim(part(of))).collect();
    format!("{}: {state}{why}: {}", text(&route["name"]), parts.join(", "))
}

/// The weights in the end: what is `wanted` of `split` as it is, and for the rest what is left in the proportions of now.
fn weights(split: &Value, wanted: &[(String, f64)]) -> Result<Vec<Value>, Failure> {
    let Some(parts) = split.as_array() else {
        return Err(Failure::refused("the route has no split".into()));
    };
    let of = |pool: &Value| {
        wanted
            .iter()
            .find(|(name, _)| pool == name.as_str())
            .map(|(_, percent)| *percent)
    };
    if let Some((stranger, _)) = wanted
        .iter()
        .find(|(name, _)| parts.iter().all(|part| part["pool"] != name.as_str()))
    {
        let pools: Vec<String> = parts.iter().map(|part| text(&part["pool"])).collect();
        let why = format!(
            "the pool `{stranger}` has no part of the split; its pools are {}",
            pools.join(", ")
        );
        return Err(Failure::refused(why));
    }
    let asked: f64 = wanted.iter().map(|(_, percent)| percent).sum();
    if asked > 100.0 {
        return Err(Failure::refused(format!("that is {asked} % in all: 100 at the most")));
    }
    let weight = |part: &Value| part["weight"].as_f64().unwrap_or_default();
    let others: Vec<&Value> = parts.iter().filter(|part| of(&part["pool"]).is_none()).collect();
    let theirs: f64 = others.iter().map(|part| weight(part)).sum();
    let left = 100.0 - asked;
    if left > 0.0 && others.is_empty() {
        return Err(Failure::refused(format!(
            "that is {asked} % in all, and no other pool is there for the rest"
        )));
    }
    let percent = |part: &Value| match of(&part["pool"]) {
        Some(percent) => percent,
        None if theirs > 0.0 => left * weight(part) / theirs,
        #[expect(clippy::cast_precision_loss, reason = "a handful of pools")]
        None => left / others.len() as f64,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10,000")]
    let whole = |part: &Value| (percent(part) * PARTS).round() as u32;
    Ok(parts
        .iter()
        .map(|part| json!({ "pool": part["pool"], "weight": whole(part) }))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(parts: &[(&str, u32)]) -> Value {
        parts
            .iter()
            .map(|(pool, weight)| json!({ "pool": pool, "weight": weight }))
            .collect()
    }

    #[test]
    fn percents_are_written_with_or_without_their_sign() {
        assert_eq!(part("green=100"), Ok(("green".into(), 100.0)));
        assert_eq!(part("green=0.5%"), Ok(("green".into(), 0.5)));
        for wrong in ["green", "green=", "=5", "green=101", "green=-1", "green=NaN"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_is_not_named_shares_what_is_left_as_before() {
        let now = split(&[("blue", 60), ("red", 20), ("green", 20)]);
        for (wanted, expected) in [
            (vec![("green", 100.0)], [0, 0, 10_000]),
            (vec![("green", 20.0)], [6_000, 2_000, 2_000]),
            (vec![("green", 60.0)], [3_000, 1_000, 6_000]),
            (vec![("blue", 50.0), ("red", 50.0)], [5_000, 5_000, 0]),
        ] {
            let wanted: Vec<(String, f64)> = wanted.into_iter().map(|(name, of)| (name.to_owned(), of)).collect();
            let weights = weights(&now, &wanted).unwrap_or_else(|failure| panic!("{failure:?}"));
            let weights: Vec<u64> = weights.iter().filter_map(|part| part["weight"].as_u64()).collect();
            assert_eq!(weights, expected, "{wanted:?}");
        }
        let idle = split(&[("blue", 0), ("green", 100)]);
        let back = weights(&idle, &[("green".into(), 10.0)]).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(back[0]["weight"], 9_000);
    }

    #[test]
    fn what_does_not_add_up_is_told() {
        let now = split(&[("blue", 1), ("green", 1)]);
        for (wanted, why) in [
            (vec![("grene", 5.0)], "its pools are blue, green"),
            (vec![("green", 60.0), ("blue", 60.0)], "that is 120 % in all"),
            (vec![("green", 10.0), ("blue", 10.0)], "no other pool"),
        ] {
            let wanted: Vec<(String, f64)> = wanted.into_iter().map(|(name, of)| (name.to_owned(), of)).collect();
            let failure = weights(&now, &wanted).expect_err("it does not add up");
            assert!(failure.to_string().contains(why), "{failure:?}");
        }
        assert!(weights(&Value::Null, &[]).is_err());
    }

    #[test]
    fn progress_is_a_line() {
        let route = json!({
            "name": "shop",
            "split": [{ "pool": "blue", "weight": 9_999 }, { "pool": "green", "weight": 1 }],
            "shift": { "state": "went_back", "why": "error_rate 3 %", "percent": 1.0 },
        });
        assert_eq!(
            progress(&route),
            "shop: went back (error_rate 3 %): blue 99.99 %, green 0.01 %"
        );
    }
}
