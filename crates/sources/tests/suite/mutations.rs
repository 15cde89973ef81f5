//! Any text at all is decoded, or refused, without a panic and in bounded time.

use std::time::{Duration, Instant};

use proptest::prelude::*;

const OBJECTS: &str = r#"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {role: web}, matchExpressions: [{key: a, operator: In, values: [b, c]}]}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {team: a}}
      podSelector: {}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    ports: [{port: 80, endPort: 90}, {port: http, protocol: UDP}]
  egress: [{to: [{ipBlock: {cidr: "fd00::/8"}}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: &labels {role: web}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}
status: {phase: Running, podIPs: [{ip: 10.1.0.1}, {ip: "fd01::1"}]}
---
apiVersion: brindle.io/v1alpha1
kind: IPPool
metadata: {name: p}
spec: {cidr: 10.0.0.0/16, blockSize: 26}
---
apiVersion: brindle.io/v1alpha1
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: 10.0.0.1, asNumber: 64600, nodeSelector: {matchLabels: {rack: r1}}}
---
apiVersion: brindle.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec: {asNumber: 64512, restartTime: 120s, holdTime: 90s}
---
apiVersion: brindle.io/v1alpha1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  tier: security
  order: 10.5
  selector: "role == 'web' && !(has(x) || y in {'a', \"b\"})"
  types: [Ingress, Egress]
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: has(a), namespaceSelector: global()}, destination: {ports: [80, "90:99", http]}}
  - {action: Log, protocol: ICMP, icmp: {type: 8, code: 0}, source: {notNets: [10.0.0.0/8]}}
  egress:
  - {action: Pass, destination: {services: {name: db}}}
  - {action: Deny, destination: {serviceAccounts: {names: [a], selector: all()}, notSelector: "x contains 's'"}}
---
apiVersion: brindle.io/v1alpha1
kind: StagedGlobalNetworkPolicy
metadata: {name: all}
spec: {stagedAction: Set, namespaceSelector: all(), ingress: [{action: Deny}]}
---
apiVersion: brindle.io/v1alpha1
kind: Tier
metadata: {name: security}
spec: {order: 100, defaultAction: Pass}
---
apiVersion: brindle.io/v1alpha1
kind: GlobalNetworkSet
metadata: {name: bad, labels: {list: bad}}
spec: {nets: [192.0.2.0/24, "fd00::1"]}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: admin}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}}
  ingress: [{action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 1, end: 9}}}}, {destinationNamedPort: http}]}]
  egress: [{action: Deny, to: [{networks: [10.0.0.0/8]}, {nodes: {}}]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1], conditions: {ready: false}}]
ports: [{port: 5432, protocol: TCP}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, labels: {team: a}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIPs: [10.96.0.1, "fd96::1"], externalIPs: [192.0.2.1], externalTrafficPolicy: Local}
status: {loadBalancer: {ingress: [{ip: 203.0.113.1, ipMode: VIP}]}}
"#;

/// What is put into the text: YAML's own marks, and values at the edge of a type.
const INSERTS: &[&str] = &[
    "-",
    ":",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "*labels",
    "!!binary ",
    "|",
    ">",
    "\"",
    "'",
    "\\",
    "#",
    "---\n",
    "\n",
    "\t",
    "~",
    "null",
    "true",
    "-1",
    "65536",
    "99999999999999999999",
    "0x10",
    "1e999",
    ".nan",
    "/",
    "::",
    "0/0",
    "\0",
    "\u{feff}",
    "é",
    "? ",
    "<<: ",
    "%YAML 1.2\n",
    "...\n",
];

#[derive(Clone, Debug)]
enum Edit {
    Insert(usize, usize),
    Delete(usize, usize),
    Copy(usize, usize, usize),
    Byte(usize, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0..OBJECTS.len();
    prop_oneof![
        (at.clone(), 0..INSERTS.len()).prop_map(|(at, what)| Edit::Insert(at, what)),
        (at.clone(), 1..40_usize).prop_map(|(at, n)| Edit::Delete(at, n)),
        (at.clone(), 1..80_usize, at.clone()).prop_map(|(from, n, to)| Edit::Copy(from, n, to)),
        (at, any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
    ]
}

fn apply(edits: &[Edit]) -> Vec<u8> {
    let mut text = OBJECTS.as_bytes().to_vec();
    for edit in edits {
        let clip = |at: usize| at.min(text.len());
        match *edit {
            Edit::Insert(at, what) => {
                let at = clip(at);
                text.splice(at..at, INSERTS[what].bytes());
            }
            Edit::Delete(at, n) => drop(text.drain(clip(at)..clip(at + n))),
            Edit::Copy(from, n, to) => {
                let (piece, to) = (text[clip(from)..clip(from + n)].to_vec(), clip(to));
                text.splice(to..to, piece);
            }
            Edit::Byte(at, byte) => {
                if let Some(there) = text.get_mut(at) {
                    *there = byte;
                }
            }
        }
    }
    text
}

fn decode(bytes: &[u8]) -> Duration {
    let begin = Instant::now();
    brindle_sources::decode_stream(bytes);
    begin.elapsed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn edited_objects(edits in prop::collection::vec(edit(), 1..12)) {
        let took = decode(&apply(&edits));
        prop_assert!(took < Duration::from_secs(3), "{took:?}");
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&bytes) < Duration::from_secs(3));
    }
}

#[test]
fn the_text_without_edits_is_objects_without_fault() {
    let decoded = brindle_sources::decode_stream(OBJECTS.as_bytes());
    assert_eq!(decoded.len(), 13);
    for (key, conversion) in decoded {
        assert!(
            conversion.input.is_some() && conversion.problems.is_empty(),
            "{key}: {conversion:?}"
        );
    }
}

#[test]
fn large_hostile_texts() {
    let policy = |ingress: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {{ingress: [{ingress}]}}\n"
        )
    };
    let tiered = |spec: &str| {
        format!(
            "apiVersion: brindle.io/v1alpha1\nkind: GlobalNetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
        )
    };
    let bad_ports = "{port: 0}, ".repeat(50_000);
    for text in [
        "---\n".repeat(500_000),
        "a: b\n---\n".repeat(100_000),
        policy(&"{x: {}}, ".repeat(50_000)),
        policy(&format!("{{ports: [{bad_ports}]}}")),
        policy(&"[".repeat(1_000_000)),
        tiered(&format!("{{selector: '{}'}}", "(".repeat(1_000_000))),
        tiered(&format!("{{selector: '{}'}}", "!(a && ".repeat(100_000))),
        tiered(&format!("{{ingress: [{}]}}", "{action: Deny, x: y}, ".repeat(50_000))),
        tiered(&format!("{{ingress: [{}]}}", "{action: Deny, http: {}}, ".repeat(1_000))),
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {}}}", "a".repeat(10_000_000)),
        "\"".repeat(1_000_001),
        "? ".repeat(1_000_000),
        "- ".repeat(1_000_000),
        "&a ".repeat(1_000_000),
        "a: |\n".repeat(300_000),
        " ".repeat(5_000_000) + "x",
        "#".repeat(5_000_000),
    ] {
        let took = decode(text.as_bytes());
        assert!(took < Duration::from_secs(10), "{took:?} for {:?}", &text[..20]);
    }
}
