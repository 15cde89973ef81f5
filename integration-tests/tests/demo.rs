//! The demo checks itself; this checks that it runs, and that it removes everything it made.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use brindle_lab::agent::binary;

const NAME: &str = "brd-demo-test";

#[test]
fn the_demo_runs_and_leaves_nothing() -> Result<()> {
    let lab = |arguments: &[&str]| {
        Command::new(binary("brindle-lab")).args(["--name", NAME]).args(arguments).output()
    };
    let kept = lab(&["demo", "--keep"])?;
    let text = String::from_utf8_lossy(&kept.stdout).into_owned();
    ensure!(kept.status.success(), "{text}{}", String::from_utf8_lossy(&kept.stderr));
    ensure!(text.contains("Look around") && !left()?.is_empty(), "it did not stay:\n{text}");
    ensure!(lab(&["clean"])?.status.success(), "the kept lab was not removed");
    ensure!(left()?.is_empty(), "a kept lab leaves {:?}", left()?);

    let shown = lab(&["demo"])?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.status.success(), "{text}{}", String::from_utf8_lossy(&shown.stderr));
    ensure!(left()?.is_empty(), "the demo leaves {:?}", left()?);
    Ok(())
}

/// Namespaces, folders and processes of the lab.
fn left() -> Result<Vec<String>> {
    let mut left = Vec::new();
    for folder in ["/run/netns", "/run"] {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(NAME) {
                left.push(name);
            }
        }
    }
    for process in fs::read_dir("/proc")? {
        let line = fs::read(process?.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&Path::new("/run").join(NAME).display().to_string()) {
            left.push(line);
        }
    }
    Ok(left)
}
