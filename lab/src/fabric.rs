//! The fabric: the router, the nodes and the links between them, and the folder of objects.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::agent::Agent;
use crate::bird::{Bird, Neighbour};
use crate::netns::{self, Netns};
use crate::objects;
use crate::process::wait_until;

/// The first node's AS; each node has one of its own (RFC 7938), so that a route from one node
/// is not taken for a loop by another.
pub const FIRST_NODE_AS: u32 = 64601;

/// A node: its namespace, addresses and agent.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub netns: Netns,
    /// Its IPv4 address towards the router.
    pub v4: String,
    /// Its IPv6 address towards the router.
    pub v6: String,
    /// Its AS.
    pub asn: u32,
    /// Its agent, while one runs.
    pub agent: Option<Agent>,
}

/// The whole lab.
#[derive(Debug)]
pub struct Fabric {
    /// Prefix of everything the lab makes.
    pub name: String,
    /// Folder with everything the lab writes.
    pub dir: PathBuf,
    /// The router's namespace.
    pub tor: Netns,
    /// The router.
    pub bird: Bird,
    /// The nodes.
    pub nodes: Vec<Node>,
    keep: bool,
}

impl Fabric {
    /// Builds router, links and nodes, writes the cluster's objects, and starts an agent a node.
    ///
    /// # Errors
    /// Not root, a tool is missing, or a part does not come up; the message names it and its log.
    pub fn build(name: &str, dir: &Path, nodes: usize) -> Result<Self> {
        let mut fabric = Self::without_agents(name, dir, nodes)?;
        fabric.write("cluster.yaml", &objects::cluster(&fabric))?;
        for i in 0..fabric.nodes.len() {
            fabric.start_agent(i)?;
        }
        Ok(fabric)
    }

    /// Builds router, links and nodes; objects and agents are the caller's.
    ///
    /// # Errors
    /// Not root, a tool is missing, or the router does not come up.
    pub fn without_agents(name: &str, dir: &Path, nodes: usize) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("clear {}", dir.display()))?;
        }
        fs::create_dir_all(dir.join("objects/pods"))?;
        fs::create_dir_all(dir.join("objects/policies"))?;
        let tor = Netns::create(&format!("{name}-tor"))?;
        forward(&tor)?;
        let nodes = (1..=nodes).map(|i| node(name, &tor, i)).collect::<Result<Vec<_>>>()?;
        let neighbours: Vec<_> = (1..).zip(&nodes).map(|(i, node)| neighbour(i, node)).collect();
        let bird = Bird::start(&tor, dir, &neighbours)?;
        Ok(Self { name: name.to_owned(), dir: dir.to_owned(), tor, bird, nodes, keep: false })
    }

    /// The folder that the agents read.
    pub fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    /// Writes a file of the folder by rename, as an editor or `git checkout` would.
    ///
    /// # Errors
    /// The disk refused.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.objects().join(file);
        let next = self.dir.join("next.tmp");
        fs::write(&next, text).with_context(|| format!("write {}", next.display()))?;
        fs::rename(&next, &path).with_context(|| format!("rename to {}", path.display()))
    }

    /// Removes a file of the folder.
    ///
    /// # Errors
    /// There is none.
    pub fn remove(&self, file: &str) -> Result<()> {
        let path = self.objects().join(file);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }

    /// Starts the agent of a node and waits until it is in sync.
    ///
    /// # Errors
    /// The agent ends or does not get ready; the message names its log.
    pub fn start_agent(&mut self, node: usize) -> Result<()> {
        self.start_agent_with(node, &[])
    }

    /// The same with further options of the agent.
    ///
    /// # Errors
    /// As [`Fabric::start_agent`].
    pub fn start_agent_with(&mut self, node: usize, options: &[&str]) -> Result<()> {
        let agent = Agent::start(&self.nodes[node], &self.dir, options)?;
        self.nodes[node].agent = Some(agent);
        Ok(())
    }

    /// Waits until the router's session with every node is established.
    ///
    /// # Errors
    /// One is not after half a minute.
    pub fn wait_for_sessions(&self) -> Result<()> {
        for node in &self.nodes {
            wait_until(
                Duration::from_secs(30),
                &format!("the BGP session with {}", node.name),
                || self.bird.established(&node.name),
            )?;
        }
        Ok(())
    }

    /// Leaves everything in place on drop.
    pub fn keep(&mut self) {
        self.keep = true;
        self.tor.keep();
        self.bird.let_go();
        for node in &mut self.nodes {
            node.netns.keep();
            if let Some(agent) = &mut node.agent {
                agent.let_go();
            }
        }
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for node in &mut self.nodes {
            node.agent = None;
        }
        // The folder stays after a failure: its logs are what one wants to read then.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn forward(netns: &Netns) -> Result<()> {
    netns.sysctl("net/ipv4/ip_forward", "1")?;
    netns.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    // A router cannot solicit neighbours while its link-local address is tentative.
    netns.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
    netns.sysctl("net/ipv4/fib_multipath_hash_policy", "1")
}

fn node(lab: &str, tor: &Netns, i: usize) -> Result<Node> {
    let name = format!("n{i}");
    let netns = Netns::create(&format!("{lab}-{name}"))?;
    forward(&netns)?;
    netns::veth((&netns, "eth0"), (tor, &format!("to-{name}")))?;
    let (v4, v6) = (format!("10.1.{i}.2"), format!("fd01:{i}::2"));
    for (end, device, four, six) in [
        (&netns, "eth0".to_owned(), v4.clone(), v6.clone()),
        (tor, format!("to-{name}"), format!("10.1.{i}.1"), format!("fd01:{i}::1")),
    ] {
        end.ip(&["addr", "add", &format!("{four}/24"), "dev", &device])?;
        end.ip(&["addr", "add", &format!("{six}/64"), "dev", &device, "nodad"])?;
    }
    netns.ip(&["route", "add", "default", "via", &format!("10.1.{i}.1")])?;
    netns.ip(&["-6", "route", "add", "default", "via", &format!("fd01:{i}::1")])?;
    let asn = FIRST_NODE_AS + u32::try_from(i)? - 1;
    Ok(Node { name, netns, v4, v6, asn, agent: None })
}

fn neighbour(i: usize, node: &Node) -> Neighbour {
    Neighbour {
        name: node.name.clone(),
        local: format!("10.1.{i}.1"),
        address: node.v4.clone(),
        asn: node.asn,
    }
}
