//! Two nodes and the outside in network namespaces, on which generated worlds are enforced and
//! probed with real packets (policy-semantics §7.3, L2b).
//!
//! ```text
//!   outside   holds every address that nobody else has
//!    │    │
//!   n1   n2   compiler and backend in process; links of pods as the agent makes them
//!   pods  pods
//! ```
//! The world's own addresses are used, so that prefixes nest around them as generated. Connection
//! tracking is emptied between worlds, and every probe has a source port of its own, so that no
//! verdict is a remembered one (§7.5, traps 1 and 2).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use brindle_dataplane_core::{Attachment, Backend, PodNetwork};
use brindle_lab::netns::{self, Netns};
use brindle_lab::probe::{Kind, Probe, Rig as Probes};
use brindle_model::cluster::{EndpointId, Update};
use brindle_model::packet::{ConnState, Flow, Origin, Transport};
use brindle_model::ruleset::{Ruleset, RulesetDelta};
use brindle_oracle::World;

use crate::worlds::compiled::{self, GHOST, inputs};

/// The fabric of the rig, with a backend a node.
pub struct Rig<B> {
    name: String,
    outside: Netns,
    nodes: Vec<Node<B>>,
}

struct Node<B> {
    netns: Netns,
    addresses: Vec<IpAddr>,
    backend: B,
    installed: Ruleset,
}

/// A world that is enforced: its pods with their namespaces and addresses.
pub struct Loaded {
    pods: BTreeMap<EndpointId, LoadedPod>,
    nodes: BTreeMap<String, (usize, Vec<IpAddr>)>,
}

struct LoadedPod {
    node: usize,
    netns: Netns,
    host_interface: String,
    addresses: Vec<IpAddr>,
}

/// A flow as a probe, and where it must not be compared.
pub struct Planned {
    /// Position of the flow among those given.
    pub flow: usize,
    /// The packet to send.
    pub probe: Probe,
}

/// Both nodes of a generated world.
const NODES: usize = 2;

impl<B: Backend> Rig<B> {
    /// Makes the namespaces and opens a backend in each node's.
    ///
    /// # Errors
    /// Not root, or the kernel lacks something.
    pub fn build(name: &str, open: impl Fn() -> Result<B> + Sync) -> Result<Self>
    where
        B: Send,
    {
        let outside = Netns::create(&format!("{name}-out"))?;
        settings(&outside)?;
        for family in ["-4", "-6"] {
            outside
                .ip(&[family, "route", "add", "local", "default", "dev", "lo", "table", "main"])?;
        }
        let mut nodes = Vec::new();
        for i in 1..=NODES {
            let netns = Netns::create(&format!("{name}-n{i}"))?;
            settings(&netns)?;
            let link = format!("to-n{i}");
            netns::veth((&netns, "eth0"), (&outside, &link))?;
            outside.ip(&["addr", "add", &format!("169.254.7.{i}/32"), "dev", &link])?;
            outside.ip(&["-6", "addr", "add", "fe80::7/64", "dev", &link, "nodad"])?;
            netns.ip(&["-6", "addr", "add", "fe80::8/64", "dev", "eth0", "nodad"])?;
            let addresses: Vec<IpAddr> =
                vec![format!("10.1.0.{i}").parse()?, format!("fd01::{i}").parse()?];
            for address in &addresses {
                let host = host_prefix(*address);
                netns.ip(&["addr", "add", &host, "dev", "eth0", "nodad"])?;
            }
            let gateway = format!("169.254.7.{i}");
            netns.ip(&["route", "add", "default", "via", &gateway, "dev", "eth0", "onlink"])?;
            netns.ip(&["-6", "route", "add", "default", "via", "fe80::7", "dev", "eth0"])?;
            outside.ip(&["route", "add", &host_prefix(addresses[0]), "dev", &link])?;
            let via = ["via", "fe80::8", "dev", &link];
            let add = ["-6", "route", "add", &host_prefix(addresses[1])];
            outside.ip(&[&add[..], &via[..]].concat())?;
            let backend = netns.enter(&open)??;
            nodes.push(Node { netns, addresses, backend, installed: Ruleset::default() });
        }
        let mut rig = Self { name: name.to_owned(), outside, nodes };
        for node in &mut rig.nodes {
            node.netns.enter(|| node.backend.resync())?.context("first resync")?;
        }
        Ok(rig)
    }

    /// Enforces a world: links of its pods, and each node's ruleset as the delta from the last.
    ///
    /// # Errors
    /// The backend or the kernel refused.
    pub fn load(&mut self, text: &str, world: &World) -> Result<Loaded> {
        let mut loaded = Loaded { pods: BTreeMap::new(), nodes: BTreeMap::new() };
        for (index, inputs) in inputs(text, world)?.into_iter().enumerate() {
            let node = self.nodes.get_mut(index).context("a world with more nodes than the rig")?;
            loaded.nodes.insert(inputs.node.to_string(), (index, node.addresses.clone()));
            let mut compiler = compiled::compiler(inputs.node, world);
            for update in inputs.updates {
                if let Update::Endpoint(id, Some(attachment)) = &update {
                    let number = loaded.pods.len();
                    let pod = LoadedPod {
                        node: index,
                        netns: Netns::create(&format!("{}-p{number}", self.name))?,
                        host_interface: attachment.host_interface.to_string(),
                        addresses: attachment.addresses.clone(),
                    };
                    attach(&node.netns, &pod)?;
                    loaded.pods.insert(id.clone(), pod);
                }
                compiler.apply(update);
            }
            compiler.flush();
            node.install(compiler.ruleset())?;
        }
        self.wire(&loaded)?;
        Ok(loaded)
    }

    /// Enforces an edited world with the same pods and addresses, and forgets the flows of before.
    ///
    /// # Errors
    /// The backend or the kernel refused.
    pub fn change(&mut self, text: &str, world: &World) -> Result<()> {
        for (node, inputs) in self.nodes.iter_mut().zip(inputs(text, world)?) {
            let mut compiler = compiled::compiler(inputs.node, world);
            inputs.updates.into_iter().for_each(|update| compiler.apply(update));
            compiler.flush();
            node.install(compiler.ruleset())?;
            node.forget_flows()?;
        }
        Ok(())
    }

    /// Links up and routes, once policy is enforced (K37).
    fn wire(&self, loaded: &Loaded) -> Result<()> {
        let mut on_node = vec![String::new(); self.nodes.len()];
        let mut outside = String::new();
        for pod in loaded.pods.values() {
            self.nodes[pod.node]
                .netns
                .enter(|| PodNetwork.enable(&pod.host_interface, &pod.addresses))??;
            for address in &pod.addresses {
                let prefix = host_prefix(*address);
                on_node[pod.node] +=
                    &format!("route replace {prefix} dev {}\n", pod.host_interface);
                let link = format!("to-n{}", pod.node + 1);
                let v4 = self.nodes[pod.node].addresses[0].to_string();
                let via = if address.is_ipv6() { "fe80::8" } else { &v4 };
                outside += &format!("route replace {prefix} via {via} dev {link}\n");
            }
        }
        for (node, lines) in self.nodes.iter().zip(on_node) {
            batch(&node.netns, &lines)?;
        }
        batch(&self.outside, &outside)
    }

    /// Removes a world's pods and what the kernel remembers of its flows.
    ///
    /// # Errors
    /// A tool failed.
    pub fn unload(&mut self, loaded: Loaded) -> Result<()> {
        for pod in loaded.pods.values() {
            self.nodes[pod.node].netns.enter(|| PodNetwork.detach(&pod.host_interface))??;
        }
        let mut lines = String::from("addr flush dev lo scope global\n");
        for address in loaded.pods.values().flat_map(|p| &p.addresses) {
            lines += &format!("route del {}\n", host_prefix(*address));
        }
        batch(&self.outside, &lines)?;
        self.nodes.iter().try_for_each(Node::forget_flows)
    }

    /// The flows that can be sent here, as probes: first packets whose source belongs to their
    /// origin and whose destination is a unicast address. SCTP is left out where the kernel has no
    /// SCTP sockets, and with it everything that only a crafted packet could show.
    pub fn plan(&self, loaded: &Loaded, flows: &[Flow]) -> Result<(Vec<Planned>, Vec<String>)> {
        let sites = self.sites(loaded);
        let mut planned = Vec::new();
        let mut outside = BTreeSet::new();
        for (flow, Flow { origin, packet, state }) in flows.iter().enumerate() {
            let kind = match packet.transport {
                Transport::Tcp { destination, .. } if destination != 0 => Kind::Tcp(destination),
                Transport::Udp { destination, .. } if destination != 0 => Kind::Udp(destination),
                Transport::Icmp { icmp_type: 8 | 128, code: 0 } => Kind::Echo,
                _ => continue,
            };
            let (source, destination) = (packet.source, packet.destination);
            if *state != ConnState::New || !unicast(source) || !unicast(destination) {
                continue;
            }
            let from = match origin {
                Origin::Pod(pod) if pod.name.as_ref() == GHOST => continue,
                Origin::Pod(pod) => {
                    let mut all = loaded.pods.iter();
                    match all.position(|(id, p)| id.pod == *pod && p.addresses.contains(&source)) {
                        Some(index) => index,
                        None => continue,
                    }
                }
                Origin::Node(name) => match loaded.nodes.get(name.as_ref()) {
                    Some((index, own)) if own.contains(&source) => loaded.pods.len() + index,
                    _ => continue,
                },
                Origin::Outside if self.held(loaded, source) => continue,
                Origin::Outside => {
                    outside.insert(source);
                    sites.len() - 1
                }
            };
            planned.push(Planned { flow, probe: Probe { from, source, destination, kind } });
        }
        let mut lines = String::new();
        for address in outside {
            lines += &format!("addr replace {} dev lo nodad\n", host_prefix(address));
        }
        batch(&self.outside, &lines)?;
        Ok((planned, sites))
    }

    /// Sends the probes.
    ///
    /// # Errors
    /// The rig failed.
    pub fn probe(&self, planned: &[Planned], sites: &[String]) -> Result<Vec<bool>> {
        let ports: BTreeSet<u16> = planned
            .iter()
            .filter_map(|p| match p.probe.kind {
                Kind::Tcp(port) | Kind::Udp(port) => Some(port),
                Kind::Echo => None,
            })
            .collect();
        let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
        let mut probes = Probes::new(&sites, &ports.into_iter().collect::<Vec<_>>())?;
        probes.run(&planned.iter().map(|p| p.probe).collect::<Vec<_>>())
    }

    /// Whether an address belongs to an attachment without an object: closed whatever is asked.
    pub fn is_ghost(&self, loaded: &Loaded, address: IpAddr) -> bool {
        loaded
            .pods
            .iter()
            .any(|(id, p)| id.pod.name.as_ref() == GHOST && p.addresses.contains(&address))
    }

    /// What the tools of every dataplane show on each node, for a report.
    ///
    /// # Errors
    /// A tool is missing.
    pub fn dump(&self) -> Result<String> {
        let tools: [(&str, &[&str]); 4] = [
            ("nft", &["list", "ruleset"]),
            ("iptables-legacy-save", &["-c"]),
            ("ip6tables-legacy-save", &["-c"]),
            ("ipset", &["save"]),
        ];
        let mut text = String::new();
        for node in &self.nodes {
            for (tool, arguments) in tools {
                let output = node.netns.command(tool).args(arguments).output()?;
                let shown = String::from_utf8_lossy(&output.stdout);
                text += &format!("# {} {tool}\n{shown}", node.netns.name());
            }
        }
        Ok(text)
    }

    /// Namespaces in the order in which [`Probe::from`] counts: pods, nodes, the outside.
    fn sites(&self, loaded: &Loaded) -> Vec<String> {
        let pods = loaded.pods.values().map(|p| p.netns.name());
        let nodes = self.nodes.iter().map(|n| n.netns.name());
        pods.chain(nodes).chain([self.outside.name()]).map(str::to_owned).collect()
    }

    fn held(&self, loaded: &Loaded, address: IpAddr) -> bool {
        loaded.pods.values().any(|p| p.addresses.contains(&address))
            || self.nodes.iter().any(|n| n.addresses.contains(&address))
    }
}

impl<B: Backend> Node<B> {
    fn install(&mut self, next: &Ruleset) -> Result<()> {
        self.backend.stage(&RulesetDelta::between(&self.installed, next));
        self.netns.enter(|| self.backend.commit())?.context("commit")?;
        self.installed = next.clone();
        Ok(())
    }
}

impl<B> Node<B> {
    fn forget_flows(&self) -> Result<()> {
        let flushed = self.netns.command("conntrack").arg("-F").output()?;
        ensure!(flushed.status.success(), "conntrack -F failed");
        Ok(())
    }
}

/// Nothing but policy may drop (§7.5, trap 9).
fn settings(netns: &Netns) -> Result<()> {
    netns.sysctl("net/ipv4/ip_forward", "1")?;
    netns.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    netns.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
    netns.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
    netns.sysctl("net/ipv4/conf/default/rp_filter", "0")?;
    netns.sysctl("net/ipv4/icmp_ratelimit", "0")
}

fn attach(node: &Netns, pod: &LoadedPod) -> Result<()> {
    let file = File::open(pod.netns.path())?;
    node.enter(|| {
        PodNetwork.attach(&Attachment {
            netns: file.as_fd(),
            interface: "eth0",
            host_interface: &pod.host_interface,
            addresses: &pod.addresses,
            mtu: 1500,
        })
    })?
    .with_context(|| format!("attach {}", pod.host_interface))?;
    Ok(())
}

fn host_prefix(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv6() { 128 } else { 32 })
}

fn unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            let first = a.octets()[0];
            first != 0 && first < 224 && !a.is_loopback() && !a.is_link_local()
        }
        IpAddr::V6(a) => {
            !a.is_unspecified()
                && !a.is_loopback()
                && !a.is_multicast()
                && a.segments()[0] & 0xffc0 != 0xfe80
        }
    }
}

/// `ip -batch`: one process for many lines.
fn batch(netns: &Netns, lines: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-n", netns.name(), "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start ip")?;
    child.stdin.take().context("no standard input")?.write_all(lines.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip -batch: {}\n{lines}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
