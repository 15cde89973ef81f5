//! Golden files. `UPDATE_GOLDEN=1` rewrites them; read the difference before you commit it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use brindle_compiler::Compiler;

/// What every node enforces, as text.
///
/// # Errors
/// A dump that YAML cannot express; none is known.
pub fn ruleset(nodes: &[(String, &Compiler)]) -> Result<String> {
    let mut text = String::new();
    for (node, compiler) in nodes {
        let dump = serde_saphyr::to_string(&compiler.dump())?;
        text += &format!("{}# node {node}\n{dump}", if text.is_empty() { "" } else { "---\n" });
    }
    Ok(text)
}

/// What every node loads into nftables, as text.
pub fn nft(nodes: &[(String, &Compiler)]) -> String {
    let program = |(node, compiler): &(String, &Compiler)| {
        format!("# node {node}\n{}", brindle_dataplane_nftables::lower(compiler.ruleset()))
    };
    nodes.iter().map(program).collect::<Vec<_>>().join("\n")
}

/// What every node loads by `iptables-restore` and `ipset`, as text.
pub fn iptables(nodes: &[(String, &Compiler)]) -> String {
    let script = |(node, compiler): &(String, &Compiler)| {
        format!("# node {node}\n{}", brindle_dataplane_iptables::lower(compiler.ruleset()))
    };
    nodes.iter().map(script).collect::<Vec<_>>().join("\n")
}

/// Compares a text with a golden file, or rewrites the file if `UPDATE_GOLDEN` is 1.
///
/// # Errors
/// They differ (the first line that does is named), or the file cannot be read or written.
pub fn check(path: &Path, text: &str) -> Result<()> {
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        return fs::write(path, text).with_context(|| format!("writing {path:?}"));
    }
    let golden = fs::read_to_string(path)
        .with_context(|| format!("reading {path:?}; UPDATE_GOLDEN=1 writes it"))?;
    if golden == text {
        return Ok(());
    }
    let (golden, text): (Vec<_>, Vec<_>) = (golden.lines().collect(), text.lines().collect());
    let same = golden.iter().zip(&text).take_while(|(a, b)| a == b).count();
    let line =
        |lines: &[&str]| lines.get(same).map_or("end of file".to_owned(), |l| (*l).to_owned());
    bail!(
        "{} differs at line {}:\n  golden {}\n  now    {}\nUPDATE_GOLDEN=1 rewrites it",
        path.display(),
        same + 1,
        line(&golden),
        line(&text),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_and_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("golden");
        fs::write(&path, "a\nb\nc\n").expect("it is written");
        check(&path, "a\nb\nc\n").expect("equal texts agree");
        for (text, line) in
            [("a\nx\nc\n", "line 2"), ("a\nb\n", "line 3"), ("a\nb\nc\nd\n", "line 4")]
        {
            let error = check(&path, text).expect_err(text).to_string();
            assert!(error.contains(line), "{error}");
        }
        assert!(check(&directory.path().join("none"), "").is_err());
    }
}
