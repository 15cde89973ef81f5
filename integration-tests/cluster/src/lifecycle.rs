//! A cluster comes up and goes.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use brindle_lab::netns::{Netns, run};
use brindle_lab::process::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::backend::Backend;
use crate::kubectl::Kubectl;
use crate::network::Network;
use crate::node::configuration::ProxyMode;
use crate::paths::{Cache, Paths};
use crate::plan::{Families, PREFIX};
use crate::{cgroups, control_plane, fabric, images, machine, network, node, pki};

/// What to bring up.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Shape {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// The pod network.
    #[arg(long, value_enum, default_value_t)]
    pub network: Network,
    /// What enforces policy on the nodes, where the network is Brindle.
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
    /// Address families.
    #[arg(long, value_enum, default_value_t)]
    pub families: Families,
    /// How kube-proxy does services.
    #[arg(long, value_enum, default_value_t)]
    pub proxy_mode: ProxyMode,
}

/// Brings a cluster up. What is left of an earlier one must have been removed.
///
/// # Errors
/// A part does not come up; what did stays, so that it can be looked at.
pub fn up(cache: &Cache, paths: &Paths, shape: Shape) -> Result<()> {
    up_without_network(cache, paths, shape)?;
    install(cache, paths, shape)
}

/// The first half of [`up`]: nodes are registered, and unready.
///
/// # Errors
/// As [`up`].
pub fn up_without_network(cache: &Cache, paths: &Paths, shape: Shape) -> Result<()> {
    require_tools()?;
    ensure!(
        shape.network == Network::Brindle || shape.backend == Backend::default(),
        "network {} has no backend {}",
        shape.network,
        shape.backend
    );
    ensure!(
        namespaces()?.is_empty() && !paths.root().exists(),
        "a cluster is up already, or was interrupted: run `make cluster-down` first"
    );
    let start = Instant::now();
    let say = |what: &str| eprintln!("{:6.1} s  {what}", start.elapsed().as_secs_f64());
    let (families, nodes) = (shape.families, usize::from(shape.nodes));

    fs::create_dir_all(paths.logs()).with_context(|| format!("make {}", paths.logs().display()))?;
    machine::prepare(paths)?;
    pki::make(&paths.pki(), families, nodes)?;
    fabric::make(families, nodes)?;
    fabric::start_router(&paths.logs(), families, nodes)?;
    cgroups::make(nodes)?;
    say("namespaces, router, certificates");

    // Images and nodes do not need the API server, and it does not need them.
    thread::scope(|scope| {
        let in_nodes = scope.spawn(|| {
            images::write(cache, &paths.images())?;
            thread::scope(|scope| {
                let each = (1..=nodes).map(|index| {
                    scope.spawn(move || {
                        node::start(cache, paths, families, shape.proxy_mode, index)?;
                        node::import_images(paths, index)
                    })
                });
                each.collect::<Vec<_>>().into_iter().try_for_each(joined)
            })
        });
        control_plane::start(cache, paths, families)?;
        say("API server ready");
        joined(in_nodes)
    })?;
    say("nodes run and have their images");

    let kubectl = Kubectl::new(cache, paths);
    write_wrapper(paths, &kubectl)?;
    kubectl.apply(&addons(families))?;
    wait_until(Duration::from_secs(60), "the nodes to register", || {
        let names = kubectl.run(&["get", "nodes", "-o", "name"])?;
        Ok(names.lines().count() == nodes)
    })?;
    say("nodes registered");
    Ok(())
}

/// The second half of [`up`]: the network, if there is to be one, and what needs it.
///
/// # Errors
/// As [`up`].
pub fn install(cache: &Cache, paths: &Paths, shape: Shape) -> Result<()> {
    if shape.network == Network::None {
        return Ok(());
    }
    let start = Instant::now();
    let say = |what: &str| eprintln!("{:6.1} s  {what}", start.elapsed().as_secs_f64());
    let kubectl = Kubectl::new(cache, paths);
    let nodes = usize::from(shape.nodes);
    network::install(shape.network, shape.backend, paths, &kubectl, shape.families, nodes)?;
    say("nodes ready");
    let dns = ["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s"];
    kubectl.run(&dns)?;
    say("DNS ready");
    Ok(())
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Removes the cluster, whole or in whatever state a crash left it. What runs in its namespaces is
/// its own, whoever started it.
///
/// # Errors
/// Something of it cannot be removed.
pub fn down(paths: &Paths) -> Result<()> {
    let ours = namespaces()?;
    // Nodes first: with its first process, all of a node ends.
    for netns in &ours {
        end_all_in(netns)?;
    }
    cgroups::remove()?;
    ours.iter().for_each(|netns| Netns::delete(netns));
    machine::restore(paths)?;
    match fs::remove_dir_all(paths.root()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", paths.root().display()))
        }
        _ => Ok(()),
    }
}

/// The cluster's network namespaces, nodes before the rest.
pub fn namespaces() -> Result<Vec<String>> {
    let listed = run("ip", &["netns", "list"])?;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    let mut ours: Vec<_> =
        names.filter(|name| name.starts_with(PREFIX)).map(str::to_owned).collect();
    ours.sort_by_key(|name| !name.starts_with(&format!("{PREFIX}node")));
    Ok(ours)
}

fn end_all_in(netns: &str) -> Result<()> {
    wait_until(Duration::from_secs(20), &format!("processes in {netns} to end"), || {
        let inside = run("ip", &["netns", "pids", netns])?;
        for pid in inside.split_whitespace() {
            // One that has ended in the meantime is as good.
            let _ = kill(Pid::from_raw(pid.parse()?), Signal::SIGKILL);
        }
        Ok(inside.trim().is_empty())
    })
}

fn addons(families: Families) -> String {
    let list = families.each().iter().map(|f| f.dns()).collect::<Vec<_>>();
    include_str!("../manifests/addons.yaml")
        .replace("COREDNS_IMAGE", &images::coredns())
        .replace("CLUSTER_DNS_LIST", &serde_json::json!(list).to_string())
        .replace("CLUSTER_DNS", &serde_json::json!(families.primary().dns()).to_string())
}

/// `kubectl` for people: in the right namespace, with the right kubeconfig.
fn write_wrapper(paths: &Paths, kubectl: &Kubectl) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let command = kubectl.command::<&str>(&[]);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let path = paths.kubectl();
    fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")))?;
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?)
}

fn require_tools() -> Result<()> {
    const TOOLS: [(&str, &str); 7] = [
        ("containerd", "containerd"),
        ("runc", "runc"),
        ("bird", "bird2"),
        ("busybox", "busybox-static"),
        ("openssl", "openssl"),
        ("nft", "nftables"),
        ("unshare", "util-linux"),
    ];
    let found = |name: &str| {
        let folders =
            ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
        folders.iter().any(|folder| Path::new(folder).join(name).exists())
    };
    let missing: Vec<_> = TOOLS.iter().filter(|(n, _)| !found(n)).map(|(_, p)| *p).collect();
    if !missing.is_empty() {
        bail!(
            "these packages are missing: {}; `cargo xtask cluster` installs them",
            missing.join(" ")
        );
    }
    Ok(())
}
