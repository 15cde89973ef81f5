//! Whether the conditions of a rule hold for a route.

use ipnet::IpNet;

use super::{AnyCommunity, Matches, PrefixMatch, PrefixOperator};
use crate::attribute::Attributes;
use crate::message::NextHop;
use crate::negotiated::PeerKind;

/// A route on its way through the filters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) prefix: &'a IpNet,
    pub(crate) attributes: &'a Attributes,
    /// `None` for what we originate: its next hop is chosen afterwards.
    pub(crate) next_hop: Option<NextHop>,
    /// The kind of peer that it comes from or goes to.
    pub(crate) peer_kind: PeerKind,
    /// It came from a peer; always so on import.
    pub(crate) learned: bool,
}

impl Matches {
    pub(super) fn hold(&self, subject: &Subject<'_>) -> bool {
        let Attributes { as_path, .. } = subject.attributes;
        let carries = |community: &AnyCommunity| match community {
            AnyCommunity::Standard(c) => subject.attributes.communities.contains(c),
            AnyCommunity::Large(c) => subject.attributes.large_communities.contains(c),
        };
        let begins = || {
            let mut numbers = as_path.numbers();
            self.as_path_prefix.iter().all(|wanted| numbers.next() == Some(*wanted))
        };
        let in_path = |wanted: &u32| as_path.numbers().any(|number| number == *wanted);
        let length = |(least, most)| (least..=most).contains(&as_path.length());
        let reaches =
            |net: IpNet| subject.next_hop.is_some_and(|next_hop| net.contains(&next_hop.address()));
        (subject.learned || !self.learned)
            && self.prefix.is_none_or(|prefix| prefix.holds(subject.prefix))
            && self.peer_kind.is_none_or(|kind| kind == subject.peer_kind)
            && self.communities.iter().all(carries)
            && begins()
            && self.as_path_contains.iter().all(in_path)
            && self.as_path_length.is_none_or(length)
            && self.origin_as.is_none_or(|wanted| as_path.numbers().last() == Some(wanted))
            && self.next_hop.is_none_or(reaches)
    }
}

impl PrefixMatch {
    fn holds(&self, prefix: &IpNet) -> bool {
        let within = || {
            let lengths = self.min_len..=self.max_len;
            self.net.contains(prefix) && lengths.contains(&prefix.prefix_len())
        };
        match self.operator {
            PrefixOperator::Equal => *prefix == self.net,
            PrefixOperator::NotEqual => *prefix != self.net,
            PrefixOperator::In => within(),
            PrefixOperator::NotIn => !within(),
        }
    }
}
