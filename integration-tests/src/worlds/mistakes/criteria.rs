//! The criteria of a rule are misread: selectors, peers, ports, nets, packets.

use std::sync::Arc;

use brindle_model::List;
use brindle_model::cluster::Update;
use brindle_model::labels::NAMESPACE_LABEL_PREFIX;
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::{Action, Criteria, End, EndPort, Ends, Peer, Port, PortSpec};
use brindle_model::selector::Selector;
use ipnet::IpNet;

use super::Named;
use super::policies::{lists, policy, unbind};

/// See [`super::all`].
pub(super) const MISTAKES: &[Named<Update>] = &[
    ("a negation needs the label", |u| {
        selectors(u, |s| {
            if let Selector::Not(inner) = s
                && let Selector::In(key, _) = &**inner
            {
                let has = Selector::Has(key.clone());
                *s = Selector::And(vec![has, s.clone()]);
            }
        });
    }),
    ("an empty value is no label", |u| {
        selectors(u, |s| {
            if let Selector::Has(key) = s {
                let empty = Selector::equals(key.clone(), "");
                *s = Selector::And(vec![Selector::not(empty), s.clone()]);
            }
        });
    }),
    ("of listed values the first counts", |u| {
        selectors(u, |s| {
            if let Selector::In(_, values) = s {
                *values = values.first().cloned().into_iter().collect();
            }
        });
    }),
    ("&& is read as ||", |u| {
        selectors(u, |s| {
            if let Selector::And(operands) = s {
                *s = Selector::Or(operands.clone());
            }
        });
    }),
    ("|| is read as &&", |u| {
        selectors(u, |s| {
            if let Selector::Or(operands) = s {
                *s = Selector::And(operands.clone());
            }
        });
    }),
    ("! is not read", |u| {
        selectors(u, |s| {
            if let Selector::Not(inner) = s {
                *s = (**inner).clone();
            }
        });
    }),
    ("contains asks for the whole value", |u| {
        selectors(u, |s| {
            if let Selector::Contains(key, text) = s {
                *s = Selector::equals(key.clone(), text.clone());
            }
        });
    }),
    ("starts with is read as contains", |u| {
        selectors(u, |s| {
            if let Selector::StartsWith(key, text) = s {
                *s = Selector::Contains(key.clone(), text.clone());
            }
        });
    }),
    ("ends with is read as contains", |u| {
        selectors(u, |s| {
            if let Selector::EndsWith(key, text) = s {
                *s = Selector::Contains(key.clone(), text.clone());
            }
        });
    }),
    ("labels of a namespace are sought on the pod", |u| {
        selectors(u, |s| {
            if let Selector::Has(key) | Selector::In(key, _) = s
                && let Some(own) = key.strip_prefix(NAMESPACE_LABEL_PREFIX)
            {
                *key = own.into();
            }
        });
    }),
    ("peers are not bound to their namespace", |u| {
        peers(u, |peer| {
            if let Peer::Pods(selector) = peer {
                unbind(selector);
            }
        });
        each_end(u, |end| {
            end.selector.iter_mut().for_each(|selector| unbind(Arc::make_mut(selector)));
        });
    }),
    ("a list of broken peers is anybody", |u| {
        alternatives(u, |peers, _| *peers = peers.take().filter(|peers| !peers.is_empty()));
    }),
    ("a list of broken ports is any port", |u| {
        alternatives(u, |_, ports| *ports = ports.take().filter(|ports| !ports.is_empty()));
    }),
    ("no peers are nobody", |u| {
        alternatives(u, |peers, _| *peers = Some(peers.take().unwrap_or_default()));
    }),
    ("no ports are no port", |u| {
        alternatives(u, |_, ports| *ports = Some(ports.take().unwrap_or_default()));
    }),
    ("of several peers the first counts", |u| {
        alternatives(u, |peers, _| peers.iter_mut().for_each(|peers| peers.truncate(1)));
    }),
    ("of several ports the first counts", |u| {
        alternatives(u, |_, ports| ports.iter_mut().for_each(|ports| ports.truncate(1)));
    }),
    ("except is ignored", |u| {
        peers(u, |peer| {
            if let Peer::IpBlock { except, .. } = peer {
                except.clear();
            }
        });
    }),
    ("of several excepts the first counts", |u| {
        peers(u, |peer| {
            if let Peer::IpBlock { except, .. } = peer {
                except.truncate(1);
            }
        });
    }),
    ("a block is its first address", |u| blocks(u, |net| *net = net.addr().into())),
    ("a block is twice as wide", |u| {
        blocks(u, |net| *net = net.supernet().unwrap_or(*net));
    }),
    ("a block is half as wide", |u| {
        blocks(u, |net| {
            let half = net.subnets(net.prefix_len() + 1).ok();
            *net = half.and_then(|mut halves| halves.next()).unwrap_or(*net);
        });
    }),
    ("nodes are nobody", |u| {
        peers(u, |peer| {
            if let Peer::Nodes(selector) = peer {
                *selector = Selector::None;
            }
        });
    }),
    ("nodes are all nodes", |u| {
        peers(u, |peer| {
            if let Peer::Nodes(selector) = peer {
                *selector = Selector::All;
            }
        });
    }),
    ("UDP ports are read as TCP ports", |u| protocol(u, Protocol::UDP, Protocol::TCP)),
    ("SCTP ports are read as TCP ports", |u| protocol(u, Protocol::SCTP, Protocol::TCP)),
    ("the last port of a range is outside", |u| {
        ranges(u, |range| range.last = range.last.saturating_sub(1).max(range.first));
    }),
    ("the first port of a range is outside", |u| {
        ranges(u, |range| range.first = range.first.saturating_add(1).min(range.last));
    }),
    ("endPort is ignored", |u| ranges(u, |range| range.last = range.first)),
    ("a protocol without a port is every protocol", |u| {
        alternatives(u, |_, ports| {
            let any = |port: &Port| port.port == PortSpec::Any;
            *ports = ports.take().filter(|ports| !ports.iter().any(any));
        });
    }),
    ("a port name is of any protocol", |u| {
        alternatives(u, |_, ports| {
            for port in ports.iter_mut().flatten() {
                if let PortSpec::Named(_) = port.port {
                    port.protocol = None;
                }
            }
        });
        ends(u, |ends| {
            let named = |p: &EndPort| matches!(p, EndPort::Named(_));
            let all = |end: &End| end.ports.as_ref().is_some_and(|p| p.iter().all(named));
            if all(&ends.destination) && ends.protocol.is_some() {
                ends.protocol = None;
            }
        });
    }),
    ("port names are not resolved", |u| {
        alternatives(u, |_, ports| {
            for ports in ports.iter_mut() {
                ports.retain(|port| !matches!(port.port, PortSpec::Named(_)));
            }
        });
    }),
    ("ipVersion is ignored", |u| ends(u, |ends| ends.family = None)),
    ("protocol is ignored", |u| {
        ends(u, |ends| {
            if ends.icmp.is_none() {
                ends.protocol = None;
            }
        });
    }),
    ("notProtocol is ignored", |u| ends(u, |ends| ends.not_protocol = None)),
    ("icmp is ignored", |u| ends(u, |ends| ends.icmp = None)),
    ("notICMP is ignored", |u| ends(u, |ends| ends.not_icmp = None)),
    ("an ICMP code is ignored", |u| {
        ends(u, |ends| ends.icmp.iter_mut().for_each(|icmp| icmp.code = None));
    }),
    ("nets are ignored", |u| each_end(u, |end| end.nets = None)),
    ("of several nets the first counts", |u| {
        each_end(u, |end| end.nets.iter_mut().for_each(|nets| nets.truncate(1)));
    }),
    ("notNets are ignored", |u| each_end(u, |end| end.not_nets.clear())),
    ("notNets of one family say nothing of the other", |u| {
        each_end(u, |end| {
            if !end.not_nets.is_empty() {
                let nothing = ["192.0.2.255/32", "2001:db8:ffff::ffff/128"];
                end.not_nets.extend(nothing.map(|net| net.parse::<IpNet>().expect("a net")));
            }
        });
    }),
    ("a selector is ignored", |u| each_end(u, |end| end.selector = None)),
    ("notSelector is ignored", |u| each_end(u, |end| end.not_selector = None)),
    ("notSelector ranges over known endpoints only", |u| {
        each_end(u, |end| {
            if let Some(not) = end.not_selector.take() {
                let positive = end.selector.take().map_or(Selector::All, Arc::unwrap_or_clone);
                let rest = Selector::not(Arc::unwrap_or_clone(not));
                end.selector = Some(Selector::and([positive, rest]).into());
            }
        });
    }),
    ("a negated selector ranges over every address", |u| {
        each_end(u, |end| {
            if let Some(Selector::Not(inner)) = end.selector.as_deref()
                && end.not_selector.is_none()
            {
                end.not_selector = Some((**inner).clone().into());
                end.selector = None;
            }
        });
    }),
    ("source and destination are swapped", |u| {
        ends(u, |ends| std::mem::swap(&mut ends.source, &mut ends.destination));
    }),
    ("source ports are ignored", |u| ends(u, |ends| ends.source.ports = None)),
    ("destination ports are ignored", |u| ends(u, |ends| ends.destination.ports = None)),
    ("notPorts are ignored", |u| each_end(u, |end| end.not_ports.clear())),
    ("of several notPorts the first counts", |u| each_end(u, |end| end.not_ports.truncate(1))),
    ("a Service of another namespace has the name", |u| {
        each_end(u, |end| {
            if let Some(service) = &mut end.service {
                service.namespace = if *service.namespace == *"x" { "y" } else { "x" }.into();
            }
        });
    }),
    ("a Service is anybody", |u| each_end(u, |end| end.service = None)),
    ("broken rules that deny are left out", |u| {
        lists(u, |rules| {
            let all = Criteria::Lists { peers: None, ports: None };
            rules.retain(|rule| rule.action != Action::Deny || rule.criteria != all);
        });
    }),
];

/// Changes every selector of a policy, the subject among them, from the leaves up.
fn selectors(update: &mut Update, change: fn(&mut Selector)) {
    policy(update, |policy| walk(Arc::make_mut(&mut policy.subject), change));
    peers(update, |peer| match peer {
        Peer::Pods(selector) | Peer::Nodes(selector) => walk(selector, change),
        Peer::IpBlock { .. } => {}
    });
    each_end(update, |end| {
        let selectors = end.selector.iter_mut().chain(&mut end.not_selector);
        selectors.for_each(|selector| walk(Arc::make_mut(selector), change));
    });
}

fn walk(selector: &mut Selector, change: fn(&mut Selector)) {
    match selector {
        Selector::Not(inner) => walk(inner, change),
        Selector::And(operands) | Selector::Or(operands) => {
            operands.iter_mut().for_each(|operand| walk(operand, change));
        }
        _ => {}
    }
    change(selector);
}

fn alternatives(
    update: &mut Update,
    mut change: impl FnMut(&mut Option<List<Peer>>, &mut Option<List<Port>>),
) {
    lists(update, |rules| {
        for rule in rules {
            if let Criteria::Lists { peers, ports } = &mut rule.criteria {
                change(peers, ports);
            }
        }
    });
}

fn peers(update: &mut Update, mut change: impl FnMut(&mut Peer)) {
    alternatives(update, |peers, _| peers.iter_mut().flatten().for_each(&mut change));
}

fn blocks(update: &mut Update, mut change: impl FnMut(&mut IpNet)) {
    peers(update, |peer| {
        if let Peer::IpBlock { cidr, .. } = peer {
            change(cidr);
        }
    });
}

fn protocol(update: &mut Update, from: Protocol, to: Protocol) {
    alternatives(update, |_, ports| {
        for port in ports.iter_mut().flatten().filter(|port| port.protocol == Some(from)) {
            port.protocol = Some(to);
        }
    });
}

fn ranges(update: &mut Update, mut change: impl FnMut(&mut PortRange)) {
    alternatives(update, |_, ports| {
        for port in ports.iter_mut().flatten() {
            if let PortSpec::Range(range) = &mut port.port {
                change(range);
            }
        }
    });
    each_end(update, |end| {
        for port in end.ports.iter_mut().flatten().chain(&mut end.not_ports) {
            if let EndPort::Range(range) = port {
                change(range);
            }
        }
    });
}

fn ends(update: &mut Update, mut change: impl FnMut(&mut Ends)) {
    lists(update, |rules| {
        for rule in rules {
            if let Criteria::Ends(ends) = &mut rule.criteria {
                change(Arc::make_mut(ends));
            }
        }
    });
}

fn each_end(update: &mut Update, mut change: impl FnMut(&mut End)) {
    ends(update, |ends| both(ends, &mut change));
}

fn both(ends: &mut Ends, mut change: impl FnMut(&mut End)) {
    change(&mut ends.source);
    change(&mut ends.destination);
}
