//! Commands that are planned and not built yet: they say so, instead of being unknown, and no help or
//! completion offers them.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The commands.
const COMMANDS: [&str; 5] = ["test", "plan", "simulate", "drill", "import"];

/// What to say instead of `error`, when it is about something that is planned.
pub(crate) fn told(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let ContextValue::String(word) = error.get(ContextKind::InvalidSubcommand)? else {
        return None;
    };
    let name = COMMANDS.iter().find(|name| *name == word)?;
    let version = env!("CARGO_PKG_VERSION");
    Some(format!("`plimsoll {name}` is not built yet in Plimsoll {version}"))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    /// What is said of this command line.
    fn said(line: &str) -> Option<String> {
        let words = || line.split(' ').map(str::to_owned);
        let error = Cli::try_parse_from(words()).err().expect("an error");
        told(&error)
    }

    #[test]
    fn what_is_planned_says_that_it_is_not_built_yet() {
        for command in COMMANDS {
            for line in [
                format!("plimsoll {command}"),
                format!("plimsoll {command} api/one --admin :1"),
                format!("plimsoll help {command}"),
            ] {
                let said = said(&line).unwrap_or_else(|| panic!("{line}"));
                let expected = format!("`plimsoll {command}` is not built yet in Plimsoll ");
                assert!(said.starts_with(&expected), "{line}: {said}");
            }
        }
    }

    #[test]
    fn what_nobody_plans_is_left_to_clap() {
        for line in [
            "plimsoll simulat",
            "plimsoll explain --requestid 7",
            "plimsoll explain --nonsense --request-id 7",
            "plimsoll status --request-id 7",
            "plimsoll run --request-id 7",
            "plimsoll",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
    }

    #[test]
    fn help_and_completions_offer_nothing_that_is_not_built() {
        let mut cli = Cli::command();
        let help = cli.render_long_help().to_string();
        let offered: Vec<&str> = help.lines().filter_map(|line| line.split_whitespace().next()).collect();
        for command in COMMANDS {
            assert!(!offered.contains(&command), "{command}: {help}");
        }
    }
}
