//! `networking.k8s.io/v1` NetworkPolicy (K1–K24, C30, C31), enforced and staged.
//!
//! There is a policy for every object, however broken: what cannot be read admits nobody, and what
//! surrounds it stays. So each list here keeps its good entries and drops the others, and a list
//! whose entries are all broken stays a list, because a missing one would mean "any" (K8).

use brindle_model::labels::NAMESPACE_NAME_LABEL;
use brindle_model::policy::{DEFAULT_TIER, NETWORK_POLICY_ORDER, Peer, Policy, Port, Rule};
use brindle_model::ruleset::Stage;
use brindle_model::selector::Selector;
use brindle_model::verdict::Direction;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::labels::{Scope, selector};
use super::{cidr, port};
use crate::intern::Interner;
use crate::object::ObjectKey;
use crate::problem::Problems;

/// Converts a NetworkPolicy.
pub(super) fn policy(
    key: &ObjectKey,
    spec: &NetworkPolicySpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> Policy {
    let namespace = Selector::equals(
        names.intern(NAMESPACE_NAME_LABEL),
        names.intern(key.namespace.as_deref().unwrap_or_default()),
    );
    let mut reader = Reader { namespace, names, problems };
    let [governs_ingress, governs_egress] = reader.directions(spec);
    let ingress = spec.ingress.iter().flatten().map(|r| (r.from.as_deref(), r.ports.as_deref()));
    let egress = spec.egress.iter().flatten().map(|r| (r.to.as_deref(), r.ports.as_deref()));
    let ingress: Vec<_> = reader.rules(Direction::Ingress, ingress);
    let egress: Vec<_> = reader.rules(Direction::Egress, egress);
    match reader.subject(spec.pod_selector.as_ref()) {
        Some(subject) => Policy {
            tier: DEFAULT_TIER.into(),
            order: NETWORK_POLICY_ORDER,
            subject: reader.names.share_selector(subject),
            stage: Stage::Normal,
            ingress: governs_ingress.then_some(ingress),
            egress: governs_egress.then_some(egress),
        },
        // Nobody knows whom the rules were for: every pod of the namespace, and nothing admitted.
        None => Policy {
            tier: DEFAULT_TIER.into(),
            order: NETWORK_POLICY_ORDER,
            subject: reader.names.share_selector(reader.namespace),
            stage: Stage::Normal,
            ingress: governs_ingress.then(Vec::new),
            egress: governs_egress.then(Vec::new),
        },
    }
}

struct Reader<'a> {
    /// Selects the pods of the policy's namespace.
    namespace: Selector,
    names: &'a mut Interner,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    /// Whether ingress and egress are governed (K5, K6); both if a type cannot be read.
    fn directions(&mut self, spec: &NetworkPolicySpec) -> [bool; 2] {
        let types = spec.policy_types.as_deref().unwrap_or_default();
        let mut unreadable = false;
        for (i, policy_type) in types.iter().enumerate() {
            if !matches!(policy_type.as_str(), "Ingress" | "Egress") {
                unreadable = true;
                self.problems.error(
                    format!("spec.policyTypes[{i}]"),
                    format!("`{policy_type}` is not one of Ingress, Egress"),
                );
            }
        }
        match (unreadable, types) {
            (true, _) => [true, true],
            (false, []) => [true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())],
            (false, types) => ["Ingress", "Egress"].map(|name| types.iter().any(|t| t == name)),
        }
    }

    /// The pods that the policy is for: those that match, in its namespace (K1, K4).
    fn subject(&mut self, written: Option<&LabelSelector>) -> Option<Selector> {
        let pods = match written {
            Some(written) => self.selector(written, Scope::Pod, "spec.podSelector")?,
            None => Selector::All,
        };
        Some(Selector::and([self.namespace.clone(), pods]))
    }

    fn rules<'r>(
        &mut self,
        direction: Direction,
        written: impl Iterator<
            Item = (Option<&'r [NetworkPolicyPeer]>, Option<&'r [NetworkPolicyPort]>),
        >,
    ) -> Vec<Rule> {
        let peers_field = match direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        (0..)
            .zip(written)
            .map(|(index, (peers, ports))| {
                let at = format!("spec.{direction}[{index}]");
                let peers = self.list(peers, &format!("{at}.{peers_field}"), Self::peer);
                let ports = self.list(ports, &format!("{at}.ports"), Self::port);
                Rule::allow(index, peers, ports)
            })
            .collect()
    }

    /// The good entries of a list; `None` for a missing or empty one (K8).
    fn list<W, T>(
        &mut self,
        written: Option<&[W]>,
        at: &str,
        read: fn(&mut Self, &W, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let written = written.filter(|entries| !entries.is_empty())?;
        let entries = written.iter().enumerate();
        Some(entries.filter_map(|(i, entry)| read(self, entry, &format!("{at}[{i}]"))).collect())
    }

    fn peer(&mut self, written: &NetworkPolicyPeer, at: &str) -> Option<Peer> {
        let NetworkPolicyPeer { ip_block, namespace_selector, pod_selector } = written;
        if let Some(block) = ip_block {
            if namespace_selector.is_some() || pod_selector.is_some() {
                self.problems.error(at, "ipBlock cannot be combined with a selector");
                return None;
            }
            return self.ip_block(block, &format!("{at}.ipBlock"));
        }
        if namespace_selector.is_none() && pod_selector.is_none() {
            self.problems.error(at, "names no podSelector, namespaceSelector or ipBlock");
            return None;
        }
        let namespaces = match namespace_selector {
            Some(s) => self.selector(s, Scope::Namespace, &format!("{at}.namespaceSelector")),
            None => Some(self.namespace.clone()),
        };
        let pods = match pod_selector {
            Some(s) => self.selector(s, Scope::Pod, &format!("{at}.podSelector")),
            None => Some(Selector::All),
        };
        Some(Peer::Pods(Selector::and([namespaces?, pods?])))
    }

    /// An address block (K13–K16). If an exception cannot be read the whole entry is broken:
    /// without it the entry would admit more.
    fn ip_block(&mut self, written: &IPBlock, at: &str) -> Option<Peer> {
        let before = self.problems.errors();
        let cidr = self.cidr(&written.cidr, &format!("{at}.cidr"));
        let mut except = Vec::new();
        for (i, text) in written.except.iter().flatten().enumerate() {
            let at = format!("{at}.except[{i}]");
            let Some(hole) = self.cidr(text, &at) else { continue };
            except.push(hole);
            if cidr.is_some_and(|c| !c.contains(&hole) || hole.prefix_len() <= c.prefix_len()) {
                self.problems.error(at, format!("{text} does not lie within {}", written.cidr));
            }
        }
        let cidr = cidr?;
        (self.problems.errors() == before).then_some(Peer::IpBlock { cidr, except })
    }

    fn cidr(&mut self, text: &str, at: &str) -> Option<IpNet> {
        cidr::masked(text, at, self.problems)
    }

    fn port(&mut self, written: &NetworkPolicyPort, at: &str) -> Option<Port> {
        port::policy_port(written, at, self.names, self.problems)
    }

    fn selector(&mut self, written: &LabelSelector, scope: Scope, at: &str) -> Option<Selector> {
        selector(written, scope, at, self.names, self.problems)
    }
}
