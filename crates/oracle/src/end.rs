//! Criteria on one end of a packet (C19–C27).

use std::net::IpAddr;

use brindle_api::{EntityRule, ServiceMatch};
use brindle_model::net::Protocol;
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cidr::Cidr;
use crate::label_selector::Reading;
use crate::member::{Doubt, Member, holding};
use crate::peer::Answer;
use crate::port::transport;
use crate::protocol::{PortEntry, port_entry};
use crate::selector::{self, is_global};
use crate::world::{World, label_of, namespace_of};

/// One end of a packet, and what a rule that can be read says of it.
pub(crate) struct End<'a> {
    pub(crate) world: &'a World,
    /// The policy's own, if its kind has one.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) rule: &'a EntityRule,
    pub(crate) addr: IpAddr,
    pub(crate) protocol: Protocol,
    /// Where the protocol has ports.
    pub(crate) port: Option<u16>,
    /// Whether this is the destination.
    pub(crate) destination: bool,
    /// How to take what cannot be read whole.
    pub(crate) doubt: Doubt,
}

impl<'a> End<'a> {
    /// Every criterion that is given, by its field, with its answer.
    pub(crate) fn answers(&self) -> Vec<(&'static str, Answer)> {
        let rule = self.rule;
        let mut answers = Vec::new();
        if !rule.nets.is_empty() {
            answers.push(("nets", self.nets()));
        }
        if !rule.not_nets.is_empty() {
            answers.push(("notNets", self.not_nets()));
        }
        if self.picks_members() {
            answers.push((self.picking_field(), self.selected()));
        }
        if let Some(text) = &rule.not_selector {
            answers.push(("notSelector", self.not_selected(text)));
        }
        if let Some(service) = &rule.services {
            answers.push(("services", self.service(service)));
        }
        if !rule.ports.is_empty() {
            answers.push(("ports", self.ports()));
        }
        if !rule.not_ports.is_empty() {
            answers.push(("notPorts", self.not_ports()));
        }
        answers
    }

    /// C23: whether the end picks a subset of the known endpoints and network sets. C24: in a
    /// NetworkPolicy notSelector is a selector criterion too.
    fn picks_members(&self) -> bool {
        let EntityRule { selector, not_selector, namespace_selector, service_accounts, .. } =
            self.rule;
        selector.is_some()
            || namespace_selector.is_some()
            || service_accounts.is_some()
            || self.namespace.is_some() && not_selector.is_some()
    }

    fn picking_field(&self) -> &'static str {
        match self.rule {
            EntityRule { selector: Some(_), .. } => "selector",
            EntityRule { service_accounts: Some(_), .. } => "serviceAccounts",
            EntityRule { namespace_selector: Some(_), .. } => "namespaceSelector",
            _ => "notSelector",
        }
    }

    /// C21: any of.
    fn nets(&self) -> Answer {
        let inside = parsed(&self.rule.nets).find(|net| net.contains(self.addr));
        match inside {
            Some(net) => ("C21", true, format!("{} is inside {net}", self.addr)),
            None => ("C21", false, format!("{} is inside none of the nets", self.addr)),
        }
    }

    /// C21: none of.
    fn not_nets(&self) -> Answer {
        let inside = parsed(&self.rule.not_nets).find(|net| net.contains(self.addr));
        match inside {
            Some(net) => ("C21", false, format!("{} is inside {net}", self.addr)),
            None => ("C21", true, format!("{} is inside none of the nets", self.addr)),
        }
    }

    fn selected(&self) -> Answer {
        let members = holding(self.world, self.addr, self.doubt);
        let mut nearest = None;
        for member in members {
            match self.picks(member) {
                Ok(rule) => return (rule, true, format!("{} is picked", member.named())),
                // Of several the last word is kept: a network set's is the widest.
                Err((rule, why)) => {
                    nearest = Some((rule, false, format!("{}: {why}", member.named())))
                }
            }
        }
        // C23: outside addresses are in no set.
        nearest.unwrap_or_else(|| {
            ("C23", false, format!("{} is of no known endpoint or network set", self.addr))
        })
    }

    /// Whether the positive criteria pick a member; the rule that says so, or says no and why.
    fn picks(&self, member: Member<'a>) -> Result<&'static str, (&'static str, String)> {
        let world = self.world;
        match (self.rule.namespace_selector.as_deref(), self.namespace, member.namespace()) {
            // C23: in a NetworkPolicy the own namespace, in a GlobalNetworkPolicy everything.
            (None, Some(own), namespace) if namespace != Some(own) => {
                return Err(("C23", format!("it is not in namespace {own}")));
            }
            (None, ..) => {}
            // C23: only what has no namespace.
            (Some(text), _, namespace) if is_global(text) => {
                if let Some(namespace) = namespace {
                    return Err(("C23", format!("it is in namespace {namespace}, not global")));
                }
            }
            // C11: written onto the keys of the namespace's labels. C23: all() is everything
            // namespaced.
            (Some(text), _, Some(namespace)) => {
                let label = |key: &str| world.namespace_label(namespace, key);
                reading(text, true, &label)
                    .map_err(|why| ("C11", format!("its namespace: {why}")))?;
            }
            // C23: a negation picks nothing that has no namespace either.
            (Some(_), _, None) => return Err(("C23", "it is global, in no namespace".into())),
        }
        if let Some(accounts) = &self.rule.service_accounts {
            // C25: names (any of) AND selector; only pods run as one.
            let (Some(account), Some(namespace)) = (member.service_account(), member.namespace())
            else {
                return Err(("C25", "it has no service account".into()));
            };
            if !accounts.names.is_empty() && !accounts.names.iter().any(|name| name == account) {
                return Err(("C25", format!("it runs as {account}")));
            }
            if let Some(text) = &accounts.selector {
                let label = |key: &str| world.service_account_label(namespace, account, key);
                reading(text, true, &label)
                    .map_err(|why| ("C25", format!("its service account: {why}")))?;
            }
        }
        if let Some(text) = &self.rule.selector {
            reading(text, true, &|key| member.label(world, key)).map_err(|why| ("C11", why))?;
        }
        Ok(match member {
            _ if self.rule.service_accounts.is_some() => "C25",
            Member::Pod(_) => "C23",
            Member::Set(..) => "C27",
            Member::Host(_) => "C34",
        })
    }

    /// C24: an address that no endpoint or network set holds that matches, outside addresses
    /// included.
    fn not_selected(&self, text: &str) -> Answer {
        let world = self.world;
        let matched = holding(world, self.addr, self.doubt.negated())
            .into_iter()
            .find(|member| reading(text, true, &|key| member.label(world, key)).is_ok());
        match matched {
            Some(member) => ("C24", false, format!("{} matches {text:?}", member.named())),
            None => ("C24", true, format!("{} is of nothing that matches {text:?}", self.addr)),
        }
    }

    /// C26: the Service's endpoints, ready or not, never its ClusterIP.
    fn service(&self, service: &ServiceMatch) -> Answer {
        let namespace = service.namespace.as_deref().or(self.namespace);
        let namespace = namespace.unwrap_or_default();
        let slices = self.world.endpoint_slices.iter().filter(|slice| {
            namespace_of(&slice.metadata) == namespace
                && label_of(&slice.metadata, "kubernetes.io/service-name") == Some(&service.name)
        });
        let matched = slices.into_iter().any(|slice| {
            if self.doubt == Doubt::HoldsAll && is_incomplete(slice) {
                return !self.destination || self.port.is_some();
            }
            // As destination tuples, as source addresses only.
            lists(slice, self.addr)
                && (!self.destination || slice.ports.iter().flatten().any(|port| self.serves(port)))
        });
        let (name, what) = (&service.name, if self.destination { "tuple" } else { "address" });
        let side = if matched { "is" } else { "is not" };
        ("C26", matched, format!("it {side} an endpoint {what} of Service {namespace}/{name}"))
    }

    /// C26: a port without a number is no tuple.
    fn serves(&self, port: &EndpointPort) -> bool {
        let protocol = transport(port.protocol.as_deref().unwrap_or("TCP"));
        protocol == Some(self.protocol)
            && port.port.is_some()
            && port.port == self.port.map(i32::from)
    }

    /// C19: numbers and names mixed, any of.
    fn ports(&self) -> Answer {
        let Some(port) = self.port else { return ("C19", false, "the packet has no ports".into()) };
        match self.listed(&self.rule.ports, port) {
            Some((rule, entry)) => (rule, true, format!("{port} is {entry}")),
            None => {
                let names = self
                    .rule
                    .ports
                    .iter()
                    .any(|p| matches!(port_entry(p), Some(PortEntry::Named(_))));
                (if names { "C20" } else { "C19" }, false, format!("{port} is none of the ports"))
            }
        }
    }

    /// C19: likewise. A packet without ports has none of them.
    fn not_ports(&self) -> Answer {
        let listed = self.port.and_then(|port| self.listed(&self.rule.not_ports, port));
        match listed {
            Some((rule, entry)) => (rule, false, format!("the port is {entry}")),
            None => ("C19", true, "it is none of the ports".into()),
        }
    }

    /// The first entry that a port is, and the rule that says so.
    fn listed(&self, ports: &[IntOrString], port: u16) -> Option<(&'static str, String)> {
        ports.iter().filter_map(port_entry).find_map(|entry| match entry {
            PortEntry::Numbers(first, last) => {
                (first..=last).contains(&port).then(|| ("C19", format!("in {first}-{last}")))
            }
            PortEntry::Named(name) => {
                // C20: over the endpoints that the positive criteria pick, else over all of the
                // cluster.
                let picked =
                    |member: &Member<'a>| !self.picks_members() || self.picks(*member).is_ok();
                holding(self.world, self.addr, Doubt::HoldsNothing)
                    .into_iter()
                    .filter(picked)
                    .any(|m| m.named_ports(name, self.protocol).contains(&i32::from(port)))
                    .then(|| ("C20", format!("port {name:?}")))
            }
        })
    }
}

/// Whether a slice has an address or port that cannot be read; names of hosts are no addresses
/// (C26).
fn is_incomplete(slice: &EndpointSlice) -> bool {
    let v6 = match slice.address_type.as_str() {
        "IPv4" => false,
        "IPv6" => true,
        "FQDN" => return false,
        _ => return true,
    };
    let texts = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    let mut addresses = texts.map(|text| text.parse::<IpAddr>());
    let mut ports = slice.ports.iter().flatten().filter(|port| port.port.is_some());
    addresses.any(|address| !address.is_ok_and(|address| address.is_ipv6() == v6))
        || ports.any(|port| {
            let protocol = transport(port.protocol.as_deref().unwrap_or("TCP"));
            protocol.is_none() || !port.port.is_some_and(|port| (1..=65535).contains(&port))
        })
}

/// Whether a slice lists an address, of the family that it says it lists.
fn lists(slice: &EndpointSlice, addr: IpAddr) -> bool {
    slice.address_type == if addr.is_ipv6() { "IPv6" } else { "IPv4" }
        && slice
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.addresses)
            .any(|text| text.parse() == Ok(addr))
}

fn parsed(nets: &[String]) -> impl Iterator<Item = Cidr> {
    nets.iter().filter_map(|net| Cidr::parse_net(net))
}

/// What hinders a selector, if anything does.
fn reading<'l>(
    text: &str,
    all: bool,
    label: &dyn Fn(&str) -> Option<&'l str>,
) -> Result<(), String> {
    match selector::read(text, all, label) {
        Reading::Matched => Ok(()),
        Reading::Failed(why) | Reading::Broken(why) => Err(why),
    }
}
