//! AgentConfigurations: for whom they are, what each field becomes, and what is left of broken ones.

use std::time::Duration;

use brindle_model::selector::Selector;
use brindle_model::settings::{
    AgentConfiguration, Dataplane, EndpointToHost, ExistingConnections, IptablesJump, Settings,
    SettingsScope,
};
use brindle_sources::convert::Input;

use super::{accepted, convert};

fn yaml(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: brindle.io/v1alpha1\nkind: AgentConfiguration\nmetadata: {{name: {name}}}\n\
         spec: {spec}"
    )
}

fn read(name: &str, spec: &str) -> AgentConfiguration {
    let Input::AgentConfiguration(found) = accepted(&yaml(name, spec)) else { panic!() };
    (*found).clone()
}

/// What is left of it, and what is said.
fn broken(name: &str, spec: &str) -> (Option<Settings>, String) {
    let (input, problems) = convert(&yaml(name, spec));
    let left = input.map(|input| match input {
        Input::AgentConfiguration(found) => found.settings.clone(),
        other => panic!("{other:?}"),
    });
    (left, problems.join("; "))
}

#[test]
fn names_and_selectors_say_for_which_nodes_it_is() {
    assert_eq!(read("default", "{}").scope, SettingsScope::All);
    assert_eq!(read("node.n1", "{}").scope, SettingsScope::Node("n1".into()));
    let rack = read("rack", "{nodeSelector: {matchLabels: {rack: r1}}}");
    assert_eq!(rack.scope, SettingsScope::Selected(Selector::equals("rack", "r1")));
    for (name, spec, said) in [
        ("rack", "{}", "spec.nodeSelector: is missing, and the name is neither `default` nor"),
        ("default", "{nodeSelector: {}}", "`default` says by its name which nodes it is for"),
        ("node.n1", "{nodeSelector: {}}", "`node.n1` says by its name which nodes it is for"),
        ("rack", "{nodeSelector: [], logLevel: Debug}", "spec.nodeSelector: invalid type"),
    ] {
        let (left, problems) = broken(name, spec);
        assert_eq!(left, None, "{name} {spec}");
        assert!(problems.contains(said), "{problems}");
    }
}

#[test]
fn every_field_is_a_setting() {
    let spec = "{logLevel: Debug, existingConnections: Keep, defaultEndpointToHostAction: Drop, \
                failsafeInboundHostPorts: [{protocol: TCP, port: 22, net: 10.1.2.3/8}], \
                failsafeOutboundHostPorts: [], packetsKept: 7, dropsPerSecond: 0, \
                resyncInterval: 1m30s, dataplane: IptablesNft, iptablesJump: Append}";
    let expected = Settings {
        log: Some("debug".into()),
        existing_connections: Some(ExistingConnections::Keep),
        endpoint_to_host: Some(EndpointToHost::Drop),
        failsafe_inbound: Some(vec!["tcp:22@10.0.0.0/8".parse().unwrap()]),
        failsafe_outbound: Some(Vec::new()),
        packets_kept: Some(7),
        drops_per_second: Some(0),
        resync_interval: Some(Duration::from_secs(90)),
        dataplane: Some(Dataplane::IptablesNft),
        iptables_jump: Some(IptablesJump::Append),
    };
    assert_eq!(read("default", spec).settings, expected);
    assert!(expected.rows().iter().all(|row| row.value.is_some()));
    assert_eq!(read("default", "{}").settings, Settings::default());
}

/// The others count, and what could open something closes.
#[test]
fn a_broken_field_costs_itself() {
    let kept = Settings { packets_kept: Some(7), ..Settings::default() };
    let closed = Settings {
        endpoint_to_host: Some(EndpointToHost::Drop),
        existing_connections: Some(ExistingConnections::Reevaluate),
        ..kept.clone()
    };
    for (field, left, said) in [
        (
            "logLevel: Loud",
            &kept,
            "spec.logLevel: `Loud` is not one of Error, Warn, Info, Debug, Trace",
        ),
        ("loglevel: Info", &kept, "unknown field `loglevel`"),
        ("dropsPerSecond: -1", &kept, "spec.dropsPerSecond: is not within 0 to 10000"),
        ("dropsPerSecond: many", &kept, "spec.dropsPerSecond: invalid type"),
        ("resyncInterval: 0s", &kept, "spec.resyncInterval: is not within 1s to 24h"),
        ("resyncInterval: 90", &kept, "spec.resyncInterval: invalid type"),
        ("dataplane: EBPF", &kept, "spec.dataplane: `EBPF` is not one of Auto, Nftables"),
        (
            "existingConnections: Drop, defaultEndpointToHostAction: Deny",
            &closed,
            "spec.defaultEndpointToHostAction: `Deny` is not one of Accept, Drop",
        ),
        (
            "existingConnections: 1, defaultEndpointToHostAction: {}",
            &closed,
            "spec.defaultEndpointToHostAction: invalid type",
        ),
    ] {
        let (found, problems) = broken("default", &format!("{{{field}, packetsKept: 7}}"));
        assert_eq!(found.as_ref(), Some(left), "{field}");
        assert!(problems.contains(said), "{problems}");
    }
    let (found, problems) = broken("default", "{dataplane: Nftables, iptablesJump: Append}");
    assert_eq!(found.unwrap().iptables_jump, None);
    assert_eq!(problems, "spec.iptablesJump: has no effect with dataplane Nftables");
}

#[test]
fn a_broken_failsafe_port_is_closed() {
    let ports = "{failsafeInboundHostPorts: [{protocol: TCP, port: 22}, {protocol: ICMP, port: 8}, \
                 {protocol: TCP, port: 0}, {protocol: UDP, port: 53, net: nowhere}]}";
    let (found, problems) = broken("default", ports);
    assert_eq!(found.unwrap().failsafe_inbound, Some(vec!["tcp:22".parse().unwrap()]));
    for said in ["[1].protocol: is not", "[2].port: 0 is not", "[3].net: `nowhere` is not"] {
        assert!(problems.contains(said), "{problems}");
    }
}
