//! Debian's packages of any suite, from the mirror that this machine's own apt uses.
//!
//! apt fetches and verifies them, with lists, cache and sources of its own: neither the machine's
//! sources nor its packages are touched. What was fetched stays in the cache, and apt asks the mirror
//! only whether there is something newer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use brindle_lab::netns::run;

/// Keys of all of Debian's suites, of the package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Suites have priorities by their age and kind; here the newest package of those given counts.
const PREFERENCES: &str = "Package: *\nPin: release c=main\nPin-Priority: 500\n";

/// One of Debian's archives, as its `Release` files label it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// The main one.
    Main,
    /// Security updates.
    Security,
}

/// Suites, each with its archive.
pub type Suites = [(Archive, &'static str)];

/// Packages that apt fetched.
#[derive(Debug)]
pub struct Packages(Vec<PathBuf>);

impl Packages {
    /// Unpacks them all into a folder.
    ///
    /// # Errors
    /// One is broken, or the disk refuses.
    pub fn unpack(&self, folder: &Path) -> Result<()> {
        let folder = folder.to_string_lossy();
        self.0.iter().try_for_each(|file| {
            run("dpkg-deb", &["-x", &file.to_string_lossy(), &folder]).map(drop)
        })
    }
}

/// Fetches from suites those of a package's dependencies, and of theirs, that are `wanted`. `place` is
/// a folder of the cache, of its own for each use.
///
/// # Errors
/// This machine's apt knows no Debian mirror, or the package cannot be had from it.
pub fn fetch(
    place: &str,
    suites: &Suites,
    package: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Packages> {
    let apt = Apt::of(place, suites)?;
    // A mirror that is away is not yet an error: an earlier run may have left all that is needed.
    let updated = apt.run("apt-get", &["-q", "-o", "APT::Update::Error-Mode=any", "update"]);
    if let Err(error) = &updated {
        eprintln!("{place}: no news from the mirror: {error:#}");
    }
    let fetched = apt.dependencies(package, wanted).and_then(|names| apt.download(&names));
    let fetched = match (fetched, updated) {
        (Err(missing), Err(news)) => Err(missing.context(format!("{news:#}"))),
        (fetched, _) => fetched,
    };
    fetched.with_context(|| {
        let suites: Vec<&str> = suites.iter().map(|(_, suite)| *suite).collect();
        format!(
            "check that the mirror of this machine's apt sources has {package} in {}",
            suites.join(" or ")
        )
    })
}

/// An apt with a state of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn of(place: &str, suites: &Suites) -> Result<Self> {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
        let folder = home.join(".cache/brindle").join(place);
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        }
        let signed = if Path::new(KEYRING).exists() {
            format!(" signed-by={KEYRING}")
        } else {
            String::new()
        };
        let mut lines = String::new();
        for (archive, suite) in suites {
            let mirror = mirror(*archive)?;
            lines += &format!("deb [target=Packages arch=amd64{signed}] {mirror} {suite} main\n");
        }
        fs::write(folder.join("sources.list"), lines)?;
        fs::write(folder.join("preferences"), PREFERENCES)?;
        Ok(Self { folder })
    }

    /// Runs one of apt's programs on this state.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let at = |key: &str, file: &str| format!("{key}={}", self.folder.join(file).display());
        let options = [
            at("Dir::State::lists", "lists"),
            at("Dir::Cache", "cache"),
            at("Dir::Etc::sourcelist", "sources.list"),
            at("Dir::Etc::preferences", "preferences"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            "Dir::State::status=/dev/null".to_owned(),
            // Its own user may not see root's cache.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let output = Command::new(program)
            .current_dir(&self.folder)
            .args(options.iter().flat_map(|option| ["-o", option]))
            .args(arguments)
            .output()
            .with_context(|| format!("start {program}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{program} {}: {}", arguments.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A package and what it needs, without packages that are only names.
    fn dependencies(
        &self,
        package: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<BTreeSet<String>> {
        let mut arguments = vec!["depends", "--recurse"];
        arguments.extend(["--no-recommends", "--no-suggests", "--no-enhances"]);
        arguments.extend(["--no-conflicts", "--no-breaks", "--no-replaces", package]);
        let listed = self.run("apt-cache", &arguments)?;
        // Relations are indented, and a virtual package stands in angle brackets.
        let names = listed.lines().filter(|l| !l.starts_with([' ', '<']) && wanted(l));
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        if names.is_empty() {
            bail!("{package} depends on nothing that is wanted");
        }
        Ok(names)
    }

    /// Fetches what is missing, and removes what is older or of other packages.
    fn download(&self, packages: &BTreeSet<String>) -> Result<Packages> {
        let names = packages.iter().map(String::as_str);
        let files = self.files(names.clone())?;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "deb") && !files.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        self.run("apt-get", &["-q", "download"].into_iter().chain(names).collect::<Vec<_>>())?;
        Ok(Packages(files))
    }

    /// Where `apt-get download` puts the newest of these packages: `name_version_architecture.deb`.
    fn files<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<Vec<PathBuf>> {
        let show = ["show", "--no-all-versions"].into_iter().chain(names);
        let shown = self.run("apt-cache", &show.collect::<Vec<_>>())?;
        let file = |paragraph: &str| {
            let field = |name: &str| {
                let value = paragraph.lines().find_map(|line| line.strip_prefix(name));
                value.map(str::trim).with_context(|| format!("a package without {name}"))
            };
            let (name, version) = (field("Package:")?, field("Version:")?.replace(':', "%3a"));
            Ok(self.folder.join(format!("{name}_{version}_{}.deb", field("Architecture:")?)))
        };
        shown.split("\n\n").filter(|text| !text.trim().is_empty()).map(file).collect()
    }
}

/// The first mirror of an archive in this machine's apt sources.
fn mirror(archive: Archive) -> Result<String> {
    let format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";
    let listed = run("apt-get", &["indextargets", "--format", format, "Created-By: Packages"])?;
    let label = match archive {
        Archive::Main => "Debian|Debian|",
        Archive::Security => "Debian|Debian-Security|",
    };
    let mirror = listed.lines().find_map(|line| line.strip_prefix(label)).with_context(|| {
        format!(
            "this machine's apt knows no mirror of Debian's archive {archive:?}: check its sources, \
             then run apt-get update"
        )
    })?;
    Ok(mirror.to_owned())
}
