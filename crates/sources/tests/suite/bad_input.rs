//! Objects that are refused, each with the words that say why.

use brindle_sources::document::{Content, parse};

use super::convert;

/// An object of ours that has no effect, and why.
fn refused(kind: &str, name: &str, spec: &str) -> Vec<String> {
    let yaml = format!(
        "apiVersion: brindle.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}"
    );
    match convert(&yaml) {
        (None, problems) => problems,
        other => panic!("{other:?} of {yaml}"),
    }
}

#[test]
fn pools() {
    for (spec, problem) in [
        ("{cidr: 10.0.0.1/16}", "spec.cidr: 10.0.0.1/16 has host bits; write 10.0.0.0/16"),
        ("{cidr: ten}", "spec.cidr: `ten` is not a CIDR such as 10.244.0.0/16"),
        ("{cidr: 224.0.0.0/8}", "spec.cidr: 224.0.0.0/8 is not a range of unicast addresses"),
        ("{cidr: 10.0.0.0/27}", "spec.blockSize: a /26 block does not fit into 10.0.0.0/27"),
        (
            "{cidr: 10.0.0.0/8, blockSize: 19}",
            "spec.blockSize: 19 is not a block size: 20 to 32 are",
        ),
        (
            "{cidr: 'fd00::/64', blockSize: 26}",
            "spec.blockSize: 26 is not a block size: 116 to 128 are",
        ),
        (
            "{cidr: 10.0.0.0/8, blockSize: large}",
            "spec.blockSize: invalid type: string \"large\", expected i32",
        ),
        ("{blockSize: 26}", "spec: missing field `cidr`"),
        (
            "{cidr: 10.0.0.0/8, ipipMode: Always}",
            "spec.ipipMode: unknown field `ipipMode`, expected one of `cidr`, `blockSize`, `disabled`",
        ),
    ] {
        assert_eq!(refused("IPPool", "p", spec), [problem], "{spec}");
    }
}

#[test]
fn bgp_peers() {
    for (spec, problem) in [
        ("{peerIP: tor, asNumber: 1}", "spec.peerIP: `tor` is not the address of a neighbour"),
        ("{peerIP: '::', asNumber: 1}", "spec.peerIP: `::` is not the address of a neighbour"),
        ("{peerIP: 10.0.0.1, asNumber: 0}", "spec.asNumber: 0 cannot be the number of an AS"),
        (
            "{peerIP: 10.0.0.1, asNumber: 23456}",
            "spec.asNumber: 23456 cannot be the number of an AS",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 4294967296}",
            "spec.asNumber: 4294967296 cannot be the number of an AS",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, peerPort: 70000}",
            "spec.peerPort: 70000 is not a port: 1 to 65535 are",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, ttlSecurity: 255}",
            "spec.ttlSecurity: 255 is not a number of hops: 1 to 254 are",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, ebgpMultihop: 0}",
            "spec.ebgpMultihop: 0 is not a number of hops: 1 to 255 are",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, ttlSecurity: 1, ebgpMultihop: 2}",
            "spec.ttlSecurity: ttlSecurity and ebgpMultihop exclude each other",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, bfd: {multiplier: 1}}",
            "spec.bfd.multiplier: 1 is not between 2 and 255",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, bfd: {minTxMilliseconds: 9}}",
            "spec.bfd.minTxMilliseconds: 9 is not between 10 and 60000",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, maxPrefixes: {}}",
            "spec.maxPrefixes: limits neither v4 nor v6",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, maxPrefixes: {v4: 0}}",
            "spec.maxPrefixes.v4: 0 is not a limit: 1 to 4294967295 are",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, maxPrefixes: {v6: 1, warnPercent: 101}}",
            "spec.maxPrefixes.warnPercent: 101 is not between 1 and 100",
        ),
        ("{asNumber: 1}", "spec.peerIP: is missing; a neighbour has it or peerRange"),
        (
            "{peerIP: 10.0.0.1, peerRange: 10.0.0.0/24, asNumber: 1}",
            "spec.peerRange: peerIP and peerRange exclude each other",
        ),
        ("{peerIP: 10.0.0.1, maxPeers: 5, asNumber: 1}", "spec.maxPeers: needs peerRange"),
        (
            "{peerRange: 10.0.0.0, asNumber: 1}",
            "spec.peerRange: `10.0.0.0` is not a CIDR such as 10.0.0.0/8 or fd00::/8",
        ),
        (
            "{peerRange: '::/0', asNumber: 1}",
            "spec.peerRange: ::/0 is not a range of unicast addresses",
        ),
        (
            "{peerRange: 10.0.0.0/24, maxPeers: 0, asNumber: 1}",
            "spec.maxPeers: 0 is not a number of neighbours: 1 to 65535 are",
        ),
        (
            "{peerRange: 10.0.0.0/24, peerPort: 179, asNumber: 1}",
            "spec.peerPort: is where to connect to, and nobody connects to neighbours of a peerRange",
        ),
        ("{peerIP: 10.0.0.1, asNumber: 1, requireRole: true}", "spec.requireRole: needs localRole"),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, localRole: Peer, routeReflectorClient: true}",
            "spec.localRole: is for external neighbours, routeReflectorClient for internal ones",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, password: {file: tor}}",
            "spec.password.file: `tor` is not an absolute path",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, password: {secretKeyRef: {name: a, key: 'b c'}}}",
            "spec.password.secretKeyRef.key: `b c` is not a key of a Secret",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, password: {secretKeyRef: {name: A, key: b}}}",
            "spec.password.secretKeyRef.name: `A` is not the name of a Secret",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, password: {}}",
            "spec.password: names neither file nor secretKeyRef",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, password: {file: /a, secretKeyRef: {name: a, key: b}}}",
            "spec.password: file and secretKeyRef exclude each other",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, node: n, nodeSelector: {}}",
            "spec.node: node and nodeSelector exclude each other",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, node: 'a b'}",
            "spec.node: `a b` is not a valid node name",
        ),
        (
            "{peerIP: 10.0.0.1, asNumber: 1, nodeSelector: {matchExpressions: [{key: a, operator: Has}]}}",
            "spec.nodeSelector.matchExpressions[0].operator: `Has` is not one of In, NotIn, Exists, DoesNotExist",
        ),
    ] {
        assert_eq!(refused("BGPPeer", "tor", spec), [problem], "{spec}");
    }
}

/// One broken rule, and the filter is absent: who names it is closed.
#[test]
fn bgp_filters() {
    for (rule, problem) in [
        ("{action: Drop}", "spec.exportV4[0].action: `Drop` is not one of Accept, Reject"),
        (
            "{cidr: 10.0.0.0/8, action: Accept}",
            "spec.exportV4[0].cidr: cidr and matchOperator go together",
        ),
        (
            "{cidr: 'fd00::/8', matchOperator: In, action: Accept}",
            "spec.exportV4[0].cidr: fd00::/8 is not of the list's family",
        ),
        (
            "{cidr: 10.0.0.0/8, matchOperator: Within, action: Accept}",
            "spec.exportV4[0].matchOperator: `Within` is not one of Equal, NotEqual, In, NotIn",
        ),
        (
            "{cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {min: 7}, action: Accept}",
            "spec.exportV4[0].prefixLength: 7 to 32 is not a range within 8 to 32",
        ),
        (
            "{cidr: 10.0.0.0/8, matchOperator: Equal, prefixLength: {min: 9}, action: Accept}",
            "spec.exportV4[0].prefixLength: has a meaning only with In and NotIn",
        ),
        (
            "{prefixLength: {min: 9}, action: Accept}",
            "spec.exportV4[0].prefixLength: needs cidr and matchOperator",
        ),
        (
            "{source: Static, action: Accept}",
            "spec.exportV4[0].source: `Static` is not RemotePeers",
        ),
        (
            "{peerType: ebgp, action: Accept}",
            "spec.exportV4[0].peerType: `ebgp` is not one of eBGP, iBGP",
        ),
        (
            "{communities: {values: []}, action: Accept}",
            "spec.exportV4[0].communities.values: names none",
        ),
        (
            "{communities: {values: ['65536:1']}, action: Accept}",
            "spec.exportV4[0].communities.values: `65536:1` is not a community such as 65001:100 or 65001:1:2",
        ),
        (
            "{asPathPrefix: [0], action: Accept}",
            "spec.exportV4[0].asPathPrefix: 0 cannot be the number of an AS",
        ),
        (
            "{asPathLength: {min: 3, max: 2}, action: Accept}",
            "spec.exportV4[0].asPathLength: 3 to 2 is not a range within 0 to 65535",
        ),
        (
            "{action: Reject, operations: [{setMED: {value: 1}}]}",
            "spec.exportV4[0].operations: nothing is changed of what is rejected",
        ),
        (
            "{action: Accept, operations: [{}]}",
            "spec.exportV4[0].operations[0]: asks for 0 changes; each entry is one",
        ),
        (
            "{action: Accept, operations: [{setMED: {value: 1}, setLocalPreference: {value: 1}}]}",
            "spec.exportV4[0].operations[0]: asks for 2 changes; each entry is one",
        ),
        (
            "{action: Accept, operations: [{setMED: {value: -1}}]}",
            "spec.exportV4[0].operations[0].setMED.value: -1 is not between 0 and 4294967295",
        ),
        (
            "{action: Accept, operations: [{setNextHop: {value: 'fd00::1'}}]}",
            "spec.exportV4[0].operations[0].setNextHop.value: `fd00::1` is not a next hop of the list's family",
        ),
        (
            "{action: Accept, interface: eth0}",
            "spec.exportV4[0].interface: unknown field `interface`",
        ),
    ] {
        let found = refused("BGPFilter", "edge", &format!("{{exportV4: [{rule}]}}"));
        assert_eq!(found.len(), 1, "{rule}: {found:?}");
        assert!(found[0].starts_with(problem), "{rule}: {found:?}");
    }
    assert_eq!(
        refused("BGPFilter", "edge", "{importV6: [{source: RemotePeers, action: Accept}]}"),
        ["spec.importV6[0].source: everything that is imported comes from neighbours"]
    );
    assert_eq!(
        refused("BGPPeer", "tor", "{peerIP: 10.0.0.1, asNumber: 1, filters: ['a b']}"),
        ["spec.filters[0]: `a b` is not a valid name"]
    );
}

#[test]
fn bgp_configurations() {
    for (name, spec, problem) in [
        ("other", "{}", "metadata.name: `other` is neither `default` nor `node.<name of a node>`"),
        ("default", "{asNumber: 65535}", "spec.asNumber: 65535 cannot be the number of an AS"),
        (
            "default",
            "{routerID: 192.0.2.1}",
            "spec.routerID: would give every node the same BGP identifier; set it in `node.<name>`",
        ),
        (
            "node.n1",
            "{routerID: 0.0.0.0}",
            "spec.routerID: `0.0.0.0` is not a BGP identifier such as 192.0.2.1",
        ),
        (
            "default",
            "{drain: Slowly}",
            "spec.drain: `Slowly` is not one of None, GracefulShutdown, Withdraw",
        ),
        ("default", "{listenPort: 0}", "spec.listenPort: 0 is not a port: 1 to 65535 are"),
        ("default", "{restartTime: 4096s}", "spec.restartTime: 4096s is more than 4095s"),
        (
            "default",
            "{longLivedStaleTime: 16777216s}",
            "spec.longLivedStaleTime: 16777216s is more than 16777215s",
        ),
        ("default", "{holdTime: 2s}", "spec.holdTime: 2s is neither 0s nor 3s to 65535s"),
        (
            "default",
            "{holdTime: 90}",
            "spec.holdTime: invalid type: integer `90`, expected a string",
        ),
        (
            "default",
            "{holdTime: 1.5s}",
            "spec.holdTime: `1.5s` is not a duration in whole seconds such as 90s, 2m or 1h30m",
        ),
    ] {
        assert_eq!(refused("BGPConfiguration", name, spec), [problem], "{spec}");
    }
}

#[test]
fn labels_that_an_api_server_would_not_store() {
    for (labels, problem) in [
        ("{'a b': c}", "metadata.labels: `a b` is not a valid label key"),
        ("{a: '-'}", "metadata.labels.a: `-` is not a valid label value"),
        ("{a: 1}", "metadata.labels.a: invalid type: integer `1`, expected a string"),
    ] {
        let read = |kind: &str| {
            convert(&format!(
                "apiVersion: v1\nkind: {kind}\nmetadata: {{name: x, labels: {labels}}}"
            ))
        };
        for kind in ["Namespace", "Pod"] {
            assert_eq!(read(kind), (None, vec![problem.to_owned()]), "{kind} {labels}");
        }
        // What a Deny may be about, and is not closed when it is gone, keeps labels that are texts.
        for kind in ["Node", "ServiceAccount"] {
            let (input, problems) = read(kind);
            assert_eq!(input.is_some(), labels != "{a: 1}", "{kind} {labels}");
            assert_eq!(problems, [problem], "{kind} {labels}");
        }
    }
}

#[test]
fn documents_without_identity() {
    for (yaml, reason) in [
        ("- a", "not a Kubernetes object: apiVersion is missing"),
        ("apiVersion: v1", "not a Kubernetes object: kind is missing"),
        ("apiVersion: 1\nkind: Pod", "apiVersion is not a string"),
        ("apiVersion: v1\nkind: Pod", "Pod: metadata.name is missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 7}", "Pod: metadata.name is not a string"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: ../../etc}",
            "Pod: metadata.name `../../etc` is not a valid name",
        ),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}",
            "Namespace: metadata.name `a.b` is not a valid name",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: B}",
            "Pod a: metadata.namespace `B` is not a valid name",
        ),
    ] {
        let documents = parse(yaml);
        assert_eq!(documents[0].content, Content::Unreadable(reason.into()), "{yaml}");
    }
}

#[test]
fn one_broken_document_rejects_itself_only() {
    let yaml = "kind: [\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
    let documents = parse(yaml);
    assert!(matches!(documents[0].content, Content::Unreadable(_)));
    assert!(
        matches!(&documents[1].content, Content::Object { key, .. } if key.to_string() == "Pod default/a")
    );
    assert!(
        matches!(&documents[2].content, Content::OtherKind { kind, .. } if kind == "Deployment")
    );
    assert_eq!(
        documents.iter().map(|d| (d.number, d.line)).collect::<Vec<_>>(),
        [(1, 1), (2, 2), (3, 6)]
    );
}
