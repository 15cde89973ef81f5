//! `AgentConfiguration`.
//!
//! A field that is broken is left to less specific objects, except where that could open something:
//! then the closed choice holds.

use std::time::Duration;

use brindle_api::{AgentConfigurationSpec, FailsafePort};
use brindle_model::host::Failsafe;
use brindle_model::net::Protocol;
use brindle_model::settings::{
    AgentConfiguration, Dataplane, EndpointToHost, ExistingConnections, Settings, SettingsScope,
    Word,
};
use ipnet::IpNet;

use super::labels::{Scope, selector};
use crate::intern::Interner;
use crate::object::ObjectKey;
use crate::problem::Problems;
use crate::validate::is_dns_subdomain;

/// Longest time between read-backs, seconds.
const MAX_RESYNC: u32 = 24 * 3600;
/// Most packets that are remembered of a kind.
const MAX_PACKETS: u32 = 65_536;
/// Most packets a second and decision.
const MAX_DROPS: u32 = 10_000;
/// Most failsafe ports each way.
const MAX_PORTS: usize = 64;

/// Converts settings of agents; `None` if it cannot be said for which nodes they are.
pub(super) fn configuration(
    key: &ObjectKey,
    spec: &AgentConfigurationSpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<AgentConfiguration> {
    let scope = scope(key, spec, names, problems);
    let settings = settings(spec, problems);
    Some(AgentConfiguration { scope: scope?, settings })
}

fn scope(
    key: &ObjectKey,
    spec: &AgentConfigurationSpec,
    names: &mut Interner,
    problems: &mut Problems,
) -> Option<SettingsScope> {
    const AT: &str = "spec.nodeSelector";
    let by_name = match key.name.strip_prefix("node.") {
        Some(node) if is_dns_subdomain(node) => Some(SettingsScope::Node(names.intern(node))),
        _ if &*key.name == "default" => Some(SettingsScope::All),
        _ => None,
    };
    match (by_name, &spec.node_selector) {
        (Some(scope), None) => Some(scope),
        (Some(_), Some(_)) => {
            let message = format!("`{}` says by its name which nodes it is for", key.name);
            problems.error(AT, message);
            None
        }
        (None, Some(written)) => {
            selector(written, Scope::Node, AT, names, problems).map(SettingsScope::Selected)
        }
        (None, None) => {
            let message =
                "is missing, and the name is neither `default` nor `node.<name of a node>`";
            problems.error(AT, message);
            None
        }
    }
}

fn settings(spec: &AgentConfigurationSpec, problems: &mut Problems) -> Settings {
    let existing = word(&spec.existing_connections, "spec.existingConnections", problems);
    let to_host =
        word(&spec.default_endpoint_to_host_action, "spec.defaultEndpointToHostAction", problems);
    let jump = word(&spec.iptables_jump, "spec.iptablesJump", problems).flatten();
    let dataplane = word(&spec.dataplane, "spec.dataplane", problems).flatten();
    let idle = jump.is_some() && dataplane == Some(Dataplane::Nftables);
    if idle {
        problems.error("spec.iptablesJump", "has no effect with dataplane Nftables");
    }
    let inbound = ("spec.failsafeInboundHostPorts", &spec.failsafe_inbound_host_ports);
    let outbound = ("spec.failsafeOutboundHostPorts", &spec.failsafe_outbound_host_ports);
    let [failsafe_inbound, failsafe_outbound] =
        [inbound, outbound].map(|(at, ports)| failsafes(ports.as_deref()?, at, problems));
    Settings {
        log: spec.log_level.as_deref().and_then(|level| log_level(level, problems)),
        existing_connections: existing.map(|e| e.unwrap_or(ExistingConnections::Reevaluate)),
        endpoint_to_host: to_host.map(|action| action.unwrap_or(EndpointToHost::Drop)),
        failsafe_inbound,
        failsafe_outbound,
        packets_kept: number(spec.packets_kept, MAX_PACKETS, "spec.packetsKept", problems),
        drops_per_second: number(spec.drops_per_second, MAX_DROPS, "spec.dropsPerSecond", problems),
        resync_interval: spec
            .resync_interval
            .and_then(|interval| resync_interval(interval.seconds(), problems)),
        dataplane,
        iptables_jump: jump.filter(|_| !idle),
    }
}

/// A choice; of one that is none, `Some(None)`.
fn word<W: Word>(written: &Option<String>, at: &str, problems: &mut Problems) -> Option<Option<W>> {
    let written = written.as_deref()?;
    let found = W::ALL.iter().copied().find(|choice| choice.name() == written);
    if found.is_none() {
        let names: Vec<_> = W::ALL.iter().map(|choice| choice.name()).collect();
        problems.error(at, format!("`{written}` is not one of {}", names.join(", ")));
    }
    Some(found)
}

/// As a directive of the log.
fn log_level(written: &str, problems: &mut Problems) -> Option<String> {
    const LEVELS: [&str; 5] = ["Error", "Warn", "Info", "Debug", "Trace"];
    if !LEVELS.contains(&written) {
        let message = format!("`{written}` is not one of {}", LEVELS.join(", "));
        problems.error("spec.logLevel", message);
        return None;
    }
    Some(written.to_ascii_lowercase())
}

fn number(written: Option<i32>, most: u32, at: &str, problems: &mut Problems) -> Option<u32> {
    let number = u32::try_from(written?).ok().filter(|number| *number <= most);
    if number.is_none() {
        problems.error(at, format!("is not within 0 to {most}"));
    }
    number
}

fn resync_interval(seconds: u32, problems: &mut Problems) -> Option<Duration> {
    if seconds == 0 || seconds > MAX_RESYNC {
        problems.error("spec.resyncInterval", "is not within 1s to 24h");
        return None;
    }
    Some(Duration::from_secs(seconds.into()))
}

/// A list of which an entry is broken counts without it: it leaves less open.
fn failsafes(written: &[FailsafePort], at: &str, problems: &mut Problems) -> Option<Vec<Failsafe>> {
    if written.len() > MAX_PORTS {
        problems.error(at, format!("are {}, more than {MAX_PORTS}", written.len()));
        return None;
    }
    let ports = written.iter().enumerate();
    Some(ports.filter_map(|(i, port)| failsafe(port, &format!("{at}[{i}]"), problems)).collect())
}

fn failsafe(written: &FailsafePort, at: &str, problems: &mut Problems) -> Option<Failsafe> {
    let protocol = match written.protocol.as_str() {
        "TCP" => Some(Protocol::TCP),
        "UDP" => Some(Protocol::UDP),
        "SCTP" => Some(Protocol::SCTP),
        _ => None,
    };
    if protocol.is_none() {
        problems.error(format!("{at}.protocol"), "is not one of TCP, UDP, SCTP");
    }
    let port = u16::try_from(written.port).ok().filter(|port| *port > 0);
    if port.is_none() {
        problems.error(format!("{at}.port"), format!("{} is not within 1 to 65535", written.port));
    }
    let net = match written.net.as_deref().map(|text| (text, text.parse::<IpNet>())) {
        None => None,
        Some((_, Ok(net))) => Some(net.trunc()),
        Some((text, Err(_))) => {
            problems
                .error(format!("{at}.net"), format!("`{text}` is not a CIDR such as 10.0.0.0/8"));
            return None;
        }
    };
    Some(Failsafe { protocol: protocol?, port: port?, net })
}
