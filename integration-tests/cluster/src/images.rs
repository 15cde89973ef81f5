//! Images for the nodes: made of the built programs and of this machine's Debian packages, under
//! the names that the suites ask for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use brindle_packaging::layer::Layer;
use brindle_packaging::oci::{Image, Start};

use crate::paths::Cache;
use crate::versions::{self, SuiteImages};

const REGISTRY: &str = "registry.k8s.io";
/// The agnhost that the network-policy-api suite asks for.
const AGNHOST_OF_NETWORK_POLICY_API: &str = "agnhost:2.45";
const BUSYBOX: &str = "/bin/busybox";
/// Tools of upstream's agnhost, where Debian has them. Its `/bin/sh` must not be busybox, whose
/// shell runs its own `nc` and `ip` before it looks at PATH.
const TOOLS: [(&str, &str); 12] = [
    ("/bin/sh", "/bin/dash"),
    ("/bin/bash", "/bin/bash"),
    ("/usr/bin/curl", "/usr/bin/curl"),
    ("/usr/bin/getent", "/usr/bin/getent"),
    ("/usr/bin/dig", "/usr/bin/dig"),
    ("/usr/bin/nc", "/bin/nc.openbsd"),
    ("/usr/bin/socat", "/usr/bin/socat"),
    ("/usr/bin/iperf", "/usr/bin/iperf"),
    ("/usr/bin/ss", "/bin/ss"),
    ("/sbin/ip", "/bin/ip"),
    ("/usr/sbin/conntrack", "/usr/sbin/conntrack"),
    ("/usr/bin/env", "/usr/bin/env"),
];
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Full name of the image that holds a pod's namespaces.
///
/// # Errors
/// As [`SuiteImages::get`].
pub fn pause() -> Result<String> {
    Ok(format!("{REGISTRY}/{}", SuiteImages::read()?.get("Pause")?))
}

/// Full name of CoreDNS' image.
pub fn coredns() -> String {
    format!("{REGISTRY}/coredns/coredns:{}", versions::coredns())
}

/// Full name of the image that the suites do everything with.
///
/// # Errors
/// As [`SuiteImages::get`].
pub fn agnhost() -> Result<String> {
    Ok(suite_name(&SuiteImages::read()?.get("Agnhost")?))
}

/// Writes the archives of all images into `folder`.
///
/// # Errors
/// A program or a Debian package is missing.
pub fn write(cache: &Cache, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let listed = SuiteImages::read()?;
    let suite = |key: &str| listed.get(key).map(|name| suite_name(&name));
    let put = |image: &Image, file: &str, names: &[String]| {
        image.write(&folder.join(file), names).map(drop)
    };

    let mut layer = Layer::default();
    layer.program("/pause", &cache.program("pause"))?;
    let user = Some("65535:65535".to_owned());
    let image = Image::new(layer, Start { user, ..program("/pause") })?;
    put(&image, "pause.tar", &[pause()?])?;

    let mut layer = Layer::default();
    layer.directory("/tmp", 0o1777)?;
    layer.program("/coredns", &cache.program("coredns"))?;
    put(&Image::new(layer, program("/coredns"))?, "coredns.tar", &[coredns()])?;

    let mut layer = userland()?;
    for applet in applets()? {
        layer.link(&format!("/bin/{applet}"), "busybox")?;
    }
    let start = Start { arguments: vec!["sh".into()], ..Start::default() };
    put(&Image::new(layer, start)?, "busybox.tar", &[suite("BusyBox")?])?;

    let agnhost = Image::new(agnhost_layer(cache)?, agnhost_start("pause"))?;
    // The DNS specs' second prober needs sh, dig and getent of a glibc system, which this is.
    let names =
        [suite("Agnhost")?, suite_name(AGNHOST_OF_NETWORK_POLICY_API), suite("GlibcDnsTesting")?];
    put(&agnhost, "agnhost.tar", &names)?;
    // What asks for nginx wants something that answers on port 80.
    put(&agnhost.starting(agnhost_start("test-webserver")), "web.tar", &[suite("Nginx")?])
}

/// Writes the archive of an image that is this program itself; returns the image's name.
///
/// # Errors
/// A library that it loads is missing.
pub fn prober(archive: &Path) -> Result<String> {
    let name = "brindle.io/prober:here".to_owned();
    let mut layer = Layer::default();
    dynamic(&mut layer, "/prober", &std::env::current_exe()?)?;
    Image::new(layer, program("/prober"))?.write(archive, std::slice::from_ref(&name))?;
    Ok(name)
}

fn suite_name(name: &str) -> String {
    format!("{REGISTRY}/e2e-test-images/{name}")
}

fn program(path: &str) -> Start {
    Start { entrypoint: vec![path.to_owned()], ..Start::default() }
}

fn agnhost_start(subcommand: &str) -> Start {
    Start { arguments: vec![subcommand.to_owned()], ..program("/agnhost") }
}

fn agnhost_layer(cache: &Cache) -> Result<Layer> {
    let mut layer = userland()?;
    layer.directory("/uploads", 0o777)?;
    layer.program("/agnhost", &cache.program("agnhost"))?;
    layer.link("/agnhost-2", "agnhost")?;
    let sources = versions::kubernetes_sources()?.join("test/images/agnhost/porter");
    for file in ["localhost.crt", "localhost.key"] {
        let contents = fs::read(sources.join(file)).with_context(|| format!("read {file}"))?;
        layer.contents(&format!("/{file}"), &contents, 0o644)?;
    }
    for (name, source) in TOOLS {
        if Path::new(source).exists() {
            dynamic(&mut layer, name, Path::new(source))?;
        }
    }
    let own: BTreeSet<&str> =
        TOOLS.iter().filter_map(|(name, _)| name.rsplit('/').next()).chain(["ash"]).collect();
    for applet in applets()?.iter().filter(|applet| !own.contains(applet.as_str())) {
        layer.link(&format!("/bin/{applet}"), "busybox")?;
    }
    Ok(layer)
}

/// Folders, users and busybox.
fn userland() -> Result<Layer> {
    let mut layer = Layer::default();
    for folder in ["/tmp", "/var/tmp"] {
        layer.directory(folder, 0o1777)?;
    }
    for folder in ["/root", "/home", "/proc", "/sys", "/dev", "/run", "/etc"] {
        layer.directory(folder, 0o755)?;
    }
    layer.contents("/etc/passwd", USERS.as_bytes(), 0o644)?;
    layer.contents("/etc/group", GROUPS.as_bytes(), 0o644)?;
    layer.contents("/etc/nsswitch.conf", b"hosts: files dns\n", 0o644)?;
    layer.program("/bin/busybox", Path::new(BUSYBOX))?;
    Ok(layer)
}

fn applets() -> Result<Vec<String>> {
    let output = Command::new(BUSYBOX).arg("--list").output();
    let output = output.context("start busybox; install the package busybox-static")?;
    let listed = String::from_utf8(output.stdout)?;
    Ok(listed.lines().filter(|applet| *applet != "busybox").map(str::to_owned).collect())
}

/// A program of this machine and the shared libraries that it loads.
fn dynamic(layer: &mut Layer, name: &str, source: &Path) -> Result<()> {
    let source = fs::canonicalize(source)?;
    layer.program(name, &source)?;
    let output = Command::new("ldd").arg(&source).output().context("start ldd")?;
    ensure!(output.status.success(), "ldd {} failed", source.display());
    let listed = String::from_utf8(output.stdout)?;
    for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        layer.program(library, &fs::canonicalize(library)?)?;
    }
    Ok(())
}
