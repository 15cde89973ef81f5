//! Kernels as Debian's packages, from the mirror that this machine's own apt uses.
//!
//! apt fetches and verifies them, with lists, cache and sources of its own: neither the machine's
//! sources nor its packages are touched. What was fetched stays in the cache, and apt asks the mirror
//! only whether there is something newer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use brindle_lab::netns::run;

/// The kernel without drivers of real hardware.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// Packages that hold a kernel or modules: one image, or two parts of it since Linux 7.0.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];
/// Keys of all of Debian's suites, of the package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Suites have priorities by their age and kind; here the newest kernel of those given counts.
const PREFERENCES: &str = "Package: *\nPin: release c=main\nPin-Priority: 500\n";

/// One of Debian's archives, as its `Release` files label it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// The main one.
    Main,
    /// Security updates.
    Security,
}

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// A name for folders and logs.
    pub name: &'static str,
    /// What its version begins with; empty for whatever is newest.
    pub version: &'static str,
    /// The suites in which to look. The newest kernel counts.
    pub suites: &'static [(Archive, &'static str)],
}

/// A kernel with its modules.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: String,
    /// What a boot loader loads.
    pub image: PathBuf,
    /// The folder of this release's modules.
    pub modules: PathBuf,
}

/// Fetches the newest kernel of a source and unpacks it into `folder`.
///
/// # Errors
/// This machine's apt knows no Debian mirror, or no such kernel can be had from it.
pub fn fetch(source: &Source, folder: &Path) -> Result<Kernel> {
    let apt = Apt::of(source)?;
    // A mirror that is away is not yet an error: an earlier run may have left all that is needed.
    let updated = apt.run("apt-get", &["-q", "-o", "APT::Update::Error-Mode=any", "update"]);
    if let Err(error) = &updated {
        eprintln!("{}: no news from the mirror: {error:#}", source.name);
    }
    let kernel = apt.packages().and_then(|packages| {
        apt.download(&packages)?;
        unpack(&apt.folder, &packages, folder)
    });
    let kernel = match (kernel, updated) {
        (Err(missing), Err(news)) => Err(missing.context(format!("{news:#}"))),
        (kernel, _) => kernel,
    }
    .with_context(|| {
        let suites: Vec<&str> = source.suites.iter().map(|(_, suite)| *suite).collect();
        format!(
            "no kernel {}: check that the mirror of this machine's apt sources has {META_PACKAGE} \
             in {}",
            source.name,
            suites.join(" or ")
        )
    })?;
    ensure!(
        kernel.release.starts_with(source.version),
        "the suite of kernel {} has {} now: name another one",
        source.name,
        kernel.release
    );
    Ok(kernel)
}

/// An apt with a state of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn of(source: &Source) -> Result<Self> {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
        let folder = home.join(".cache/brindle/kernels").join(source.name);
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
        for (archive, suite) in source.suites {
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

    /// The packages of the newest kernel: what the meta package leads to.
    fn packages(&self) -> Result<BTreeSet<String>> {
        let mut arguments = vec!["depends", "--recurse"];
        arguments.extend(["--no-recommends", "--no-suggests", "--no-enhances"]);
        arguments.extend(["--no-conflicts", "--no-breaks", "--no-replaces", META_PACKAGE]);
        let listed = self.run("apt-cache", &arguments)?;
        let packages: BTreeSet<String> =
            listed.lines().filter(|line| is_part(line)).map(str::to_owned).collect();
        ensure!(!packages.is_empty(), "{META_PACKAGE} depends on no kernel");
        Ok(packages)
    }

    /// Fetches what is missing, and removes older packages.
    fn download(&self, packages: &BTreeSet<String>) -> Result<()> {
        for file in archives(&self.folder)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if !name.split_once('_').is_some_and(|(package, _)| packages.contains(package)) {
                fs::remove_file(&file)?;
            }
        }
        let names = packages.iter().map(String::as_str);
        self.run("apt-get", &["-q", "download"].into_iter().chain(names).collect::<Vec<_>>())?;
        Ok(())
    }
}

/// `linux-image-6.1.0-57-cloud-amd64`, but not `linux-image-cloud-amd64`.
fn is_part(line: &str) -> bool {
    PARTS.iter().filter_map(|part| line.strip_prefix(part)).any(|rest| {
        rest.starts_with(|first: char| first.is_ascii_digit()) && rest.ends_with("-cloud-amd64")
    })
}

fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let files = files.collect::<Result<Vec<PathBuf>>>()?;
    Ok(files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "deb")).collect())
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

/// Unpacks packages, and finds the kernel in them: with its modules since Linux 7.0, in `/boot`
/// before.
fn unpack(archive: &Path, packages: &BTreeSet<String>, folder: &Path) -> Result<Kernel> {
    for file in archives(archive)? {
        run("dpkg-deb", &["-x", &file.to_string_lossy(), &folder.to_string_lossy()])?;
    }
    for modules in ["lib/modules", "usr/lib/modules"].map(|place| folder.join(place)) {
        let Ok(mut entries) = fs::read_dir(&modules) else { continue };
        let entry = entries.next().with_context(|| format!("{} is empty", modules.display()))??;
        let release = entry.file_name().to_string_lossy().into_owned();
        let images =
            [folder.join("boot").join(format!("vmlinuz-{release}")), entry.path().join("vmlinuz")];
        let Some(image) = images.into_iter().find(|image| image.exists()) else { continue };
        return Ok(Kernel { release, image, modules: entry.path() });
    }
    bail!("no kernel with modules in {packages:?}")
}
