//! The state machine of active checks: so many results in a row turn a backend over.

/// How check results are read. The probe itself (what is asked, how often) is the control plane's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckRules {
    /// Failures in a row that make a healthy backend unhealthy; 0 counts as 1.
    pub fall: u32,
    /// Passes in a row that make an unhealthy backend healthy; 0 counts as 1.
    pub rise: u32,
    /// What a backend is before its first result.
    pub initial: Initial,
}

impl Default for CheckRules {
    /// HAProxy's fall 3 and rise 2.
    fn default() -> Self {
        CheckRules {
            fall: 3,
            rise: 2,
            initial: Initial::Unhealthy,
        }
    }
}

crate::words! {
    /// What a backend is before its first check result.
    pub enum Initial {
        /// Not used; the first result decides at once, and fall and rise count after that.
        Unhealthy = "unhealthy",
        /// Used from the start, until its checks fail.
        Healthy = "healthy",
    }
}

/// Where a backend stands between its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No check has ended yet.
    Unknown,
    /// It is healthy, and its last check says so.
    Healthy,
    /// It is unhealthy, and its last check says so.
    Unhealthy,
    /// Its last check speaks against its state, and the row is too short to turn it.
    Turning,
}

/// What the checks of one backend say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    verdict: Option<bool>,
    /// Results in a row that speak against the verdict.
    against: u32,
}

impl Check {
    /// Before the first result; healthy at once where nothing is checked.
    pub fn new(rules: Option<&CheckRules>) -> Self {
        let verdict = match rules {
            Some(rules) => (rules.initial == Initial::Healthy).then_some(true),
            None => Some(true),
        };
        Check { verdict, against: 0 }
    }

    /// With the verdict that the process before had come to.
    pub fn continuing(verdict: bool) -> Self {
        Check {
            verdict: Some(verdict),
            against: 0,
        }
    }

    /// Whether the backend is healthy; `None` before the first result.
    pub fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// Where it stands now.
    pub fn phase(&self) -> Phase {
        match self.verdict {
            None => Phase::Unknown,
            Some(_) if self.against > 0 => Phase::Turning,
            Some(true) => Phase::Healthy,
            Some(false) => Phase::Unhealthy,
        }
    }

    /// Takes in a result. Returns whether it turned the verdict.
    pub fn observe(&mut self, passed: bool, rules: &CheckRules) -> bool {
        let Some(healthy) = self.verdict else {
            self.verdict = Some(passed);
            return true;
        };
        if passed == healthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if healthy { rules.fall } else { rules.rise };
        if self.against < needed {
            return false;
        }
        self.verdict = Some(passed);
        self.against = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs results (`+` passed, `-` failed) and spells the verdict before and after each (`?` unknown, `H`, `U`).
    fn spell(rules: &CheckRules, results: &str) -> String {
        let mut check = Check::new(Some(rules));
        let letter = |check: &Check| match check.verdict() {
            None => '?',
            Some(true) => 'H',
            Some(false) => 'U',
        };
        let mut spelt = String::from(letter(&check));
        for result in results.chars() {
            let before = letter(&check);
            let turned = check.observe(result == '+', rules);
            assert_eq!(turned, before != letter(&check));
            spelt.push(letter(&check));
        }
        spelt
    }

    #[test]
    fn the_first_result_decides_and_rows_decide_after_it() {
        let rules = CheckRules::default();
        for (results, states) in [
            ("+", "?H"),
            ("-", "?U"),
            ("+--+---", "?HHHHHHU"),
            ("-+-++", "?UUUUH"),
            ("-++---+", "?UUHHHUU"),
        ] {
            assert_eq!(spell(&rules, results), states, "{results}");
        }
    }

    #[test]
    fn a_row_that_is_too_short_yet_is_a_turn() {
        use Phase::{Healthy, Turning, Unhealthy, Unknown};
        let rules = CheckRules::default();
        let mut check = Check::new(Some(&rules));
        let mut phases = vec![check.phase()];
        for result in "+-+---++".chars() {
            check.observe(result == '+', &rules);
            phases.push(check.phase());
        }
        let expected = [
            Unknown, Healthy, Turning, Healthy, Turning, Turning, Unhealthy, Turning, Healthy,
        ];
        assert_eq!(phases, expected);
    }

    #[test]
    fn initially_healthy_needs_a_whole_row_to_fall() {
        let rules = CheckRules {
            initial: Initial::Healthy,
            ..CheckRules::default()
        };
        assert_eq!(spell(&rules, "--+---"), "HHHHHHU");
    }

    #[test]
    fn a_row_of_none_counts_as_one() {
        let rules = CheckRules {
            fall: 0,
            rise: 0,
            ..CheckRules::default()
        };
        assert_eq!(spell(&rules, "+-+-"), "?HUHU");
    }

    #[test]
    fn without_checks_a_backend_is_healthy() {
        assert_eq!(Check::new(None).verdict(), Some(true));
    }
}
