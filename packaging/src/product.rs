//! Brindle's own image: one static program under the names of agent, operator and brindlectl, the CNI
//! plugin for the node, and nothing else. What the iptables dataplane runs is the node's: its names are
//! links as well, and the agent knows what to do under them.

use std::path::Path;

use anyhow::Result;

use crate::layer::Layer;
use crate::oci::{Image, Start};

/// The name under which manifests ask for the image, without its tag.
pub const REPOSITORY: &str = "brindle.io/brindle";

/// The one program.
const PROGRAM: &str = "brindle";
/// What it is started as.
const NAMES: [&str; 3] = ["brindle-agent", "brindle-operator", "brindlectl"];

/// The programs of iptables in each family and variant; each has the two others of [`ROLES`] beside.
const IPTABLES: [&str; 6] = [
    "iptables",
    "iptables-nft",
    "iptables-legacy",
    "ip6tables",
    "ip6tables-nft",
    "ip6tables-legacy",
];
/// What is behind their names, nothing included.
const ROLES: [&str; 3] = ["", "-restore", "-save"];

/// The name with the version of this build.
pub fn name() -> String {
    format!("{REPOSITORY}:v{}", env!("CARGO_PKG_VERSION"))
}

/// The image of the static programs in `programs`.
///
/// # Errors
/// One is missing.
pub fn image(programs: &Path) -> Result<Image> {
    let mut layer = Layer::default();
    for program in [PROGRAM, "brindle-cni"] {
        layer.program(program, &programs.join(program))?;
    }
    for name in NAMES {
        layer.link(name, &format!("/{PROGRAM}"))?;
    }
    let iptables = IPTABLES.iter().flat_map(|name| ROLES.map(|role| format!("{name}{role}")));
    for name in iptables.chain(["ipset".to_owned()]) {
        layer.link(&format!("usr/sbin/{name}"), &format!("/{PROGRAM}"))?;
    }
    let start = Start { entrypoint: vec!["/brindle-agent".to_owned()], ..Start::default() };
    Image::new(layer, start)
}
