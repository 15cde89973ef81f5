//! Kubernetes and what goes with it, built from Go modules at pinned versions.
//!
//! About seven minutes on two cores the first time, then nothing: a program that is in the cache is
//! not built again. No release is downloaded and no container registry asked.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::paths::Cache;
use crate::versions;

/// The six that are one program, told apart by name.
const HYPERKUBE: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
];

/// What runs in a cluster, in the order in which most is shared early.
const CLUSTER: &[Program] = &[
    Program { name: "hyperkube", package: "./hyperkube", kind: Kind::Versioned },
    Program { name: "pause", package: "./pause", kind: Kind::Plain },
    Program { name: "coredns", package: "./coredns", kind: Kind::Plain },
    Program { name: "agnhost", package: AGNHOST, kind: Kind::Versioned },
    Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", kind: Kind::Plain },
    Program { name: "cni/loopback", package: "plugins/main/loopback", kind: Kind::Plugin },
    Program { name: "cni/ptp", package: "plugins/main/ptp", kind: Kind::Plugin },
    Program { name: "cni/host-local", package: "plugins/ipam/host-local", kind: Kind::Plugin },
    Program { name: "cni/portmap", package: "plugins/meta/portmap", kind: Kind::Plugin },
];

/// The upstream suites.
const SUITES: &[Program] = &[
    Program { name: "e2e.test", package: "k8s.io/kubernetes/test/e2e", kind: Kind::Test },
    Program { name: "ginkgo", package: "github.com/onsi/ginkgo/v2/ginkgo", kind: Kind::Plain },
    Program {
        name: "network-policy-api.test",
        package: "sigs.k8s.io/network-policy-api/conformance",
        kind: Kind::Test,
    },
];

const AGNHOST: &str = "k8s.io/kubernetes/test/images/agnhost";
const PLUGINS: &str = "github.com/containernetworking/plugins";

/// A program to build.
struct Program {
    /// Where it goes, below the cache's folder.
    name: &'static str,
    /// Its package; of plugins, below their module.
    package: &'static str,
    kind: Kind,
}

/// How a program is built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Reports Kubernetes' version.
    Versioned,
    /// A package's tests; they report Kubernetes' version too.
    Test,
    /// Of the reference CNI plugins, which are a module of their own.
    Plugin,
}

/// Builds what is not in the cache of what a cluster needs, and with `suites` of what tests it.
///
/// # Errors
/// Go is missing, something does not compile, or a program is missing from a folder that is not
/// ours to fill.
pub fn build(cache: &Cache, suites: bool) -> Result<()> {
    let wanted = CLUSTER.iter().chain(if suites { SUITES } else { &[] });
    let missing: Vec<&Program> = wanted.filter(|p| !cache.program(p.name).exists()).collect();
    if missing.is_empty() {
        return link_components(cache);
    }
    if cache.foreign {
        let names: Vec<_> = missing.iter().map(|p| p.name).collect();
        let folder = cache.programs.display();
        bail!("{folder} (BRINDLE_KUBE_BIN) lacks {}; unset it to build them", names.join(", "));
    }
    let found = Command::new("go").arg("version").output().context(versions::NO_GO)?;
    eprintln!(
        "building Kubernetes {} into {} (about 7 minutes the first time) with {}",
        versions::kubernetes(),
        cache.programs.display(),
        String::from_utf8_lossy(&found.stdout).trim()
    );
    lay_out(&cache.sources)?;
    fs::create_dir_all(cache.program("cni"))?;
    for program in missing {
        let start = Instant::now();
        compile(cache, program)?;
        eprintln!("  {}: {:.0} s", program.name, start.elapsed().as_secs_f64());
    }
    link_components(cache)
}

/// Copies the pinned modules and our main packages out of the repository.
fn lay_out(sources: &Path) -> Result<()> {
    const FILES: &[(&str, &str)] = &[
        ("go.mod", versions::MODULES),
        ("go.sum", include_str!("../go/go.sum")),
        ("hyperkube/main.go", include_str!("../go/hyperkube/main.go")),
        ("coredns/main.go", include_str!("../go/coredns/main.go")),
        ("pause/main.go", include_str!("../go/pause/main.go")),
        ("plugins/go.mod", versions::PLUGIN_MODULES),
        ("plugins/go.sum", include_str!("../go/plugins/go.sum")),
    ];
    for (name, text) in FILES {
        let path = sources.join(name);
        let folder = path.parent().context("a file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn compile(cache: &Cache, program: &Program) -> Result<()> {
    let mut package = program.package.to_owned();
    let mut folder = cache.sources.clone();
    if program.kind == Kind::Plugin {
        package = format!("{PLUGINS}/{package}");
        folder = folder.join("plugins");
    }
    if package == AGNHOST && !kernel_has_sctp() {
        package = agnhost_without_sctp(&cache.sources)?;
    }
    let mut flags = "-s -w".to_owned();
    if matches!(program.kind, Kind::Versioned | Kind::Test) {
        flags.push_str(&version_flags());
    }
    // Under another name first: a build that is interrupted must not look finished.
    let partial = PathBuf::from(format!("{}.partial", cache.program(program.name).display()));
    let verb: &[&str] =
        if program.kind == Kind::Test { &["test", "-c", "-vet=off"] } else { &["build"] };
    let status = Command::new("go")
        .args(verb)
        .args(["-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags", &flags, "-o"])
        .arg(&partial)
        .arg(&package)
        .current_dir(&folder)
        .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", ""), ("GOGC", "400")])
        .status()
        .context(versions::NO_GO)?;
    ensure!(
        status.success(),
        "building {} failed; modules come from {}",
        program.name,
        "the proxy that `go env GOPROXY` names, which must be reachable the first time"
    );
    fs::rename(&partial, cache.program(program.name))
        .with_context(|| format!("rename {}", partial.display()))
}

/// Linker flags by which components and `kubectl version` say what they are. Without them the
/// kubelet registers as v0.0.0, which the suites skip.
fn version_flags() -> String {
    let version = versions::kubernetes();
    let minor = version.split('.').nth(1).unwrap_or_default();
    let set = |package: &str| {
        let values = [
            ("gitVersion", version),
            ("gitMajor", "1"),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
            ("buildDate", "1970-01-01T00:00:00Z"),
        ];
        values.map(|(key, value)| format!(" -X {package}.{key}={value}")).concat()
    };
    set("k8s.io/component-base/version") + &set("k8s.io/client-go/pkg/version")
}

fn link_components(cache: &Cache) -> Result<()> {
    for name in HYPERKUBE {
        let link = cache.program(name);
        if !link.exists() {
            symlink("hyperkube", &link).with_context(|| format!("link {}", link.display()))?;
        }
    }
    Ok(())
}

/// Whether SCTP sockets can be made here.
pub fn kernel_has_sctp() -> bool {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
    let protocol = SockProtocol::Sctp;
    socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, protocol).is_ok()
}

/// A copy of agnhost whose server of all protocols goes on without SCTP where upstream's exits: the
/// pods of the network-policy-api suite would never be ready.
fn agnhost_without_sctp(sources: &Path) -> Result<String> {
    let upstream = versions::kubernetes_sources()?.join("test/images/agnhost");
    let copy = sources.join("agnhost");
    fs::create_dir_all(copy.join("porter"))?;
    let replace = |file: &str, to: &str, from: &str, by: &str| -> Result<()> {
        let path = upstream.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(text.contains(from), "{} has another shape: no {from}", path.display());
        fs::write(copy.join(to), text.replace(from, by))?;
        Ok(())
    };
    let (porter, own) = (format!("\"{AGNHOST}/porter\""), "\"brindle.io/cluster/agnhost/porter\"");
    replace("agnhost.go", "main.go", &porter, own)?;
    let exits = r#"log.Fatal("Failed to listen SCTP. error:", err)"#;
    let goes_on = r#"log.Print("no SCTP on this kernel: ", err); return"#;
    replace("porter/porter.go", "porter/porter.go", exits, goes_on)?;
    Ok("./agnhost".to_owned())
}
