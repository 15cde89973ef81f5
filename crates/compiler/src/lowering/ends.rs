//! Rules that are criteria on both ends of a packet (C18–C29).
//!
//! Every criterion of such a rule must hold, so most of them stand side by side in one lowered rule.
//! Only a positive selector says "any of these": an address matches as an endpoint's, or because it
//! lies in a network set (C23, C27). Those are two sets of different kinds, so a rule becomes one
//! for each way in which its source and its destination can match. A negated selector names both
//! sets in one rule, since the address must be in neither (C24).
//!
//! | Criterion of an end | As the endpoint of a selector | As a network set of it | Without a selector |
//! |---|---|---|---|
//! | selector | set of its pods | set of its network sets | |
//! | port numbers | yes | yes | yes |
//! | port names (C20) | of the selector's endpoints | an alternative of their own | of all endpoints |
//! | negated port names | of the selector's endpoints | likewise | of all endpoints |
//! | Service (C26) | | | tuples if destination, else addresses |
//!
//! The addresses of host endpoints count as network sets, their named ports as pods' do.
//!
//! A rule is rendered for a family only if every list of prefixes has one of that family (C22). It
//! is not enough that a positive list of the other family cannot match: a negated one always would.

use brindle_model::net::{Family, PortRange, Protocol};
use brindle_model::policy::{End, EndPort, Ends};
use brindle_model::ruleset::{Match, PortMatch, SetDef, SetId, Side};
use brindle_model::selector::Selector;
use brindle_model::{List, NamespacedName};
use ipnet::IpNet;

use super::ports::Ports;
use super::{Definitions, Lean, Reading};
use crate::candidates::matches_pods_alone;
use crate::cover::cover;

/// Which end of the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Source,
    Destination,
}

/// The alternatives of a rule.
pub(super) fn lower(
    reading: Reading<'_>,
    ends: &Ends,
    definitions: &mut Definitions,
) -> Vec<Match> {
    let families: Vec<_> = Family::ALL.into_iter().filter(|f| rendered_for(ends, *f)).collect();
    let context = |role| Context { reading, protocol: ends.protocol, families: &families, role };
    let (source, destination) = (context(Role::Source), context(Role::Destination));
    if families.is_empty()
        || contradicts_itself(ends)
        || source.never_matches(&ends.source)
        || destination.never_matches(&ends.destination)
    {
        return Vec::new();
    }
    let sources = source.sides(&ends.source, definitions);
    let destinations = destination.sides(&ends.destination, definitions);
    let pairs = sources.iter().flat_map(|s| destinations.iter().map(move |d| (s, d)));
    pairs
        .map(|(source, destination)| Match {
            family: match families[..] {
                [family] => Some(family),
                _ => None,
            },
            protocol: ends.protocol,
            not_protocol: ends.not_protocol,
            icmp: ends.icmp,
            not_icmp: ends.not_icmp,
            source: source.clone(),
            destination: destination.clone(),
        })
        .collect()
}

/// Whether the rule exists in this family (C22): every list of prefixes has one of it, and neither
/// the rule's own family nor its protocol is of the other (C18).
fn rendered_for(ends: &Ends, family: Family) -> bool {
    let fixed = match ends.protocol {
        Some(Protocol::ICMP) => Some(Family::V4),
        Some(Protocol::ICMPV6) => Some(Family::V6),
        _ => None,
    };
    let mut lists = [&ends.source, &ends.destination]
        .into_iter()
        .flat_map(|end| [end.nets.as_deref().unwrap_or_default(), &end.not_nets]);
    ends.family.is_none_or(|f| f == family)
        && fixed.is_none_or(|f| f == family)
        && lists
            .all(|nets| nets.is_empty() || nets.iter().any(|net| Family::of_net(*net) == family))
}

/// Whether no packet has such a protocol.
fn contradicts_itself(ends: &Ends) -> bool {
    let Some(protocol) = ends.protocol else { return false };
    let is_icmp = [Protocol::ICMP, Protocol::ICMPV6].contains(&protocol);
    ends.not_protocol == Some(protocol) || (ends.icmp.is_some() && !is_icmp)
}

/// What of the rule bears on each of its ends.
struct Context<'a> {
    reading: Reading<'a>,
    protocol: Option<Protocol>,
    families: &'a [Family],
    role: Role,
}

impl Context<'_> {
    /// Whether no packet has such an end.
    fn never_matches(&self, end: &End) -> bool {
        let no_ports = self.protocol.is_some_and(|p| !p.has_ports());
        let asks_for_ports =
            end.ports.is_some() || (end.service.is_some() && self.role == Role::Destination);
        end.selector.as_deref() == Some(&Selector::None)
            || end.nets.as_ref().is_some_and(|nets| nets.is_empty())
            || end.ports.as_ref().is_some_and(|ports| ports.is_empty())
            || (no_ports && asks_for_ports)
            || self.reading.is(Lean::Surely) && self.doubts(end.not_selector.as_deref())
    }

    /// Whether a network set that may hold any address is among those that a selector picks.
    fn doubts(&self, selector: Option<&Selector>) -> bool {
        selector.is_some_and(|selector| self.reading.world.doubts_network_sets(selector))
    }

    /// Whether to read the end's Service as anything that it may be.
    fn doubts_service(&self, service: &NamespacedName) -> bool {
        self.reading.is(Lean::Perhaps) && self.reading.world.doubts_service(service)
    }

    /// The ways in which an end can match.
    fn sides(&self, end: &End, definitions: &mut Definitions) -> Vec<Side> {
        let always = self.always(end, definitions);
        let listed = ports(end.ports.as_deref().unwrap_or_default());
        let Some(selector) = end.selector.as_deref() else {
            let ports = match (&end.service, self.role) {
                (Some(service), Role::Destination) if self.doubts_service(service) => {
                    [PortMatch::Range(PortRange { first: u16::MIN, last: u16::MAX })].into()
                }
                (Some(service), Role::Destination) => {
                    let def = SetDef::Service { service: (**service).clone(), ports: true };
                    [PortMatch::Named(definitions.define(def))].into()
                }
                _ => listed.matches(self.protocol, &Selector::All, definitions),
            };
            return vec![Side { ports, ..always }];
        };
        let with = |set: SetId, ports: List<PortMatch>| {
            let mut side = Side { ports, ..always.clone() };
            side.sets.insert(0, set);
            side
        };
        let pods =
            |definitions: &mut Definitions| definitions.define(SetDef::Selector(selector.clone()));
        if matches_pods_alone(selector) {
            let ports = listed.matches(self.protocol, selector, definitions);
            return vec![with(pods(definitions), ports)];
        }
        // A tuple is only of who matches, be it a pod or a host endpoint: its address says no more.
        let named = listed.named(self.protocol, selector, definitions);
        let by_name = (!named.is_empty()).then(|| Side { ports: named, ..always.clone() });
        let mut sides = Vec::new();
        if by_name.is_none() || !listed.ranges.is_empty() {
            sides.push(with(pods(definitions), listed.numbers()));
            sides.push(if self.reading.is(Lean::Perhaps) && self.doubts(Some(selector)) {
                Side { ports: listed.numbers(), ..always }
            } else {
                let network_sets = definitions.define(SetDef::NetworkSets(selector.clone()));
                with(network_sets, listed.numbers())
            });
        }
        sides.extend(by_name);
        sides
    }

    /// The criteria that hold in every alternative: all but the positive selector and the ports.
    fn always(&self, end: &End, definitions: &mut Definitions) -> Side {
        let mut side = Side::default();
        if let (Some(service), Role::Source) = (&end.service, self.role)
            && !self.doubts_service(service)
        {
            let def = SetDef::Service { service: (**service).clone(), ports: false };
            side.sets.push(definitions.define(def));
        }
        if let Some(nets) = &end.nets {
            side.sets.push(definitions.define(self.prefixes(nets)));
        }
        if let Some(selector) = end.not_selector.as_deref().filter(|s| **s != Selector::None) {
            side.not_sets.push(definitions.define(SetDef::Selector(selector.clone())));
            if !matches_pods_alone(selector) {
                side.not_sets.push(definitions.define(SetDef::NetworkSets(selector.clone())));
            }
        }
        if !end.not_nets.is_empty() {
            side.not_sets.push(definitions.define(self.prefixes(&end.not_nets)));
        }
        let scope = end.selector.as_deref().unwrap_or(&Selector::All);
        side.not_ports = ports(&end.not_ports).matches(self.protocol, scope, definitions);
        side
    }

    /// Prefixes of the families that the rule is rendered for.
    fn prefixes(&self, nets: &[IpNet]) -> SetDef {
        let nets = nets.iter().filter(|net| self.families.contains(&Family::of_net(**net)));
        SetDef::Cidrs(cover(nets.map(|net| (net, &[][..]))))
    }
}

fn ports(list: &[EndPort]) -> Ports {
    let mut ports = Ports::default();
    for port in list {
        match port {
            EndPort::Range(range) => ports.ranges.push(*range),
            EndPort::Named(name) => {
                ports.names.insert(name.clone());
            }
        }
    }
    ports
}
