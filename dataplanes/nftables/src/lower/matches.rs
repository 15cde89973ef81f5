//! One rule's criteria: a disjunction of conjunctions that the kernel can check.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::net::{Family, PortRange, Protocol};
use brindle_model::ruleset::{Match, PortMatch, Ruleset, SetId, SetKind, Side as Criteria};
use brindle_model::verdict::DecisionId;
use ipnet::IpNet;

use super::merge::{Draft, Tuples, decisions, nets_of, of_family};
use super::{SetUse, sets};
use crate::rule::{Criterion, Rule, Side, Target};
use crate::table::{Element, Key, Verdict};

/// Up to so many port ranges are rules of their own; more are a set.
const LINEAR_PORTS: usize = 3;

/// Alternatives of conjunctions; none at all can never match.
pub type Alternatives = Vec<Vec<Criterion>>;

/// Who decides in a rule, for people and for programs.
struct Decisions {
    all: Arc<[DecisionId]>,
    comment: String,
}

impl Decisions {
    fn of<'d>(drafts: impl IntoIterator<Item = &'d Draft>) -> Self {
        let all: BTreeSet<_> = drafts.into_iter().flat_map(|draft| &draft.decisions).collect();
        let comment = decisions(all.iter().copied());
        Self { all: all.into_iter().cloned().collect(), comment }
    }

    /// A rule that decides, and counts.
    fn rule(&self, criteria: Vec<Criterion>, verdict: &Verdict) -> Rule {
        Rule {
            criteria,
            counter: true,
            target: Target::Verdict(verdict.clone()),
            comment: self.comment.clone(),
            decisions: Arc::clone(&self.all),
        }
    }
}

/// Lowers rules, and remembers the sets they refer to.
pub struct Lowering<'a> {
    ruleset: &'a Ruleset,
    /// The sets.
    pub sets: BTreeMap<Name, SetUse>,
}

impl<'a> Lowering<'a> {
    /// Begins a chain.
    pub fn new(ruleset: &'a Ruleset) -> Self {
        Self { ruleset, sets: BTreeMap::new() }
    }

    /// Remembers a set.
    pub fn use_set(&mut self, (name, set): (Name, SetUse)) -> Name {
        self.sets.insert(name.clone(), set);
        name
    }

    /// The rules of a draft: one for each alternative.
    pub fn rules(&mut self, draft: &Draft, verdict: &Verdict) -> Vec<Rule> {
        let decisions = Decisions::of([draft]);
        let alternatives = self.criteria(draft).into_iter();
        alternatives.map(|criteria| decisions.rule(criteria, verdict)).collect()
    }

    /// What a draft's packets fulfil: alternatives, of which those of different families exclude
    /// each other.
    pub fn criteria(&mut self, draft: &Draft) -> Alternatives {
        if !needs_family(draft) {
            return self.alternatives(draft, None);
        }
        Family::ALL.into_iter().flat_map(|f| self.alternatives(draft, Some(f))).collect()
    }

    /// The rules of tuples: one a family. The protocol is part of the key, so a packet without ports
    /// matches none.
    pub fn tuple_rules(
        &mut self,
        drafts: &[Draft],
        tuples: &Tuples,
        verdict: &Verdict,
    ) -> Vec<Rule> {
        let decisions = Decisions::of(drafts);
        let mut rules = Vec::new();
        for family in Family::ALL {
            let mine = tuples.members.iter().filter(|(addr, ..)| Family::of(*addr) == family);
            let elements: Vec<_> =
                mine.map(|(addr, p, port)| Element::of(Key::Tuple(*addr, *p, *port))).collect();
            if elements.is_empty() {
                continue;
            }
            let set = self.use_set(sets::tuples(elements, family));
            let lookup = Criterion::Tuple {
                address: tuples.side,
                port: Side::Destination,
                family,
                equal: true,
                set,
            };
            rules.push(decisions.rule(vec![Criterion::Family(family), lookup], verdict));
        }
        rules
    }

    /// Whether the packet's protocol has ports. Without this check a port criterion would look at
    /// bytes that are none.
    pub fn has_ports(&mut self, equal: bool) -> Criterion {
        let set = self.use_set(sets::port_protocols());
        Criterion::ProtocolSet { equal, set }
    }

    fn alternatives(&mut self, draft: &Draft, family: Option<Family>) -> Alternatives {
        let matches = &draft.matches;
        if let (Some(wanted), Some(family)) = (matches.family, family)
            && wanted != family
        {
            return Vec::new();
        }
        let start = family.map(Criterion::Family).into_iter().collect();
        let mut all = vec![start];
        let protocol = match self.protocol(&mut all, draft, family) {
            Ok(protocol) => protocol,
            Err(Never) => return Vec::new(),
        };
        let steps = [
            self.ports(&mut all, draft, family, protocol),
            icmp(&mut all, draft, family, protocol),
            self.addresses(&mut all, draft, family),
        ];
        if steps.contains(&Err(Never)) {
            return Vec::new();
        }
        all
    }

    /// The protocol, if it is known then.
    fn protocol(
        &mut self,
        all: &mut Alternatives,
        draft: &Draft,
        family: Option<Family>,
    ) -> Result<Option<Protocol>, Never> {
        let matches = &draft.matches;
        let by_icmp = matches.icmp.and(family).map(icmp_protocol);
        let protocol = match (matches.protocol, by_icmp) {
            (Some(a), Some(b)) if a != b => return Err(Never),
            (a, b) => a.or(b),
        };
        match (protocol, matches.not_protocol) {
            (Some(a), Some(b)) if a == b => return Err(Never),
            (Some(protocol), _) => and(all, Criterion::Protocol { equal: true, protocol }),
            (None, Some(protocol)) => and(all, Criterion::Protocol { equal: false, protocol }),
            (None, None) => {}
        }
        Ok(protocol)
    }

    fn ports(
        &mut self,
        all: &mut Alternatives,
        draft: &Draft,
        family: Option<Family>,
        protocol: Option<Protocol>,
    ) -> Result<(), Never> {
        let sides = [
            (Side::Source, &draft.matches.source),
            (Side::Destination, &draft.matches.destination),
        ];
        let wanted = sides.iter().any(|(_, side)| !side.ports.is_empty());
        let unwanted = sides.iter().any(|(_, side)| !side.not_ports.is_empty());
        if !wanted && !unwanted {
            return Ok(());
        }
        let mut portless = Vec::new();
        match protocol {
            Some(p) if !p.has_ports() => return if wanted { Err(Never) } else { Ok(()) },
            Some(_) => {}
            None => {
                if !wanted {
                    // A packet without ports has none of the unwanted ones.
                    portless.clone_from(all);
                    let without = self.has_ports(false);
                    and(&mut portless, without);
                }
                let with = self.has_ports(true);
                and(all, with);
            }
        }
        for (side, criteria) in sides {
            if !criteria.ports.is_empty() {
                let any = self.any_port(side, &criteria.ports, family);
                or(all, any);
            }
        }
        for (side, criteria) in sides {
            self.no_port(all, side, &criteria.not_ports, family);
        }
        all.append(&mut portless);
        if all.is_empty() { Err(Never) } else { Ok(()) }
    }

    fn any_port(
        &mut self,
        side: Side,
        ports: &[PortMatch],
        family: Option<Family>,
    ) -> Alternatives {
        let ranges = PortMatch::ranges(ports);
        if ranges == [ALL_PORTS] {
            return vec![Vec::new()];
        }
        let mut any: Alternatives = if ranges.len() <= LINEAR_PORTS {
            let one = |range| vec![Criterion::Ports { side, equal: true, range }];
            ranges.into_iter().map(one).collect()
        } else {
            let set = self.use_set(sets::ports(&ranges));
            vec![vec![Criterion::PortSet { side, equal: true, set }]]
        };
        any.extend(self.named(side, ports, family, true).into_iter().map(|c| vec![c]));
        any
    }

    fn no_port(
        &mut self,
        all: &mut Alternatives,
        side: Side,
        ports: &[PortMatch],
        family: Option<Family>,
    ) {
        let ranges = PortMatch::ranges(ports);
        if ranges == [ALL_PORTS] {
            all.clear();
        } else if !ranges.is_empty() {
            // Always a set: of `th sport != 1 th dport != 2`, nft 1.0.6 makes one comparison of both
            // ports together, which means something else.
            let set = self.use_set(sets::ports(&ranges));
            and(all, Criterion::PortSet { side, equal: false, set });
        }
        for criterion in self.named(side, ports, family, false) {
            and(all, criterion);
        }
    }

    fn named(
        &mut self,
        side: Side,
        ports: &[PortMatch],
        family: Option<Family>,
        equal: bool,
    ) -> Vec<Criterion> {
        let Some(family) = family else { return Vec::new() };
        let mut criteria = Vec::new();
        for port in ports {
            let PortMatch::Named(id) = port else { continue };
            let Some(set) = self.ruleset.sets.get(id) else { continue };
            if set.def.kind() == SetKind::AddrProtoPort {
                let set = self.use_set(sets::members(*id, set, family));
                criteria.push(Criterion::Tuple { address: side, port: side, family, equal, set });
            }
        }
        criteria
    }

    fn addresses(
        &mut self,
        all: &mut Alternatives,
        draft: &Draft,
        family: Option<Family>,
    ) -> Result<(), Never> {
        let Some(family) = family else { return Ok(()) };
        let Match { source, destination, .. } = &draft.matches;
        let sides = [(Side::Source, source), (Side::Destination, destination)];
        // What is wanted of both sides comes first: `nft` compares neighbouring fields together, and
        // so do we, where nothing stands between them.
        for equal in [true, false] {
            for (side, criteria) in sides {
                for id in if equal { &criteria.sets } else { &criteria.not_sets } {
                    self.member_of(all, *id, side, family, equal)?;
                }
                if let Some(peer) = draft.peer.as_ref().filter(|peer| equal && peer.side == side) {
                    self.nets(all, side, family, true, &peer.nets)?;
                }
            }
        }
        Ok(())
    }

    fn member_of(
        &mut self,
        all: &mut Alternatives,
        id: SetId,
        side: Side,
        family: Family,
        equal: bool,
    ) -> Result<(), Never> {
        if let Some(nets) = nets_of(self.ruleset, id) {
            return self.nets(all, side, family, equal, &nets);
        }
        let set = self.ruleset.sets.get(&id);
        let Some(set) = set.filter(|set| set.def.kind() != SetKind::AddrProtoPort) else {
            // No address is a member of a set that does not exist, or holds no addresses.
            return if equal { Err(Never) } else { Ok(()) };
        };
        let set = self.use_set(sets::members(id, set, family));
        and(all, Criterion::Address { side, family, equal, set });
        Ok(())
    }

    fn nets(
        &mut self,
        all: &mut Alternatives,
        side: Side,
        family: Family,
        equal: bool,
        nets: &[IpNet],
    ) -> Result<(), Never> {
        let nets = of_family(nets, family);
        let everybody = nets.iter().any(|net| net.prefix_len() == 0);
        let host = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
        match nets[..] {
            [] if equal => return Err(Never),
            [] => {}
            _ if everybody && !equal => return Err(Never),
            _ if everybody => {}
            // Negated single addresses are a set, for the same reason as negated ports.
            [net] if equal || !host(&net) => and(all, Criterion::Prefix { side, equal, net }),
            _ => {
                let set = self.use_set(sets::nets(&nets, family));
                and(all, Criterion::Address { side, family, equal, set });
            }
        }
        Ok(())
    }
}

/// The criteria cannot hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Never;

const ALL_PORTS: PortRange = PortRange { first: 0, last: u16::MAX };

fn and(all: &mut Alternatives, criterion: Criterion) {
    for conjunction in all {
        conjunction.push(criterion.clone());
    }
}

fn or(all: &mut Alternatives, any: Alternatives) {
    *all = std::mem::take(all)
        .into_iter()
        .flat_map(|left| any.iter().map(move |right| [&left[..], right].concat()))
        .collect();
}

fn icmp_protocol(family: Family) -> Protocol {
    match family {
        Family::V4 => Protocol::ICMP,
        Family::V6 => Protocol::ICMPV6,
    }
}

/// Whether the families must be told apart.
fn needs_family(draft: &Draft) -> bool {
    let matches = &draft.matches;
    let named = |side: &Criteria| {
        let ports = side.ports.iter().chain(&side.not_ports);
        ports.into_iter().any(|p| matches!(p, PortMatch::Named(_)))
    };
    let side = |side: &Criteria| !side.sets.is_empty() || !side.not_sets.is_empty() || named(side);
    matches.family.is_some()
        || matches.icmp.is_some()
        || matches.not_icmp.is_some()
        || draft.peer.is_some()
        || side(&matches.source)
        || side(&matches.destination)
}

fn icmp(
    all: &mut Alternatives,
    draft: &Draft,
    family: Option<Family>,
    protocol: Option<Protocol>,
) -> Result<(), Never> {
    let Some(family) = family else { return Ok(()) };
    let kind =
        |equal, icmp_type| Criterion::IcmpType { family, equal, first: icmp_type, last: icmp_type };
    if let Some(icmp) = draft.matches.icmp {
        and(all, kind(true, icmp.icmp_type));
        if let Some(code) = icmp.code {
            and(all, Criterion::IcmpCode { family, equal: true, code });
        }
    }
    let Some(unwanted) = draft.matches.not_icmp else { return Ok(()) };
    let own = icmp_protocol(family);
    let sides = [&draft.matches.source, &draft.matches.destination];
    if protocol.is_some_and(|p| p != own) || sides.iter().any(|side| !side.ports.is_empty()) {
        return Ok(());
    }
    if let Some(wanted) = draft.matches.icmp {
        // Both speak of one message, so one of them may say it all.
        return match (wanted.icmp_type == unwanted.icmp_type, wanted.code, unwanted.code) {
            (false, ..) => Ok(()),
            (true, _, None) => Err(Never),
            (true, Some(a), Some(b)) => {
                if a == b {
                    Err(Never)
                } else {
                    Ok(())
                }
            }
            (true, None, Some(code)) => {
                and(all, Criterion::IcmpCode { family, equal: false, code });
                Ok(())
            }
        };
    }
    let is_icmp = Criterion::Protocol { equal: true, protocol: own };
    let prefix = if protocol.is_some() { Vec::new() } else { vec![is_icmp] };
    let mut any = vec![[&prefix[..], &[kind(false, unwanted.icmp_type)]].concat()];
    if let Some(code) = unwanted.code {
        let code = Criterion::IcmpCode { family, equal: false, code };
        any.push([&prefix[..], &[kind(true, unwanted.icmp_type), code]].concat());
    }
    if protocol.is_none() {
        any.push(vec![Criterion::Protocol { equal: false, protocol: own }]);
    }
    or(all, any);
    Ok(())
}
