//! HostEndpoints: what each field means, and that a broken one goes on closing its interface.

use brindle_model::Name;
use brindle_model::host::{HostEndpoint, HostInterfaces};
use brindle_sources::convert::Input;

use super::convert;

fn yaml(spec: &str) -> String {
    let head = "apiVersion: brindle.io/v1alpha1\nkind: HostEndpoint\n";
    format!("{head}metadata: {{name: n1-eth0, labels: {{role: edge, pcns.team: a}}}}\nspec: {spec}")
}

fn read(spec: &str) -> (Option<HostEndpoint>, Vec<String>) {
    let (input, problems) = convert(&yaml(spec));
    let endpoint = input.map(|input| match input {
        Input::HostEndpoint(endpoint) => (*endpoint).clone(),
        other => panic!("{other:?}"),
    });
    (endpoint, problems)
}

#[test]
fn every_field() {
    let (found, problems) = read(
        "{node: n1, interfaceName: eth0, expectedIPs: [10.0.0.1, 'fd00::1'], \
         profiles: [projectcalico-default-allow], \
         ports: [{name: web, protocol: TCP, port: 80}, {name: sig, protocol: 132, port: 5000}]}",
    );
    let found = found.expect("an endpoint");
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(&*found.node, "n1");
    assert_eq!(found.interfaces, HostInterfaces::Named("eth0".into()));
    assert_eq!(found.expected_addresses.len(), 2);
    assert_eq!(found.labels, [("role", "edge")].into_iter().collect(), "C12");
    assert_eq!(found.profiles, [Name::from("projectcalico-default-allow")]);
    let ports: Vec<_> =
        found.ports.iter().map(|p| format!("{} {} {}", p.name, p.protocol, p.port)).collect();
    assert_eq!(ports, ["web tcp 80", "sig sctp 5000"]);
}

#[test]
fn c34_which_interfaces() {
    for (spec, expected) in [
        ("{node: n1, interfaceName: '*'}", HostInterfaces::All),
        ("{node: n1, expectedIPs: [10.0.0.1]}", HostInterfaces::ByAddress),
        ("{node: n1, interfaceName: '', expectedIPs: [10.0.0.1]}", HostInterfaces::ByAddress),
        ("{node: n1, interfaceName: bond0.100}", HostInterfaces::Named("bond0.100".into())),
    ] {
        let (endpoint, problems) = read(spec);
        assert_eq!((endpoint.map(|e| e.interfaces), problems), (Some(expected), vec![]), "{spec}");
    }
    for (spec, problem) in [
        (
            "{node: n1}",
            "spec.interfaceName: is missing, and there are no expectedIPs to find it by",
        ),
        ("{node: n1, interfaceName: lo}", "spec.interfaceName: the loopback is never policed"),
        (
            "{node: n1, interfaceName: brd0123}",
            "spec.interfaceName: `brd0123` is a pod's: pods have policies of their own",
        ),
        (
            "{node: n1, interfaceName: 'an interface'}",
            "spec.interfaceName: `an interface` is not an interface's name",
        ),
        (
            "{node: n1, interfaceName: longer-than-ifnamsiz}",
            "spec.interfaceName: `longer-than-ifnamsiz` is not an interface's name",
        ),
        ("{node: 'N 1', interfaceName: eth0}", "spec.node: `N 1` is not a node's name"),
    ] {
        assert_eq!(read(spec), (None, vec![problem.to_owned()]), "{spec}");
    }
}

/// Whoever breaks a host endpoint does not open the interface.
#[test]
fn a_broken_one_goes_on_closing() {
    for (spec, problem) in [
        (
            "{node: n1, interfaceName: eth0, profiles: [projectcalico-default-allow], extra: 1}",
            "spec.extra: unknown field `extra`",
        ),
        (
            "{node: n1, interfaceName: eth0, profiles: [open]}",
            "spec.profiles[0]: there is no profile `open`",
        ),
        (
            "{node: n1, interfaceName: eth0, expectedIPs: [nowhere]}",
            "spec.expectedIPs[0]: `nowhere` is not an address",
        ),
        (
            "{node: n1, interfaceName: eth0, ports: [{name: web, protocol: ICMP, port: 0}]}",
            "spec.ports[0].port: 0 is not within 1 to 65535",
        ),
    ] {
        let (endpoint, problems) = read(spec);
        let endpoint = endpoint.expect(spec);
        assert_eq!(endpoint.interfaces, HostInterfaces::Named("eth0".into()), "{spec}");
        let open = endpoint.profiles.first().is_some_and(|p| &**p == "projectcalico-default-allow");
        assert!(!open && endpoint.ports.is_empty(), "{spec}: {endpoint:?}");
        assert!(problems.iter().any(|p| p.starts_with(problem)), "{spec}: {problems:?}");
    }
}
