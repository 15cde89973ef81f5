//! A rule of a `brindle.io` policy (C18–C22, C28).
//!
//! A rule that cannot be read fails closed (A13): one that admits or records matches nothing, one
//! that may deny (or pass, over the heads of policies that would deny) denies everything in its
//! direction.

use brindle_api::{IcmpFields, PolicyRule};
use brindle_model::Name;
use brindle_model::net::{Family, IcmpMatch, Protocol};
use brindle_model::policy::{Action, Criteria, End, Ends, Rule};
use brindle_model::verdict::Direction;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::intern::Interner;
use crate::problem::Problems;

/// Protocols by the names that users write (C18).
const PROTOCOLS: [(&str, Protocol); 6] = [
    ("TCP", Protocol::TCP),
    ("UDP", Protocol::UDP),
    ("ICMP", Protocol::ICMP),
    ("ICMPv6", Protocol::ICMPV6),
    ("SCTP", Protocol::SCTP),
    ("UDPLite", Protocol(136)),
];

/// Reads the rules of one direction of a policy.
pub(super) struct Reader<'a> {
    /// The direction.
    pub direction: Direction,
    /// The namespace of a NetworkPolicy; a GlobalNetworkPolicy has none.
    pub namespace: Option<&'a Name>,
    /// Strings that are shared.
    pub names: &'a mut Interner,
    /// What is wrong.
    pub problems: &'a mut Problems,
}

impl Reader<'_> {
    /// Converts a rule; `None` for one that matches nothing because it cannot be read.
    pub(super) fn rule(&mut self, index: u32, written: &PolicyRule, at: &str) -> Option<Rule> {
        let before = self.problems.errors();
        let action = self.action(&written.action, &format!("{at}.action"));
        let ends = self.ends(written, at);
        let readable = self.problems.errors() == before;
        match action {
            Some(action) if readable => {
                let criteria = Criteria::Ends(self.names.share_ends(ends));
                Some(Rule { index, action, criteria })
            }
            Some(Action::Allow | Action::Log) => None,
            _ => {
                let message = "cannot be read, so it denies everything";
                self.problems.consequence(at, message);
                Some(Rule::deny_all(index))
            }
        }
    }

    fn action(&mut self, written: &str, at: &str) -> Option<Action> {
        Some(match written {
            "Allow" => Action::Allow,
            "Deny" => Action::Deny,
            "Pass" => Action::Pass,
            "Log" => Action::Log,
            _ => {
                let message = format!("`{written}` is not one of Allow, Deny, Pass, Log");
                self.problems.error(at, message);
                return None;
            }
        })
    }

    fn ends(&mut self, written: &PolicyRule, at: &str) -> Ends {
        if written.http.is_some() {
            let message = "HTTP needs a proxy, and there is none";
            self.problems.error(format!("{at}.http"), message);
        }
        let protocol = written.protocol.as_ref();
        let protocol = protocol.and_then(|p| self.protocol(p, &format!("{at}.protocol")));
        let not_protocol = written.not_protocol.as_ref();
        let not_protocol =
            not_protocol.and_then(|p| self.protocol(p, &format!("{at}.notProtocol")));
        let icmp = written.icmp.as_ref();
        let icmp = icmp.and_then(|i| self.icmp(i, protocol, &format!("{at}.icmp")));
        let not_icmp = written.not_icmp.as_ref();
        let not_icmp = not_icmp.and_then(|i| self.icmp(i, protocol, &format!("{at}.notICMP")));
        let source = self.end(&written.source, protocol, true, &format!("{at}.source"));
        let destination =
            self.end(&written.destination, protocol, false, &format!("{at}.destination"));
        let ends = Ends {
            family: self.family(written, at),
            protocol,
            not_protocol,
            icmp,
            not_icmp,
            source,
            destination,
        };
        self.families(&ends, at);
        ends
    }

    fn family(&mut self, written: &PolicyRule, at: &str) -> Option<Family> {
        match written.ip_version? {
            4 => Some(Family::V4),
            6 => Some(Family::V6),
            other => {
                self.problems.error(format!("{at}.ipVersion"), format!("{other} is not 4 or 6"));
                None
            }
        }
    }

    fn protocol(&mut self, written: &IntOrString, at: &str) -> Option<Protocol> {
        let found = match written {
            IntOrString::Int(number) => {
                u8::try_from(*number).ok().filter(|n| *n != 0).map(Protocol)
            }
            IntOrString::String(name) => {
                PROTOCOLS.iter().find(|(known, _)| known == name).map(|(_, protocol)| *protocol)
            }
        };
        if found.is_none() {
            let written = match written {
                IntOrString::Int(number) => number.to_string(),
                IntOrString::String(name) => format!("`{name}`"),
            };
            let names = PROTOCOLS.map(|(name, _)| name).join(", ");
            self.problems.error(at, format!("{written} is not one of {names}, 1 to 255"));
        }
        found
    }

    fn icmp(
        &mut self,
        written: &IcmpFields,
        protocol: Option<Protocol>,
        at: &str,
    ) -> Option<IcmpMatch> {
        if !matches!(protocol, Some(Protocol::ICMP | Protocol::ICMPV6)) {
            self.problems.error(at, "needs protocol ICMP or ICMPv6");
        }
        let Some(icmp_type) = written.icmp_type else {
            let message = match written.code {
                Some(_) => "a code needs a type",
                None => "names no type",
            };
            self.problems.error(at, message);
            return None;
        };
        let number = u8::try_from(icmp_type).ok().filter(|t| *t != u8::MAX);
        if number.is_none() {
            let message = format!("{icmp_type} is not a type: 0 to 254 are");
            self.problems.error(format!("{at}.type"), message);
        }
        let code = written.code.map(u8::try_from).transpose();
        if code.is_err() {
            let message =
                format!("{} is not a code: 0 to 255 are", written.code.unwrap_or_default());
            self.problems.error(format!("{at}.code"), message);
        }
        Some(IcmpMatch { icmp_type: number?, code: code.ok()? })
    }

    /// Checks that the criteria can hold for one packet: its protocol, its nets and what it says of
    /// the family itself are of one family (C18, C21).
    fn families(&mut self, ends: &Ends, at: &str) {
        let of = |protocol| match protocol {
            Some(Protocol::ICMP) => Some(Family::V4),
            Some(Protocol::ICMPV6) => Some(Family::V6),
            _ => None,
        };
        for (field, named) in [("protocol", ends.protocol), ("notProtocol", ends.not_protocol)] {
            if let (Some(asked), Some(family)) = (ends.family, of(named))
                && asked != family
            {
                let message = "is of the other family than ipVersion";
                self.problems.error(format!("{at}.{field}"), message);
            }
        }
        let nets = |end: &End| -> Vec<_> {
            let nets = end.nets.iter().flatten().chain(&end.not_nets);
            nets.map(|net| Family::of_net(*net)).collect()
        };
        let nets = [nets(&ends.source), nets(&ends.destination)].concat();
        let Some(&family) = nets.first() else { return };
        if nets.iter().any(|f| *f != family) {
            self.problems.error(at, "has nets of both families: write a rule for each");
        } else if ends.family.is_some_and(|asked| asked != family) {
            self.problems.error(at, "has nets of the other family than ipVersion");
        } else if of(ends.protocol).is_some_and(|asked| asked != family) {
            self.problems
                .warning(at, "matches nothing: its nets are of the other family than its protocol");
        }
    }
}
