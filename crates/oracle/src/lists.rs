//! Rules that are lists of peers and ports: entries of a list OR, the two lists AND (K8, A8).

use brindle_model::verdict::PolicyId;

use crate::peer::Answer;
use crate::trace::{Place, Trace};

/// One of the two lists of a rule.
#[derive(Clone, Copy)]
pub(crate) struct List<'a> {
    pub(crate) policy: &'a PolicyId,
    pub(crate) rule: u32,
    /// Number of the rule that says how its entries combine.
    pub(crate) number: &'static str,
    pub(crate) place: fn(PolicyId, u32, Option<usize>) -> Place,
}

/// Where a peer stands.
pub(crate) fn peers(policy: PolicyId, rule: u32, entry: Option<usize>) -> Place {
    Place::Peers { policy, rule, entry }
}

/// Where a port or protocol stands.
pub(crate) fn ports(policy: PolicyId, rule: u32, entry: Option<usize>) -> Place {
    Place::Ports { policy, rule, entry }
}

impl List<'_> {
    fn at(&self, entry: Option<usize>) -> Place {
        (self.place)(self.policy.clone(), self.rule, entry)
    }

    /// Notes that the list is missing and so asks for nothing.
    pub(crate) fn missing(
        &self,
        number: &'static str,
        words: &'static str,
        trace: &mut Trace,
    ) -> bool {
        trace.note(number, self.at(None), true, words)
    }

    /// Whether an entry matches: the first that does is the last that is asked.
    pub(crate) fn any<T>(
        &self,
        entries: &[T],
        trace: &mut Trace,
        read: impl Fn(&T) -> Answer,
    ) -> bool {
        let matched = entries.iter().enumerate().any(|(at, entry)| {
            let (number, matched, words) = read(entry);
            trace.note(number, self.at(Some(at)), matched, words)
        });
        let words = if matched { "an entry matches" } else { "no entry matches" };
        trace.note(self.number, self.at(None), matched, words)
    }
}
