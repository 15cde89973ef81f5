//! What a CNI may leave on a node, as lines that can be compared.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::node;

/// Commands that list what the kernel has, and what each line is.
const LISTINGS: [(&str, &[&str]); 9] = [
    ("route", &["ip", "-4", "route", "show", "table", "all"]),
    ("route", &["ip", "-6", "route", "show", "table", "all"]),
    ("rule", &["ip", "-4", "rule"]),
    ("rule", &["ip", "-6", "rule"]),
    ("permanent neighbour", &["ip", "neigh", "show", "nud", "permanent"]),
    ("proxied neighbour", &["ip", "neigh", "show", "proxy"]),
    ("table", &["nft", "list", "tables"]),
    ("ipset", &["ipset", "list", "-n"]),
    ("queueing", &["tc", "qdisc", "show"]),
];
/// Where a snapshot is kept, in the node's folder.
const FILE: &str = "before-brindle";
/// Whose rules iptables' legacy variant holds; asking `iptables-legacy-save` would make tables.
const LEGACY: [&str; 2] = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];
/// Folders of which every file counts, and a folder itself if it is ours.
const FOLDERS: [&str; 5] =
    ["/etc/cni/net.d", "/opt/cni/bin", "/var/lib/brindle", "/run/brindle", "/sys/fs/bpf"];

/// A node at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Looks at node `index`.
    ///
    /// # Errors
    /// A listing fails.
    pub fn take(index: usize) -> Result<Self> {
        let mut lines = BTreeSet::new();
        for link in listed(index, &["ip", "-o", "link"])? {
            // Number, name, and the peer's; flags come and go.
            let name = link.split(": ").nth(1).unwrap_or_default();
            lines.insert(format!("link {}", name.split('@').next().unwrap_or_default()));
        }
        for (what, command) in LISTINGS {
            for line in listed(index, command)? {
                lines.insert(format!("{what} {}", without_time(&line)));
            }
        }
        let first = node::enter(index, "cat")?;
        lines.extend(legacy(first)?);
        for folder in FOLDERS {
            let mut find = node::enter(index, "find")?;
            // One that is not there has nothing in it.
            let output = find.arg(folder).stdin(Stdio::null()).output().context("start find")?;
            let found = String::from_utf8_lossy(&output.stdout);
            lines.extend(found.lines().map(|path| format!("file {path}")));
        }
        Ok(Self(lines))
    }

    /// Keeps it in the node's folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        let lines: Vec<_> = self.0.iter().map(String::as_str).collect();
        fs::write(folder.join(FILE), lines.join("\n")).context("keep how a node was")
    }

    /// What was kept.
    ///
    /// # Errors
    /// The cluster came up without proofs to come.
    pub fn kept(folder: &Path) -> Result<Self> {
        let text = fs::read_to_string(folder.join(FILE)).context(
            "how the nodes were before is known only of a cluster that came up for proofs",
        )?;
        Ok(Self(text.lines().map(str::to_owned).collect()))
    }

    /// Whether this line is in it.
    pub fn has(&self, line: &str) -> bool {
        self.0.contains(line)
    }

    /// What is here and was not there.
    pub fn beyond(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

fn listed(index: usize, command: &[&str]) -> Result<Vec<String>> {
    let (program, arguments) = command.split_first().context("a command has a name")?;
    let mut command = node::enter(index, program)?;
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

/// A kernel without that variant has no such file.
fn legacy(mut cat: Command) -> Result<Vec<String>> {
    let output = cat.args(LEGACY).stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(|table| format!("legacy table {table}")).collect())
}

/// A route that expires says when.
fn without_time(line: &str) -> String {
    let mut words = Vec::new();
    let mut all = line.split_whitespace();
    while let Some(word) = all.next() {
        if word == "expires" {
            all.next();
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_shows_and_when_a_route_expires_does_not() {
        let of = |lines: &[&str]| Snapshot(lines.iter().map(|l| (*l).to_owned()).collect());
        let before = of(&["link lo", "link eth0"]);
        assert_eq!(of(&["link lo", "link brd1"]).beyond(&before), ["link brd1"]);
        let folder = tempfile::tempdir().unwrap();
        assert!(Snapshot::kept(folder.path()).is_err());
        before.keep(folder.path()).unwrap();
        assert_eq!(Snapshot::kept(folder.path()).unwrap(), before);
        assert_eq!(
            without_time("fe80::/64 dev eth0 expires 12sec pref medium"),
            "fe80::/64 dev eth0 pref medium"
        );
    }
}
