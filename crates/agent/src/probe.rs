//! What this kernel offers: read, or tried in a namespace of its own; nothing of the node's is
//! touched.

use std::fmt;

use brindle_dataplane_core::Backend;
use brindle_dataplane_core::conntrack;
use brindle_dataplane_core::netlink::Connection;
use brindle_dataplane_core::netns::Namespace;
use brindle_dataplane_core::sysctl;

use crate::backend::AnyBackend;

/// One thing that the agent needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// What the kernel answered, or why it did not.
    pub result: Result<String, String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(answer) => write!(f, "ok       {}: {answer}", self.what),
            Err(reason) => write!(f, "MISSING  {}: {reason}", self.what),
        }
    }
}

/// Asks for everything.
pub fn probe() -> Vec<Finding> {
    vec![
        finding("kernel", sysctl_kernel()),
        finding("network namespaces", Namespace::create().map(|_| "can be made".to_owned())),
        finding("route netlink", Connection::open().map(|_| "answers".to_owned())),
        finding("dataplane", backend()),
        finding("marks of connections", marks()),
        finding("IPv4 forwarding", forwarding("ipv4/ip_forward")),
        finding("IPv6 forwarding", forwarding("ipv6/conf/all/forwarding")),
    ]
}

/// Whether the agent can work.
pub fn suffices(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.result.is_ok())
}

fn finding<E: Into<anyhow::Error>>(what: &'static str, result: Result<String, E>) -> Finding {
    Finding { what, result: result.map_err(|error| format!("{:#}", error.into())) }
}

fn sysctl_kernel() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

/// Commits an empty ruleset, which makes table, chains and maps, in a namespace that is then gone.
fn backend() -> anyhow::Result<String> {
    Namespace::create()?.run(|| {
        let mut backend = AnyBackend::open()?;
        backend.resync()?;
        backend.stop_revoked(true);
        let writes = backend.commit()?.writes;
        Ok(format!("{}, {writes} objects written and thrown away", backend.name()))
    })?
}

fn marks() -> anyhow::Result<String> {
    Namespace::create()?.run(|| {
        conntrack::probe()?;
        Ok("can be set".to_owned())
    })?
}

fn forwarding(key: &str) -> anyhow::Result<String> {
    Ok(match sysctl::get(key)?.as_str() {
        "1" => "on".to_owned(),
        _ => "off; the agent turns it on".to_owned(),
    })
}
