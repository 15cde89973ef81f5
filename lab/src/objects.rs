//! The YAML that the lab writes: plain Kubernetes objects and our own kinds.

use std::fmt::Write;

use crate::bird::TOR_AS;
use crate::fabric::Fabric;

/// Where pod addresses come from.
pub const POOL_V4: &str = "10.65.0.0/16";
/// The same for IPv6.
pub const POOL_V6: &str = "fd65::/112";

/// Nodes, pools and BGP objects of a fabric.
pub fn cluster(fabric: &Fabric) -> String {
    let mut text = format!(
        "apiVersion: brindle.io/v1alpha1\nkind: IPPool\nmetadata: {{name: pods-v4}}\n\
         spec: {{cidr: {POOL_V4}}}\n---\n\
         apiVersion: brindle.io/v1alpha1\nkind: IPPool\nmetadata: {{name: pods-v6}}\n\
         spec: {{cidr: \"{POOL_V6}\"}}\n---\n\
         apiVersion: brindle.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
         spec: {{nodeToNodeMeshEnabled: false}}\n"
    );
    for (i, node) in (1..).zip(&fabric.nodes) {
        write!(
            text,
            "---\napiVersion: v1\nkind: Node\n\
             metadata: {{name: {name}, labels: {{rack: r1}}}}\n\
             status:\n  addresses:\n  - {{type: InternalIP, address: {v4}}}\n  \
             - {{type: InternalIP, address: \"{v6}\"}}\n---\n\
             apiVersion: brindle.io/v1alpha1\nkind: BGPConfiguration\n\
             metadata: {{name: node.{name}}}\nspec: {{asNumber: {asn}}}\n---\n\
             apiVersion: brindle.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: tor-{name}}}\n\
             spec: {{node: {name}, peerIP: 10.1.{i}.1, asNumber: {TOR_AS}}}\n",
            name = node.name,
            v4 = node.v4,
            v6 = node.v6,
            asn = node.asn,
        )
        .expect("writing to a String cannot fail");
    }
    text
}

/// A namespace with one label `team`.
pub fn namespace(name: &str, team: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{team: {team}}}}}\n"
    )
}

/// A running pod with one label `role`, and its addresses once it has them.
pub fn pod(
    namespace: &str,
    name: &str,
    role: &str,
    node: &str,
    addresses: &[std::net::IpAddr],
) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\n\
         metadata: {{name: {name}, namespace: {namespace}, labels: {{role: {role}}}}}\n\
         spec:\n  nodeName: {node}\n  containers:\n  - {{name: main, image: none}}\n"
    );
    if !addresses.is_empty() {
        text += "status:\n  phase: Running\n  podIPs:\n";
        for address in addresses {
            writeln!(text, "  - {{ip: \"{address}\"}}").expect("writing to a String cannot fail");
        }
    }
    text
}
