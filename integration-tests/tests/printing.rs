//! Whoever looks at a node does so with the `nft` of his distribution: each release must print our tables
//! without a crash, and read again what it printed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use brindle_dataplane_nftables::lower;
use brindle_integration_tests::apt::{self, Archive, Suites};
use brindle_integration_tests::worlds::compiled::Compiled;
use brindle_integration_tests::worlds::{self, yaml};
use brindle_lab::netns::Netns;

/// Worlds whose tables are printed.
const WORLDS: std::ops::Range<u64> = 0..20;

#[test]
fn by_the_nft_of_bullseye() -> Result<()> {
    prints("bullseye", &[(Archive::Main, "bullseye")], "0.9.8")
}

#[test]
fn by_the_nft_of_bookworm() -> Result<()> {
    prints("bookworm", &[(Archive::Main, "bookworm")], "1.0.6")
}

#[test]
fn by_the_nft_of_trixie() -> Result<()> {
    prints("trixie", &[(Archive::Main, "trixie")], "1.1.3")
}

#[test]
fn by_the_newest_nft() -> Result<()> {
    prints("sid", &[(Archive::Main, "sid")], "")
}

fn prints(name: &str, suites: &Suites, version: &str) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("brindle-nft-").tempdir()?;
    let place = format!("nftables/{name}");
    apt::fetch(&place, suites, "nftables", |_| true)?.unpack(folder.path())?;
    let nft = Nft::within(folder.path())?;
    let netns = Netns::create(&format!("brd-nft-{name}"))?;
    let said = nft.run(&netns, &["--version"], "")?;
    ensure!(said.contains(&format!("v{version}")), "{name} has another nft: {said}");
    let mut lines = 0;
    for seed in WORLDS {
        let world = worlds::generate(seed);
        let compiled = Compiled::of(&yaml::write(&world)?, &world)?;
        for node in compiled.nodes() {
            load(&netns, &lower(node.ruleset()).to_string())?;
            lines += printed(&nft, &netns).with_context(|| format!("world {seed}, {said}"))?;
        }
    }
    println!("{}: {lines} lines of {} worlds", said.trim(), WORLDS.end);
    Ok(())
}

/// Lines of the tables in a namespace, as text that was read again.
fn printed(nft: &Nft, netns: &Netns) -> Result<usize> {
    nft.run(netns, &["-j", "list", "ruleset"], "")?;
    let text = nft.run(netns, &["-s", "list", "ruleset"], "")?;
    ensure!(text.contains("table inet brindle"), "{text}");
    nft.run(netns, &["-c", "-f", "-"], &format!("flush ruleset\n{text}"))?;
    Ok(text.lines().count())
}

/// Loads a program with the `nft` of this machine, in place of what there was.
fn load(netns: &Netns, program: &str) -> Result<()> {
    let mut command = netns.command("nft");
    command.args(["-f", "-"]);
    ended(command, &format!("flush ruleset\n{program}")).map(drop)
}

/// A release of nft with its libraries.
struct Nft {
    loader: PathBuf,
    libraries: String,
    program: PathBuf,
}

impl Nft {
    fn within(folder: &Path) -> Result<Self> {
        let find = |places: &[&str]| {
            let place = places.iter().map(|p| folder.join(p)).find(|p| fs::metadata(p).is_ok());
            place.with_context(|| format!("the packages hold no {places:?}"))
        };
        let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"]
            .map(|place| folder.join(place).to_string_lossy().into_owned());
        Ok(Self {
            loader: find(&[
                "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
                "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            ])?,
            libraries: libraries.join(":"),
            program: find(&["usr/sbin/nft", "sbin/nft"])?,
        })
    }

    fn run(&self, netns: &Netns, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = netns.command(&self.loader.to_string_lossy());
        command.arg("--library-path").arg(&self.libraries).arg(&self.program).args(arguments);
        let output = ended(command, input)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Runs to a good end.
fn ended(mut command: Command, input: &str) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start nft")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    // One that ends before it has read everything has said why.
    drop(writer.join());
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(output)
}
