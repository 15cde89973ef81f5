//! Others on the same node: nothing of theirs is touched, and theirs do not break ours.

use brindle_dataplane_core::Backend;
use brindle_dataplane_iptables::{Variant, detect};

use crate::generate::{addresses, one_set};
use crate::namespace::{isolated, programs, run};
use crate::node::{Node, udp};
use crate::packets::{loaded, open_ruleset};

/// What docker makes of `FORWARD`, in short.
const DOCKER: &[&str] = &[
    "-P FORWARD DROP",
    "-N DOCKER",
    "-N DOCKER-USER",
    "-N DOCKER-ISOLATION-STAGE-1",
    "-A DOCKER-USER -j RETURN",
    "-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j RETURN",
    "-A FORWARD -j DOCKER-USER",
    "-A FORWARD -j DOCKER-ISOLATION-STAGE-1",
    "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A FORWARD -o docker0 -j DOCKER",
    "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
];

/// What kube-proxy makes of `filter`, in short: it admits what bears its mark, and known flows.
const KUBE_PROXY: &[&str] = &[
    "-N KUBE-FORWARD",
    "-N KUBE-SERVICES",
    "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
    "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
    "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-I FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES",
    "-I FORWARD -j KUBE-FORWARD",
];

fn make(variant: Variant, lines: &[&str]) {
    for program in programs(variant, "") {
        for line in lines {
            run(&program, &line.split(' ').collect::<Vec<_>>());
        }
    }
}

/// The rules that are not ours, without counters.
fn theirs(variant: Variant) -> String {
    let mut text = String::new();
    for program in programs(variant, "") {
        let rules = run(&program, &["-S"]);
        let foreign = rules.lines().filter(|line| !line.contains("BRINDLE-"));
        text.extend(foreign.map(|line| format!("{program} {line}\n")));
    }
    text + &run("ipset", &["list", "-n", "theirs"])
}

/// With docker's DROP as the policy of `FORWARD`, pods reach each other if policy admits it; with
/// kube-proxy's ACCEPT before us, what policy denies stays denied.
#[test]
fn docker_and_kube_proxy_stay_and_do_not_break_ours() {
    for variant in Variant::ALL {
        isolated(|| {
            let mut node = Node::build();
            run("ipset", &["create", "theirs", "hash:ip"]);
            make(variant, DOCKER);
            make(variant, KUBE_PROXY);
            // The witness of what has arrived passes on wires without the pod prefix.
            make(variant, &["-A FORWARD -i last0 -j ACCEPT"]);
            let before = theirs(variant);
            let mut backend = loaded(variant, &open_ruleset());
            assert_eq!(theirs(variant), before, "{variant}");
            let packets: Vec<_> =
                addresses(0).into_iter().zip(addresses(1)).map(|(a, b)| udp(a, b)).collect();
            assert_eq!(node.deliver(0, &packets).len(), 6, "{variant}: docker's DROP");
            // A mark that kube-proxy admits.
            for program in programs(variant, "") {
                run(
                    &program,
                    &["-t", "mangle", "-A", "PREROUTING", "-j", "MARK", "--set-mark", "0x4000"],
                );
            }
            let open = open_ruleset();
            let delta = brindle_model::ruleset::RulesetDelta::between(&open, &one_set());
            backend.stage(&delta);
            backend.commit().expect("commit");
            let fresh: Vec<_> =
                addresses(1).into_iter().zip(addresses(0)).map(|(a, b)| udp(a, b)).collect();
            assert!(node.deliver(1, &fresh).is_empty(), "{variant}: kube-proxy's ACCEPT");
            backend.uninstall().expect("uninstall");
            assert_eq!(theirs(variant), before, "{variant}: after uninstall");
        });
    }
}

/// The variant that a node uses is found without a table coming into being.
#[test]
fn the_variant_in_use_is_found_and_nothing_is_made() {
    let tables = || {
        let names = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names");
        (names.unwrap_or_default(), run("nft", &["list", "ruleset"]))
    };
    isolated(|| {
        let found = detect().expect("iptables");
        assert_eq!((found.variant, found.both), (Variant::Nft, false), "{found:?}");
        assert_eq!(tables(), Default::default());
        make(Variant::Legacy, &["-A FORWARD -j ACCEPT"]);
        let before = tables();
        assert_eq!(detect().expect("iptables").variant, Variant::Legacy);
        assert_eq!(tables(), before);
        make(Variant::Nft, &["-t mangle -N KUBE-IPTABLES-HINT", "-A FORWARD -j RETURN"]);
        let found = detect().expect("iptables");
        assert_eq!((found.variant, found.both), (Variant::Nft, true), "{found:?}");
    });
    isolated(|| {
        make(Variant::Nft, &["-A FORWARD -j ACCEPT", "-A FORWARD -j ACCEPT"]);
        make(Variant::Legacy, &["-t mangle -N KUBE-KUBELET-CANARY"]);
        assert_eq!(detect().expect("iptables").variant, Variant::Legacy, "kubelet decides");
    });
}
