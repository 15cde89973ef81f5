//! One end of a rule of a `brindle.io` policy (C19–C26).

use brindle_api::{EntityRule, ServiceAccountMatch, ServiceMatch};
use brindle_model::labels::{NAMESPACE_NAME_LABEL, SERVICE_ACCOUNT_NAME_LABEL};
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::{End, EndPort};
use brindle_model::selector::{Scope, Selector, is_global};
use brindle_model::verdict::Direction;
use brindle_model::{List, NamespacedName};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::cidr;
use super::policy_rule::Reader;
use crate::validate::{is_dns_label, is_dns_subdomain, is_port_name};

/// Most entries of a list of nets, ports, names of service accounts (C8).
const MAX_NETS: usize = 256;
const MAX_PORTS: usize = 50;
const MAX_NAMES: usize = 20;

impl Reader<'_> {
    /// Converts an end; what cannot be read goes to the problems.
    pub(super) fn end(
        &mut self,
        written: &EntityRule,
        protocol: Option<Protocol>,
        is_source: bool,
        at: &str,
    ) -> End {
        let ports = self.ports(&written.ports, protocol, &format!("{at}.ports"));
        let not_ports = self.ports(&written.not_ports, protocol, &format!("{at}.notPorts"));
        let nets = self.nets(&written.nets, &format!("{at}.nets"));
        let not_nets = self.nets(&written.not_nets, &format!("{at}.notNets"));
        if not_nets.iter().any(|net| net.prefix_len() == 0) {
            self.problems.error(format!("{at}.notNets"), "leaves nothing to match");
        }
        let service = written.services.as_ref();
        let service = service.and_then(|s| self.service(s, written, is_source, at));
        let selector = self.picked(written, at);
        let not_selector = written
            .not_selector
            .as_ref()
            .and_then(|text| self.expression(text, Scope::Endpoint, &format!("{at}.notSelector")));
        End {
            selector: selector.map(|selector| self.names.share_selector(selector)),
            not_selector: not_selector.map(|selector| self.names.share_selector(selector)),
            service: service.map(Box::new),
            nets: (!written.nets.is_empty()).then_some(nets),
            not_nets,
            ports: (!written.ports.is_empty()).then_some(ports),
            not_ports,
        }
    }

    /// Which endpoints and network sets are meant, if any are (C23–C25).
    fn picked(&mut self, written: &EntityRule, at: &str) -> Option<Selector> {
        let EntityRule { selector, not_selector, namespace_selector, service_accounts, .. } =
            written;
        let mut all = Vec::new();
        match (namespace_selector, self.namespace) {
            (Some(text), _) if is_global(text) => {
                all.push(Selector::not(Selector::Has(self.names.intern(NAMESPACE_NAME_LABEL))));
            }
            (Some(text), _) => {
                let at = format!("{at}.namespaceSelector");
                all.extend(self.expression(text, Scope::Namespace, &at));
            }
            // C24: the own namespace bounds what is not selected too.
            (None, Some(own))
                if selector.is_some() || not_selector.is_some() || service_accounts.is_some() =>
            {
                all.push(Selector::equals(self.names.intern(NAMESPACE_NAME_LABEL), own.clone()));
            }
            (None, _) => {}
        }
        if let Some(text) = selector {
            all.extend(self.expression(text, Scope::Endpoint, &format!("{at}.selector")));
        }
        if let Some(accounts) = service_accounts {
            all.extend(self.service_accounts(accounts, &format!("{at}.serviceAccounts")));
        }
        (!all.is_empty()).then(|| Selector::and(all))
    }

    fn expression(&mut self, text: &str, scope: Scope, at: &str) -> Option<Selector> {
        super::expression(text, scope, at, self.names, self.problems)
    }

    /// Pods by their service account: one of the names, and the labels (C25).
    fn service_accounts(&mut self, written: &ServiceAccountMatch, at: &str) -> Option<Selector> {
        let before = self.problems.errors();
        let ServiceAccountMatch { names, selector } = written;
        if names.is_empty() && selector.is_none() {
            self.problems.error(at, "gives neither names nor a selector");
        }
        self.at_most(MAX_NAMES, names.len(), &format!("{at}.names"));
        for (i, name) in names.iter().enumerate().filter(|(_, name)| !is_dns_subdomain(name)) {
            let message = format!("`{name}` is not a service account's name");
            self.problems.error(format!("{at}.names[{i}]"), message);
        }
        let selector = selector.as_ref().and_then(|text| {
            let at = format!("{at}.selector");
            self.expression(text, Scope::ServiceAccount, &at)
        });
        let listed = (!names.is_empty()).then(|| {
            let label = self.names.intern(SERVICE_ACCOUNT_NAME_LABEL);
            Selector::In(label, names.iter().map(|name| self.names.intern(name)).collect())
        });
        // A negation in the selector must not pick what has no service account at all.
        let has_one = Selector::Has(self.names.intern(SERVICE_ACCOUNT_NAME_LABEL));
        (self.problems.errors() == before)
            .then(|| Selector::and(listed.or(Some(has_one)).into_iter().chain(selector)))
    }

    /// A Service by name (C26): where packets come from on ingress, where they go on egress.
    fn service(
        &mut self,
        written: &ServiceMatch,
        end: &EntityRule,
        is_source: bool,
        at: &str,
    ) -> Option<NamespacedName> {
        let before = self.problems.errors();
        let at = format!("{at}.services");
        if is_source != (self.direction == Direction::Ingress) {
            let message = "is only for the destination of egress and the source of ingress";
            self.problems.error(&at, message);
        }
        let excluded = [
            ("selector", end.selector.is_some()),
            ("notSelector", end.not_selector.is_some()),
            ("namespaceSelector", end.namespace_selector.is_some()),
            ("serviceAccounts", end.service_accounts.is_some()),
            ("nets", !end.nets.is_empty()),
            ("notNets", !end.not_nets.is_empty()),
            ("ports", !is_source && !end.ports.is_empty()),
            ("notPorts", !is_source && !end.not_ports.is_empty()),
        ];
        for (field, _) in excluded.into_iter().filter(|(_, given)| *given) {
            self.problems.error(&at, format!("excludes {field}"));
        }
        let ServiceMatch { name, namespace } = written;
        if !is_dns_label(name) {
            self.problems.error(format!("{at}.name"), format!("`{name}` is not a Service's name"));
        }
        let namespace = namespace.as_deref().or(self.namespace.map(|own| &**own));
        match namespace {
            Some(namespace) if !is_dns_label(namespace) => {
                let message = format!("`{namespace}` is not a namespace's name");
                self.problems.error(format!("{at}.namespace"), message);
            }
            Some(_) => {}
            None => {
                let message = "is missing: a global policy has no namespace of its own";
                self.problems.error(format!("{at}.namespace"), message);
            }
        }
        let namespace = self.names.intern(namespace?);
        (self.problems.errors() == before)
            .then(|| NamespacedName { namespace, name: self.names.intern(name) })
    }

    fn nets(&mut self, written: &[String], at: &str) -> List<IpNet> {
        self.at_most(MAX_NETS, written.len(), at);
        let entries = written.iter().enumerate();
        entries
            .filter_map(|(i, text)| {
                cidr::masked_or_address(text, &format!("{at}[{i}]"), self.problems)
            })
            .collect()
    }

    /// Reads ports (C19). Numbers need a protocol that has ports; of a name the container port
    /// knows it.
    fn ports(
        &mut self,
        written: &[IntOrString],
        protocol: Option<Protocol>,
        at: &str,
    ) -> List<EndPort> {
        self.at_most(MAX_PORTS, written.len(), at);
        let entries = written.iter().enumerate();
        let ports: List<_> =
            entries.filter_map(|(i, port)| self.port(port, &format!("{at}[{i}]"))).collect();
        let without_ports = protocol.is_some_and(|p| !p.has_ports());
        let numbered = ports.iter().any(|port| matches!(port, EndPort::Range(_)));
        if !ports.is_empty() && (without_ports || (numbered && protocol.is_none())) {
            self.problems.error(at, "needs protocol TCP, UDP or SCTP");
        }
        ports
    }

    fn port(&mut self, written: &IntOrString, at: &str) -> Option<EndPort> {
        let port = match written {
            IntOrString::Int(number) => u16::try_from(*number).ok().map(PortRange::single),
            IntOrString::String(text) if is_port_name(text) => {
                return Some(EndPort::Named(self.names.intern(text)));
            }
            IntOrString::String(text) => match text.split_once(':') {
                Some((first, last)) => decimal(first)
                    .zip(decimal(last))
                    .filter(|(first, last)| first <= last)
                    .map(|(first, last)| PortRange { first, last }),
                None => decimal(text).map(PortRange::single),
            },
        };
        if port.is_none() {
            let written = match written {
                IntOrString::Int(number) => number.to_string(),
                IntOrString::String(text) => format!("`{text}`"),
            };
            let message = format!("{written} is not a port, a range such as \"80:90\", or a name");
            self.problems.error(at, message);
        }
        port.map(EndPort::Range)
    }

    fn at_most(&mut self, most: usize, given: usize, at: &str) {
        if given > most {
            self.problems.error(at, format!("{given} entries, {most} are the most"));
        }
    }
}

/// A number of digits only: `parse` alone would take a sign.
fn decimal(text: &str) -> Option<u16> {
    text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok())?
}
