//! The rules of a policy in one direction, and at a glance which of them a packet may match.
//!
//! A policy engine asks every rule in turn, and most of them cannot match for a reason that takes six
//! octets to say: another protocol, another port. A rule is hundreds of octets, of which such a
//! packet then reads none; and the reasons of several rules are asked in one go.

use std::ops::Deref;

use super::{Match, PortMatch, Rule};
use crate::net::{Family, Protocol};
use crate::packet::Packet;

/// Rules in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Box<[Rule]>,
    /// One for each rule, [`LANES`] together.
    glances: Box<[Glances]>,
}

impl Rules {
    /// The rules that a packet may match, with their positions: all that it does match are there.
    pub fn candidates(&self, packet: &Packet) -> impl Iterator<Item = (usize, &Rule)> {
        let class = class(packet.family(), packet.protocol());
        // Rules that look at ports are of classes that have them.
        let port = packet.ports().map_or(0, |(_, destination)| destination);
        let seen = self.glances.iter().enumerate().filter(move |(_, few)| few.any(class, port));
        let seen = seen.flat_map(move |(at, few)| {
            let lanes = (0..LANES).filter(move |lane| few.may_match(*lane, class, port));
            lanes.map(move |lane| at * LANES + lane)
        });
        seen.map(|i| (i, &self.rules[i]))
    }
}

impl Deref for Rules {
    type Target = [Rule];

    fn deref(&self) -> &[Rule] {
        &self.rules
    }
}

impl From<Vec<Rule>> for Rules {
    fn from(rules: Vec<Rule>) -> Self {
        let glances = rules.chunks(LANES).map(Glances::of).collect();
        Self { rules: rules.into(), glances }
    }
}

impl FromIterator<Rule> for Rules {
    fn from_iter<T: IntoIterator<Item = Rule>>(rules: T) -> Self {
        Vec::from_iter(rules).into()
    }
}

impl<'a> IntoIterator for &'a Rules {
    type Item = &'a Rule;
    type IntoIter = std::slice::Iter<'a, Rule>;

    fn into_iter(self) -> Self::IntoIter {
        self.rules.iter()
    }
}

/// What follows from the rules needs no comparison.
impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for Rules {}

impl serde::Serialize for Rules {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rules.serialize(serializer)
    }
}

/// A wider criterion than a rule's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Glance {
    /// Classes of the packets that may match.
    classes: u16,
    /// The lowest destination port that may match.
    lowest: u16,
    /// The highest.
    highest: u16,
}

/// As many rules as are glanced at together: their sixteen-bit words fill two vector registers.
const LANES: usize = 16;

/// The glances of rules that follow one another, by field, so that a processor compares several at
/// once. Those behind the last rule match nothing.
#[derive(Clone, Debug, Default)]
struct Glances {
    classes: [u16; LANES],
    lowest: [u16; LANES],
    highest: [u16; LANES],
}

impl Glances {
    fn of(rules: &[Rule]) -> Self {
        let mut glances = Self::default();
        for (lane, rule) in rules.iter().enumerate() {
            let Glance { classes, lowest, highest } = Glance::of(&rule.matches);
            glances.classes[lane] = classes;
            glances.lowest[lane] = lowest;
            glances.highest[lane] = highest;
        }
        glances
    }

    /// Whether a packet may match this rule. Without a branch between the three: the compiler makes
    /// vector instructions of it, and a processor guesses one outcome instead of three.
    fn may_match(&self, lane: usize, class: u16, port: u16) -> bool {
        (self.classes[lane] & class != 0)
            & (self.lowest[lane] <= port)
            & (port <= self.highest[lane])
    }

    /// Whether it may match one of them.
    fn any(&self, class: u16, port: u16) -> bool {
        (0..LANES).fold(false, |any, lane| any | self.may_match(lane, class, port))
    }
}

/// Classes of one family: TCP, UDP, SCTP, ICMP and all other protocols.
const ALL: u16 = 0b1_1111;
/// Those that have ports.
const WITH_PORTS: u16 = 0b0_0111;
/// How far the classes of IPv6 are above those of IPv4.
const IPV6: u32 = 5;

/// The class of a packet, a bit.
fn class(family: Family, protocol: Protocol) -> u16 {
    let bit = match protocol {
        Protocol::TCP => 0,
        Protocol::UDP => 1,
        Protocol::SCTP => 2,
        Protocol::ICMP | Protocol::ICMPV6 => 3,
        _ => 4,
    };
    1 << match family {
        Family::V4 => bit,
        Family::V6 => bit + IPV6,
    }
}

/// These classes of both families.
fn of_both(classes: u16) -> u16 {
    classes | classes << IPV6
}

impl Glance {
    fn of(matches: &Match) -> Self {
        let mut classes = of_both(ALL);
        if let Some(protocol) = matches.protocol {
            classes &= class(Family::V4, protocol) | class(Family::V6, protocol);
        }
        if let Some(family) = matches.family {
            classes &= match family {
                Family::V4 => ALL,
                Family::V6 => ALL << IPV6,
            };
        }
        if !matches.source.ports.is_empty() || !matches.destination.ports.is_empty() {
            classes &= of_both(WITH_PORTS);
        }
        let (mut lowest, mut highest) = (u16::MAX, u16::MIN);
        for port in &matches.destination.ports {
            let (from, to) = match port {
                PortMatch::Range(range) => (range.first, range.last),
                PortMatch::Named(_) => (u16::MIN, u16::MAX),
            };
            (lowest, highest) = (lowest.min(from), highest.max(to));
        }
        if matches.destination.ports.is_empty() {
            (lowest, highest) = (u16::MIN, u16::MAX);
        }
        Self { classes, lowest, highest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::List;
    use crate::net::PortRange;
    use crate::packet::Transport;
    use crate::policy::Action;
    use crate::ruleset::{Ruleset, Side, rule_matches};
    use crate::verdict::DecisionId;

    fn rule(matches: Match) -> Rule {
        Rule { decision: DecisionId::UnknownEndpoint, matches, action: Action::Allow }
    }

    /// Rules with every combination of what a glance looks at, and one of each that it does not.
    fn rules() -> Rules {
        let range = |from, to| PortMatch::Range(PortRange { first: from, last: to });
        let protocols = [None, Some(Protocol::TCP), Some(Protocol::UDP), Some(Protocol::SCTP)];
        let others = [Protocol::ICMP, Protocol::ICMPV6, Protocol(47)].map(Some);
        let ports = [vec![], vec![range(80, 80)], vec![range(1, 9), range(8_000, 9_000)]];
        let ports = ports.map(List::from);
        let mut rules = Vec::new();
        for family in [None, Some(Family::V4), Some(Family::V6)] {
            for protocol in protocols.into_iter().chain(others) {
                for to in &ports {
                    for from in [List::new(), [range(1_000, 2_000)].into()] {
                        let source = Side { ports: from, ..Side::default() };
                        let destination = Side { ports: to.clone(), ..Side::default() };
                        let all =
                            Match { family, protocol, source, destination, ..Match::default() };
                        rules.push(rule(Match { not_protocol: protocol, ..all.clone() }));
                        rules.push(rule(all));
                    }
                }
            }
        }
        rules.into()
    }

    #[test]
    fn a_glance_misses_no_match() {
        let (ruleset, rules) = (Ruleset::default(), rules());
        let mut matches = 0;
        for addresses in [["10.0.0.1", "10.0.0.2"], ["fd00::1", "fd00::2"]] {
            let [source, destination] = addresses.map(|text| text.parse().unwrap());
            let mut transports = vec![
                Transport::Icmp { icmp_type: 8, code: 0 },
                Transport::Other(47),
                Transport::Other(50),
            ];
            for to in [0, 1, 5, 9, 10, 79, 80, 81, 8_000, 8_999, 9_001, u16::MAX] {
                for from in [1_000, 40_000] {
                    transports.push(Transport::Tcp { source: from, destination: to });
                    transports.push(Transport::Udp { source: from, destination: to });
                    transports.push(Transport::Sctp { source: from, destination: to });
                }
            }
            for transport in transports {
                let packet = Packet { source, destination, transport };
                let seen: Vec<usize> = rules.candidates(&packet).map(|(i, _)| i).collect();
                for (i, rule) in rules.iter().enumerate() {
                    let found = rule_matches(&ruleset, rule, &packet);
                    matches += usize::from(found);
                    assert!(!found || seen.contains(&i), "{packet:?}: {rule:?}");
                }
            }
        }
        assert!(matches > 1_000, "{matches} matches");
    }

    #[test]
    fn a_glance_sees_another_port_and_another_protocol() {
        let to = |port| Side {
            ports: [PortMatch::Range(PortRange::single(port))].into(),
            ..Side::default()
        };
        let on = |port| Match {
            protocol: Some(Protocol::TCP),
            destination: to(port),
            ..Match::default()
        };
        let rules: Rules = [80, 81, 82].map(|port| rule(on(port))).into_iter().collect();
        let candidates = |transport| {
            let [source, destination] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
            let packet = Packet { source, destination, transport };
            rules.candidates(&packet).map(|(i, _)| i).collect::<Vec<_>>()
        };
        assert_eq!(candidates(Transport::Tcp { source: 1, destination: 81 }), [1]);
        assert_eq!(candidates(Transport::Udp { source: 1, destination: 81 }), [0; 0]);
        assert_eq!(candidates(Transport::Icmp { icmp_type: 8, code: 0 }), [0; 0]);
    }
}
