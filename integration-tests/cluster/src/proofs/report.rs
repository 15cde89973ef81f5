//! What proofs came to: rows, kept as JSON until they become a report.

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::Proof;
use crate::lifecycle::Shape;
use crate::versions;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Of what.
    pub what: String,
    /// What must be; empty if it is only told.
    pub must: String,
    /// What is.
    pub measured: String,
    /// Whether that is as it must be; none if nothing must be.
    pub holds: Option<bool>,
}

impl Row {
    /// A finding that must be so.
    pub fn verdict(what: impl Into<String>, must: &str, measured: String, holds: bool) -> Self {
        Self { what: what.into(), must: must.to_owned(), measured, holds: Some(holds) }
    }

    /// A finding that is told.
    pub fn told(what: impl Into<String>, measured: String) -> Self {
        Self { what: what.into(), must: String::new(), measured, holds: None }
    }

    fn mark(&self) -> &'static str {
        match self.holds {
            Some(true) => "holds",
            Some(false) => "**missed**",
            None => "",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, must, measured, .. } = self;
        write!(f, "{what}: {measured}")?;
        if must.is_empty() { Ok(()) } else { write!(f, " (must be {must}) {}", self.mark()) }
    }
}

/// Keeps the rows of a proof in `logs`.
///
/// # Errors
/// They cannot be written.
pub fn keep(logs: &Path, proof: Proof, rows: &[Row], took: Duration) -> Result<()> {
    let rows: Vec<_> =
        rows.iter().map(|row| json!([row.what, row.must, row.measured, row.holds])).collect();
    let kept = json!({"rows": rows, "seconds": took.as_secs(), "commit": said("git", COMMIT)});
    let path = file(logs, proof);
    fs::write(&path, kept.to_string()).with_context(|| format!("write {}", path.display()))
}

const COMMIT: &[&str] = &["rev-parse", "--short", "HEAD"];

fn file(logs: &Path, proof: Proof) -> std::path::PathBuf {
    logs.join(format!("{proof:?}.json"))
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
}

/// The report over what is kept in `logs`.
///
/// # Errors
/// What is kept cannot be read.
pub fn markdown(shape: Shape, logs: &Path) -> Result<String> {
    let facts = [
        ("Date", said("date", &["-u", "+%F"])),
        ("Enforcement", format!("{}, {}", shape.network, shape.backend)),
        ("Kubernetes", versions::kubernetes().to_owned()),
        ("Nodes", shape.nodes.to_string()),
        ("Families", shape.families.to_string()),
        ("kube-proxy", shape.proxy_mode.to_string()),
        ("Runtime", said("containerd", &["--version"])),
        ("Kernel", said("uname", &["-r"])),
        ("Processors", said("nproc", &[])),
    ];
    let mut text = "# Proofs on a real cluster\n\n| | |\n|---|---|\n".to_owned();
    // Writing into a string does not fail.
    for (key, value) in facts {
        let _ = writeln!(text, "| {key} | {value} |");
    }
    text.push_str(
        "\nWritten by `make proofs`. Nodes, control plane and probers share the processors, so times \
         are upper bounds.\n",
    );
    for proof in Proof::value_variants() {
        let Ok(kept) = fs::read_to_string(file(logs, *proof)) else { continue };
        let kept: Value = serde_json::from_str(&kept)?;
        let (seconds, commit) = (&kept["seconds"], kept["commit"].as_str().unwrap_or_default());
        let _ = writeln!(text, "\n## {proof}\n\n{seconds} s at {commit}.\n");
        text.push_str("| What | Must be | Measured | |\n|---|---|---|---|\n");
        for row in kept["rows"].as_array().into_iter().flatten() {
            let word = |index: usize| row[index].as_str().unwrap_or_default().to_owned();
            let row =
                Row { what: word(0), must: word(1), measured: word(2), holds: row[3].as_bool() };
            let Row { what, must, measured, .. } = &row;
            let _ = writeln!(text, "| {what} | {must} | {measured} | {} |", row.mark());
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_what_was_kept_and_marks_what_is_missed() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            shape: Shape,
        }
        let logs = tempfile::tempdir().unwrap();
        let rows = [
            Row::verdict("lost", "0", "0 of 7".to_owned(), true),
            Row::verdict("let through", "0", "3".to_owned(), false),
            Row::told("back after", "2 s".to_owned()),
        ];
        keep(logs.path(), Proof::Chaos, &rows, Duration::from_secs(5)).unwrap();
        let text = markdown(Line::parse_from(["x"]).shape, logs.path()).unwrap();
        for line in [
            "## chaos",
            "| lost | 0 | 0 of 7 | holds |",
            "| let through | 0 | 3 | **missed** |",
            "| back after |  | 2 s |  |",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        assert!(super::super::judge(&rows).is_err());
        assert!(super::super::judge(&rows[..1]).is_ok());
        assert!(!text.contains("## uninstall"));
    }
}
