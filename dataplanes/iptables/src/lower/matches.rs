//! One rule's criteria in one family: alternatives of conjunctions.
//!
//! iptables cannot say of a packet in one rule that it is neither TCP nor UDP, so "not port 80" of
//! any protocol is no rule. A chain in which such a rule stands is written once a [`Class`] of
//! protocols; in each of them it is one.

use std::collections::BTreeMap;

use brindle_model::Name;
use brindle_model::net::{Family, IcmpMatch, PortRange, Protocol};
use brindle_model::ruleset::{Match, PortMatch, Ruleset, SetId, SetKind, Side as Criteria};
use ipnet::IpNet;

use super::merge::Draft;
use crate::rule::{Criterion, Lookup, PORT_SLOTS, Side, slots};
use crate::set::{self, SetUse};

/// Criteria that must all hold.
pub type Conjunction = Vec<Criterion>;

/// Packets that a chain is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// All of them.
    Any,
    /// Those of a protocol.
    Of(Protocol),
    /// Those of none that has a class of its own.
    Other,
}

impl Class {
    /// The classes that together are [`Self::Any`]; a packet is of the first that fits.
    pub fn each(family: Family) -> impl Iterator<Item = Self> {
        let own = WITH_PORTS.into_iter().chain([own_icmp(family)]);
        own.map(Self::Of).chain([Self::Other])
    }

    /// The protocol of a rule that names `protocol` or none, in the class; `None` if the rule has
    /// nothing to say there.
    fn protocol(self, protocol: Option<Protocol>, family: Family) -> Option<Option<Protocol>> {
        match (self, protocol) {
            (Self::Any, protocol) => Some(protocol),
            (Self::Of(class), protocol) => {
                protocol.is_none_or(|protocol| protocol == class).then_some(Some(class))
            }
            (Self::Other, Some(protocol)) => {
                let elsewhere = Self::each(family).any(|class| class == Self::Of(protocol));
                (!elsewhere).then_some(Some(protocol))
            }
            (Self::Other, None) => Some(None),
        }
    }
}

/// Whether the criteria can only be written class by class.
pub fn needs_classes(matches: &Match) -> bool {
    let sides = [&matches.source, &matches.destination];
    let free = matches.protocol.is_none() && matches.icmp.is_none();
    let numbers = |side: &&Criteria| !PortMatch::ranges(&side.not_ports).is_empty();
    free && sides.iter().all(|side| side.ports.is_empty())
        && (matches.not_icmp.is_some() || sides.iter().any(numbers))
}

fn own_icmp(family: Family) -> Protocol {
    match family {
        Family::V4 => Protocol::ICMP,
        Family::V6 => Protocol::ICMPV6,
    }
}

const WITH_PORTS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];
const ALL_PORTS: PortRange = PortRange { first: 0, last: u16::MAX };

/// Lowers criteria in one family, and remembers the sets they refer to.
pub struct Lowering<'a> {
    ruleset: &'a Ruleset,
    family: Family,
    class: Class,
    /// The sets.
    pub sets: BTreeMap<Name, SetUse>,
}

/// Alternatives as they grow.
struct Growing {
    any: Vec<Conjunction>,
}

impl Growing {
    fn and(&mut self, criterion: &Criterion) {
        self.any.iter_mut().for_each(|all| all.push(criterion.clone()));
    }

    fn one_of(&mut self, alternatives: &[Conjunction]) {
        let each = |left: &Conjunction| {
            alternatives.iter().map(|right| [&left[..], &right[..]].concat()).collect::<Vec<_>>()
        };
        self.any = self.any.iter().flat_map(each).collect();
    }
}

impl<'a> Lowering<'a> {
    /// Of a ruleset in a family, for packets of a class.
    pub fn new(ruleset: &'a Ruleset, family: Family, class: Class) -> Self {
        Self { ruleset, family, class, sets: BTreeMap::new() }
    }

    fn use_set(&mut self, (name, set): (Name, SetUse)) -> Name {
        self.sets.insert(name.clone(), set);
        name
    }

    /// The packets of a draft in the family and class: alternatives, or none at all. The draft does
    /// not [need classes](needs_classes), or the class is one.
    pub fn alternatives(&mut self, draft: &Draft) -> Vec<Conjunction> {
        self.growing(draft).map(|growing| growing.any).unwrap_or_default()
    }

    fn growing(&mut self, draft: &Draft) -> Option<Growing> {
        let matches = &draft.matches;
        if matches.family.is_some_and(|family| family != self.family) {
            return None;
        }
        let mut growing = Growing { any: vec![Vec::new()] };
        let protocol = match (matches.protocol, matches.icmp.map(|_| own_icmp(self.family))) {
            (Some(a), Some(b)) if a != b => return None,
            (a, b) => a.or(b),
        };
        match self.class.protocol(protocol, self.family)? {
            // To iptables it would mean any; no packet has it as its upper-layer protocol.
            Some(Protocol(0)) => return None,
            Some(protocol) if matches.not_protocol == Some(protocol) => return None,
            Some(protocol) => {
                growing.and(&Criterion::Protocol { equal: true, protocol });
                self.ports_of(&mut growing, matches, protocol)?;
                if protocol == own_icmp(self.family) {
                    icmp(&mut growing, matches, self.family)?;
                }
            }
            None => self.ports_of_any(&mut growing, matches)?,
        }
        self.addresses(&mut growing, draft)?;
        Some(growing)
    }

    /// Port criteria where the protocol is known.
    fn ports_of(
        &mut self,
        growing: &mut Growing,
        matches: &Match,
        protocol: Protocol,
    ) -> Option<()> {
        for (side, criteria) in sides(matches) {
            if criteria.ports.is_empty() && criteria.not_ports.is_empty() {
                continue;
            }
            if !protocol.has_ports() {
                // Such a packet is on no port: on none of the wanted, on none of the unwanted.
                if criteria.ports.is_empty() {
                    continue;
                }
                return None;
            }
            if !criteria.ports.is_empty() {
                let any = self.on_port(side, &criteria.ports, protocol);
                growing.one_of(&any);
            }
            let unwanted = PortMatch::ranges(&criteria.not_ports);
            if unwanted == [ALL_PORTS] {
                return None;
            }
            for ranges in chunks(&unwanted) {
                growing.and(&Criterion::Ports { protocol, side, equal: false, ranges });
            }
            for set in self.named(&criteria.not_ports) {
                growing.and(&Criterion::Set { set, lookup: Lookup::Tuple(side), equal: false });
            }
        }
        Some(())
    }

    /// Port criteria where the protocol is not known, and the protocol that is not meant.
    fn ports_of_any(&mut self, growing: &mut Growing, matches: &Match) -> Option<()> {
        let unwanted = matches.not_protocol.filter(|protocol| protocol.0 != 0);
        if sides(matches).iter().any(|(_, side)| !side.ports.is_empty()) {
            // Packets of other classes have no ports.
            let protocols = WITH_PORTS.into_iter().filter(|p| Some(*p) != unwanted);
            if self.class != Class::Any {
                return None;
            }
            let mut all = Vec::new();
            for protocol in protocols {
                let start = vec![vec![Criterion::Protocol { equal: true, protocol }]];
                let mut one = Growing { any: start };
                if self.ports_of(&mut one, matches, protocol).is_some() {
                    all.append(&mut one.any);
                }
            }
            growing.one_of(&all);
            return (!growing.any.is_empty()).then_some(());
        }
        if let Some(protocol) = unwanted {
            growing.and(&Criterion::Protocol { equal: false, protocol });
        }
        for (side, criteria) in sides(matches) {
            // A packet without ports is in no set of tuples.
            for set in self.named(&criteria.not_ports) {
                growing.and(&Criterion::Set { set, lookup: Lookup::Tuple(side), equal: false });
            }
        }
        Some(())
    }

    /// The ways to be on one of the ports.
    fn on_port(&mut self, side: Side, ports: &[PortMatch], protocol: Protocol) -> Vec<Conjunction> {
        let ranges = PortMatch::ranges(ports);
        if ranges == [ALL_PORTS] {
            return vec![Vec::new()];
        }
        let numbers = chunks(&ranges).into_iter();
        let mut any: Vec<Conjunction> = numbers
            .map(|ranges| vec![Criterion::Ports { protocol, side, equal: true, ranges }])
            .collect();
        for set in self.named(ports) {
            any.push(vec![Criterion::Set { set, lookup: Lookup::Tuple(side), equal: true }]);
        }
        any
    }

    /// The sets of named ports. What is no such set holds no port.
    fn named(&mut self, ports: &[PortMatch]) -> Vec<Name> {
        let mut names = Vec::new();
        for port in ports {
            let PortMatch::Named(id) = port else { continue };
            let Some(set) = self.ruleset.sets.get(id) else { continue };
            if set.def.kind() == SetKind::AddrProtoPort {
                names.push(self.use_set(set::members(*id, set, self.family)));
            }
        }
        names
    }

    fn addresses(&mut self, growing: &mut Growing, draft: &Draft) -> Option<()> {
        for (side, criteria) in sides(&draft.matches) {
            // A rule has room for one prefix a side; others are sets of one.
            let mut room = true;
            if let Some(peer) = draft.peer.as_ref().filter(|peer| peer.side == side) {
                self.nets(growing, side, true, &peer.nets, &mut room)?;
            }
            let wanted = criteria.sets.iter().map(|id| (*id, true));
            let unwanted = criteria.not_sets.iter().map(|id| (*id, false));
            for (id, equal) in wanted.chain(unwanted) {
                self.member_of(growing, side, equal, id, &mut room)?;
            }
        }
        Some(())
    }

    fn member_of(
        &mut self,
        growing: &mut Growing,
        side: Side,
        equal: bool,
        id: SetId,
        room: &mut bool,
    ) -> Option<()> {
        if let Some(nets) = super::merge::fixed_nets(self.ruleset, id)
            && nets.iter().filter(|net| Family::of_net(**net) == self.family).count() <= 1
        {
            return self.nets(growing, side, equal, &nets, room);
        }
        let set = self.ruleset.sets.get(&id);
        let Some(set) = set.filter(|set| set.def.kind() != SetKind::AddrProtoPort) else {
            // No address is a member of a set that does not exist, or holds no addresses.
            return (!equal).then_some(());
        };
        let set = self.use_set(set::members(id, set, self.family));
        growing.and(&Criterion::Set { set, lookup: Lookup::Address(side), equal });
        Some(())
    }

    /// Prefixes: none, one in the rule, or a set.
    fn nets(
        &mut self,
        growing: &mut Growing,
        side: Side,
        equal: bool,
        nets: &[IpNet],
        room: &mut bool,
    ) -> Option<()> {
        let mine: Vec<IpNet> =
            nets.iter().copied().filter(|net| Family::of_net(*net) == self.family).collect();
        if mine.is_empty() {
            return (!equal).then_some(());
        }
        if mine.iter().any(|net| net.prefix_len() == 0) {
            return equal.then_some(());
        }
        match mine[..] {
            [net] if *room => {
                *room = false;
                growing.and(&Criterion::Prefix { side, equal, net });
            }
            _ => {
                let set = self.use_set(set::nets(&mine, self.family));
                growing.and(&Criterion::Set { set, lookup: Lookup::Address(side), equal });
            }
        }
        Some(())
    }
}

fn sides(matches: &Match) -> [(Side, &Criteria); 2] {
    [(Side::Source, &matches.source), (Side::Destination, &matches.destination)]
}

/// Criteria on a message of the family's ICMP.
fn icmp(growing: &mut Growing, matches: &Match, family: Family) -> Option<()> {
    let criterion = |IcmpMatch { icmp_type, code }, equal| {
        // To iptables it would mean any type; no message has it.
        (icmp_type != u8::MAX).then_some(Criterion::Icmp { family, equal, icmp_type, code })
    };
    if let Some(wanted) = matches.icmp {
        growing.and(&criterion(wanted, true)?);
    }
    let Some(unwanted) = matches.not_icmp else { return Some(()) };
    if let Some(wanted) = matches.icmp {
        let same_code = wanted.code.zip(unwanted.code).is_none_or(|(a, b)| a == b);
        if wanted.icmp_type != unwanted.icmp_type || !same_code {
            return Some(());
        }
        if unwanted.code.is_none() || wanted.code.is_some() {
            return None;
        }
    }
    if let Some(criterion) = criterion(unwanted, false) {
        growing.and(&criterion);
    }
    Some(())
}

/// Ranges in pieces that `multiport` takes.
pub fn chunks(ranges: &[PortRange]) -> Vec<Vec<PortRange>> {
    let mut pieces: Vec<Vec<PortRange>> = Vec::new();
    let mut room = 0;
    for range in ranges {
        if slots(*range) > room {
            pieces.push(Vec::new());
            room = PORT_SLOTS;
        }
        room -= slots(*range);
        if let Some(piece) = pieces.last_mut() {
            piece.push(*range);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_split_where_multiport_is_full() {
        let single: Vec<_> = (1..=16).map(|port| PortRange::single(port * 10)).collect();
        assert_eq!(chunks(&single).iter().map(Vec::len).collect::<Vec<_>>(), [15, 1]);
        let wide: Vec<_> =
            (1..=8).map(|port| PortRange { first: port * 10, last: port * 10 + 5 }).collect();
        assert_eq!(chunks(&wide).iter().map(Vec::len).collect::<Vec<_>>(), [7, 1]);
        assert!(chunks(&[]).is_empty());
    }
}
