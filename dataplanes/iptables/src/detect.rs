//! Which variant of iptables a node uses. Everything is read; no table comes into being by the
//! question (`iptables-legacy-save` of a table that is not there would make it, and its hooks).
//!
//! 1. kubelet says so, by a chain in table `mangle` (`KUBE-IPTABLES-HINT`, before Kubernetes 1.24
//!    `KUBE-KUBELET-CANARY`);
//! 2. else the side that holds more rules;
//! 3. else nft, if its programs are there.

mod nf_tables;

use std::fs;
use std::io;

use brindle_model::net::Family;

use crate::config::Variant;
use crate::snapshot::saved_rule;
use crate::tools::{ToolError, Tools};

/// Chains of table `mangle` by which kubelet says where its rules are.
const HINTS: [&str; 2] = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The variant to use.
    pub variant: Variant,
    /// Why.
    pub reason: String,
    /// Whether both variants hold rules: both filter, and a reader of one does not see the other.
    pub both: bool,
}

/// Neither variant's programs are there.
#[derive(Debug, thiserror::Error)]
#[error("no iptables here")]
pub struct DetectError(#[source] ToolError);

/// What one side holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Side {
    rules: usize,
    hint: bool,
}

/// Looks at the network namespace of the calling thread.
///
/// # Errors
/// There is no iptables.
pub fn detect() -> Result<Detected, DetectError> {
    let nft_tools = Tools::find(Variant::Nft);
    let legacy_tools = Tools::find(Variant::Legacy);
    let nft = nf_tables::side();
    let legacy = legacy(legacy_tools.as_ref().ok());
    let found = judge(nft, legacy);
    match (found.variant, nft_tools, legacy_tools) {
        (Variant::Nft, Ok(_), _) | (Variant::Legacy, _, Ok(_)) => Ok(found),
        (Variant::Nft, Err(_), Ok(_)) => Ok(other(found, Variant::Legacy)),
        (Variant::Legacy, Ok(_), Err(_)) => Ok(other(found, Variant::Nft)),
        (_, Err(error), Err(_)) => Err(DetectError(error)),
    }
}

fn other(found: Detected, variant: Variant) -> Detected {
    let reason = format!("{}, but there is no program for that", found.reason);
    Detected { variant, reason, ..found }
}

/// `None` is a side that the kernel does not have.
fn judge(nft: Option<Side>, legacy: Option<Side>) -> Detected {
    let held = |side: Option<Side>| side.unwrap_or_default();
    let both = held(nft).rules > 0 && held(legacy).rules > 0;
    let because = |variant, reason: &str| Detected { variant, reason: reason.to_owned(), both };
    match (nft, legacy) {
        (Some(Side { hint: true, .. }), _) => {
            because(Variant::Nft, "kubelet's rules are in nf_tables")
        }
        (_, Some(Side { hint: true, .. })) => {
            because(Variant::Legacy, "kubelet's rules are in ip_tables")
        }
        (None, _) => because(Variant::Legacy, "the kernel has no nf_tables"),
        (Some(nft), Some(legacy)) if legacy.rules > nft.rules => {
            let (legacy, nft) = (legacy.rules, nft.rules);
            because(Variant::Legacy, &format!("ip_tables holds {legacy} rules, nf_tables {nft}"))
        }
        (Some(Side { rules: 0, .. }), _) => because(Variant::Nft, "no side holds rules"),
        (Some(nft), legacy) => {
            let (nft, legacy) = (nft.rules, held(legacy).rules);
            because(Variant::Nft, &format!("nf_tables holds {nft} rules, ip_tables {legacy}"))
        }
    }
}

/// The tables of ip_tables that exist. Empty where the kernel has no ip_tables.
pub fn legacy_tables(family: Family) -> Vec<String> {
    let file = match family {
        Family::V4 => "ip_tables_names",
        Family::V6 => "ip6_tables_names",
    };
    names(fs::read_to_string(format!("/proc/thread-self/net/{file}")))
}

fn names(file: io::Result<String>) -> Vec<String> {
    file.map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
}

fn legacy(tools: Option<&Tools>) -> Option<Side> {
    let mut side = None;
    for family in Family::ALL {
        for table in legacy_tables(family) {
            let side = side.get_or_insert_with(Side::default);
            let Some(text) = tools.and_then(|tools| tools.save(family, &table, false).ok()) else {
                continue;
            };
            side.rules += text.lines().filter_map(saved_rule).count();
            let declared = |hint: &str| text.lines().any(|l| l.starts_with(&format!(":{hint} ")));
            side.hint |= table == "mangle" && HINTS.iter().any(|hint| declared(hint));
        }
    }
    side
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelet_decides_then_the_number_of_rules_then_nft() {
        let side = |rules, hint| Some(Side { rules, hint });
        let variant = |nft, legacy| judge(nft, legacy).variant;
        assert_eq!(variant(side(0, false), None), Variant::Nft);
        assert_eq!(variant(None, None), Variant::Legacy);
        assert_eq!(variant(side(1, true), side(9, false)), Variant::Nft);
        assert_eq!(variant(side(9, false), side(1, true)), Variant::Legacy);
        assert_eq!(variant(side(1, false), side(2, false)), Variant::Legacy);
        assert_eq!(variant(side(2, false), side(2, false)), Variant::Nft);
        assert!(judge(side(1, false), side(2, false)).both);
        assert!(!judge(side(1, false), side(0, false)).both);
    }
}
