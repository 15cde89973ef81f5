//! What programs ask of a backend, and what it can give.

use std::collections::BTreeSet;
use std::fmt;

use super::{PolicyRules, Program, Ruleset, SetId};
use crate::verdict::PolicyId;

/// A size in the three things that a program is made of, of a program or as a limit on one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Load {
    /// Lowered rules of its policies, in its direction.
    pub rules: usize,
    /// Sets that those rules name, each once.
    pub sets: usize,
    /// Members of those sets.
    pub members: usize,
}

/// From this share of a limit on, percent, there is a warning.
pub const WARNING_SHARE: usize = 80;

impl Load {
    /// No limit.
    pub const UNBOUNDED: Self = Self { rules: usize::MAX, sets: usize::MAX, members: usize::MAX };

    /// The size of a program, with the rules of its policies and the number of a set's members.
    pub fn of<'a>(
        program: &Program,
        rules: impl Fn(&PolicyId) -> Option<&'a PolicyRules>,
        members: impl Fn(&SetId) -> usize,
    ) -> Self {
        let policies = program.steps.iter().flat_map(|step| &step.policies);
        let mut sets = BTreeSet::new();
        let mut count = 0;
        for policy in policies.filter_map(rules) {
            let policy = policy.rules(program.direction);
            count += policy.len();
            sets.extend(policy.iter().flat_map(|rule| rule.matches.sets()));
        }
        Self { rules: count, sets: sets.len(), members: sets.iter().map(members).sum() }
    }

    /// Whether none of its sizes is above the limit's.
    pub fn fits(self, limit: Self) -> bool {
        self.pairs(limit).into_iter().all(|(size, limit, _)| size <= limit)
    }

    /// The share of a limit that is used, percent, of the size that is nearest to it.
    pub fn share(self, limit: Self) -> usize {
        let share = |(size, limit, _): (usize, usize, _)| match limit {
            0 => usize::from(size > 0).saturating_mul(usize::MAX),
            // In wide numbers, as no limit is the largest there is.
            _ => usize::try_from(size as u128 * 100 / limit as u128).unwrap_or(usize::MAX),
        };
        self.pairs(limit).into_iter().map(share).max().unwrap_or_default()
    }

    /// The sizes that use this share of a limit or more, as in `70 of 64 rules`.
    pub fn beyond(self, share: usize, limit: Self) -> String {
        let beyond = |(size, limit, what): (usize, usize, &str)| {
            let used = size as u128 * 100 >= limit as u128 * share as u128;
            (used && size > 0).then(|| format!("{size} of {limit} {what}"))
        };
        let words: Vec<_> = self.pairs(limit).into_iter().filter_map(beyond).collect();
        words.join(", ")
    }

    fn pairs(self, limit: Self) -> [(usize, usize, &'static str); 3] {
        [
            (self.rules, limit.rules, "rules"),
            (self.sets, limit.sets, "sets"),
            (self.members, limit.members, "members of sets"),
        ]
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules, {} sets, {} members", self.rules, self.sets, self.members)
    }
}

impl Ruleset {
    /// The size of one of its programs.
    pub fn load(&self, program: &Program) -> Load {
        let rules = |id: &PolicyId| self.policies.get(id).map(|rules| &**rules);
        Load::of(program, rules, |id| self.sets.get(id).map_or(0, |set| set.members.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_limits() {
        let limit = Load { rules: 100, sets: 10, members: usize::MAX };
        let load = |rules, sets| Load { rules, sets, members: 5_000_000 };
        for (load, share, words) in [
            (load(0, 0), 0, ""),
            (load(79, 3), 79, ""),
            (load(80, 3), 80, "80 of 100 rules"),
            (load(100, 10), 100, "100 of 100 rules, 10 of 10 sets"),
            (load(7, 11), 110, "11 of 10 sets"),
        ] {
            assert_eq!(load.share(limit), share, "{load}");
            assert_eq!(load.fits(limit), share <= 100, "{load}");
            assert_eq!(load.beyond(WARNING_SHARE, limit), words, "{load}");
        }
        assert!(load(usize::MAX, 0).fits(Load::UNBOUNDED));
        assert_eq!(load(1, 0).share(Load::UNBOUNDED), 0);
        let nothing = Load::default();
        assert!(nothing.fits(nothing) && !load(1, 0).fits(nothing));
        assert_eq!(load(1, 0).share(nothing), usize::MAX);
    }
}
