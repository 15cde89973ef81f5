//! What this kernel offers: read, or tried in a namespace of its own; nothing of the node's is
//! touched.

use std::fmt;

use brindle_dataplane_core::conntrack;
use brindle_dataplane_core::netlink::Connection;
use brindle_dataplane_core::netns::Namespace;
use brindle_dataplane_core::sysctl;
use brindle_dataplane_iptables::Variant;
use brindle_model::settings::Dataplane;

use crate::backend::choice::{self, Kind};
use crate::config::DataplaneOptions;

/// One thing that the agent needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// What the kernel answered, or why it did not.
    pub result: Result<String, String>,
    /// Whether the agent cannot work without it.
    pub needed: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(answer) => write!(f, "ok       {}: {answer}", self.what),
            Err(reason) if self.needed => write!(f, "MISSING  {}: {reason}", self.what),
            Err(reason) => write!(f, "no       {}: {reason}", self.what),
        }
    }
}

/// Asks for everything, each dataplane and what would be chosen of them.
pub fn probe(options: DataplaneOptions) -> Vec<Finding> {
    let mut findings = vec![
        finding("kernel", sysctl_kernel()),
        finding("network namespaces", Namespace::create().map(|_| "can be made".to_owned())),
        finding("route netlink", Connection::open().map(|_| "answers".to_owned())),
        finding("marks of connections", marks()),
        finding("IPv4 forwarding", forwarding("ipv4/ip_forward")),
        finding("IPv6 forwarding", forwarding("ipv6/conf/all/forwarding")),
    ];
    let tried = Kind::ALL.map(|kind| (kind, attempt(kind)));
    findings.extend(tried.iter().map(|(_, finding)| finding.clone()));
    findings.push(finding("dataplane", chosen(options, &tried)));
    findings
}

/// Whether the agent can work.
pub fn suffices(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.result.is_ok() || !finding.needed)
}

fn finding<E: Into<anyhow::Error>>(what: &'static str, result: Result<String, E>) -> Finding {
    Finding { what, result: result.map_err(|error| format!("{:#}", error.into())), needed: true }
}

fn sysctl_kernel() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

fn attempt(kind: Kind) -> Finding {
    let what = match kind {
        Kind::Nftables => "nftables",
        Kind::Iptables(Variant::Nft) => "iptables-nft",
        Kind::Iptables(Variant::Legacy) => "iptables-legacy",
    };
    let works = |writes| format!("works, {writes} objects written and thrown away");
    Finding { needed: false, ..finding(what, choice::attempt(kind).map(works)) }
}

/// What would be chosen, if it works.
fn chosen(options: DataplaneOptions, tried: &[(Kind, Finding)]) -> anyhow::Result<String> {
    let choice = choice::choose(options.dataplane.unwrap_or(Dataplane::Auto))?;
    let trial = tried.iter().find(|(kind, _)| *kind == choice.kind);
    if let Some((_, Finding { result: Err(reason), .. })) = trial {
        anyhow::bail!("{} was chosen ({}), and fails: {reason}", choice.kind, choice.reason);
    }
    let warning = choice.warning.map(|warning| format!("; {warning}")).unwrap_or_default();
    Ok(format!("{}, since {}{warning}", choice.kind, choice.reason))
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
