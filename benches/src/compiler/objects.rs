//! Inputs as a source makes them: strings and sets of labels are shared.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use brindle_model::cluster::{Attachment, EndpointId, Namespace, Pod, Update};
use brindle_model::labels::Labels;
use brindle_model::policy::{Action, Criteria, Ends, Order, Policy, Rule};
use brindle_model::ruleset::Stage;
use brindle_model::selector::{Scope, Selector};
use brindle_model::verdict::{PolicyId, PolicyKind};
use brindle_model::{Name, NamespacedName};
use brindle_sources::intern::Interner;

/// Makes inputs, and holds what they share.
#[derive(Default)]
pub struct Maker {
    names: Interner,
}

impl Maker {
    pub fn name(&mut self, text: impl Display) -> Name {
        self.names.intern(&text.to_string())
    }

    pub fn labels<K: Display, V: Display>(
        &mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Labels {
        let pairs: Vec<_> =
            pairs.into_iter().map(|(key, value)| (self.name(key), self.name(value))).collect();
        self.names.share(pairs.into_iter().collect())
    }

    pub fn selector(&mut self, text: &str) -> Selector {
        let names = &mut self.names;
        let read = Selector::parse_with(text, Scope::Endpoint, &mut |text| names.intern(text));
        read.expect("the shapes' selectors are of the language")
    }

    /// The shared copy of a selector.
    pub fn share(&mut self, selector: Selector) -> Arc<Selector> {
        self.names.share_selector(selector)
    }

    /// A rule that admits what meets these criteria.
    pub fn allow(&mut self, index: usize, ends: Ends) -> Rule {
        let criteria = Criteria::Ends(self.names.share_ends(ends));
        Rule { index: index as u32, action: Action::Allow, criteria }
    }

    pub fn namespace<V: Display>(
        &mut self,
        name: impl Display,
        label: Option<(&str, V)>,
    ) -> Update {
        let name = self.name(name);
        let own = ("kubernetes.io/metadata.name", name.to_string());
        let label = label.map(|(key, value)| (key, value.to_string()));
        let labels = self.labels(label.into_iter().chain([own]));
        Update::Namespace(name, Some(Arc::new(Namespace { labels })))
    }

    pub fn pod_name(&mut self, namespace: impl Display, name: impl Display) -> NamespacedName {
        NamespacedName { namespace: self.name(namespace), name: name.to_string().into() }
    }

    /// A pod on another node.
    pub fn pod(&mut self, labels: Labels, addresses: Vec<IpAddr>) -> Pod {
        Pod {
            node: Some(self.name("n1")),
            labels,
            service_account: Some(self.name("default")),
            addresses: addresses.into(),
            ..Pod::default()
        }
    }

    /// The attachment of a pod that hangs on this node.
    pub fn endpoint(&mut self, id: &NamespacedName, number: usize, addresses: &[IpAddr]) -> Update {
        let id = EndpointId {
            pod: id.clone(),
            container_id: format!("c{number}").into(),
            interface: self.name("eth0"),
        };
        let host_interface = format!("brd{number}").into();
        let attachment = Attachment { host_interface, addresses: addresses.to_vec() };
        Update::Endpoint(id, Some(Arc::new(attachment)))
    }

    /// A policy in tier `default` that governs ingress, or both directions if it has rules for both.
    pub fn policy(&mut self, subject: Selector, ingress: Vec<Rule>, egress: Vec<Rule>) -> Policy {
        Policy {
            tier: self.name("default"),
            order: Order::LAST,
            subject: self.share(subject),
            stage: Stage::Normal,
            ingress: Some(ingress),
            egress: (!egress.is_empty()).then_some(egress),
        }
    }
}

/// The update of a policy.
pub fn governs(
    kind: PolicyKind,
    namespace: Option<Name>,
    name: impl Display,
    policy: Policy,
) -> Update {
    let id = PolicyId { name: name.to_string().into(), namespace, kind };
    Update::Policy(id, Some(Arc::new(policy)))
}

/// The address of this number in `10.0.0.0/8`.
pub fn address(number: usize) -> IpAddr {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    IpAddr::from([10, a, b, c])
}
