//! A node with a real agent and two pods, of which one is told by policy whom it answers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use brindle_lab::agent::{Agent, binary};
use brindle_lab::fabric::Fabric;
use brindle_lab::objects;
use brindle_lab::pod::Pod;
use brindle_lab::process::wait_until;

/// Every dataplane, as `--dataplane` names it.
pub const DATAPLANES: [&str; 3] = ["nftables", "iptables-nft", "iptables-legacy"];

/// Admits the client to port 5432, TCP and UDP.
pub const ONE_PORT: &str = "ingress: [{from: [{podSelector: {matchLabels: {role: client}}}], \
                            ports: [{port: 5432}, {port: 5432, protocol: UDP}]}]";

/// The node.
pub struct SingleNode {
    /// The fabric.
    pub fabric: Fabric,
    /// Who calls.
    pub client: Pod,
    /// Who is called.
    pub server: Pod,
    dataplane: String,
    options: Vec<String>,
}

impl SingleNode {
    /// Builds it, with [`ONE_PORT`] in force.
    ///
    /// # Errors
    /// As [`Fabric::build`].
    pub fn build(name: &str, dataplane: &str) -> Result<Self> {
        Self::build_with(name, dataplane, &[])
    }

    /// The same with further options of the agent.
    ///
    /// # Errors
    /// As [`Fabric::build`].
    pub fn build_with(name: &str, dataplane: &str, options: &[&str]) -> Result<Self> {
        let options = [&["--dataplane", dataplane], options].concat();
        let mut fabric = Fabric::without_agents(name, &PathBuf::from("/run").join(name), 1)?;
        fabric.write("cluster.yaml", &objects::cluster(&fabric))?;
        fabric.write("namespaces.yaml", &objects::namespace("shop", "retail"))?;
        fabric.start_agent_with(0, &options)?;
        let pod = |pod: &'static str| {
            Pod::create(&fabric, 0, "shop", pod, |addresses| {
                objects::pod("shop", pod, pod, "n1", addresses)
            })
        };
        let (client, server) = (pod("client")?, pod("server")?);
        let options = options.into_iter().map(str::to_owned).collect();
        let node = Self { client, server, fabric, dataplane: dataplane.to_owned(), options };
        node.write_policy(ONE_PORT)?;
        node.agent()?.barrier()?;
        Ok(node)
    }

    /// The agent.
    ///
    /// # Errors
    /// None runs.
    pub fn agent(&self) -> Result<&Agent> {
        self.fabric.nodes[0].agent.as_ref().context("no agent")
    }

    /// Writes the server's policy, without waiting for it.
    ///
    /// # Errors
    /// The disk refused.
    pub fn write_policy(&self, rest: &str) -> Result<()> {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: of-server, namespace: shop}}\n\
             spec: {{podSelector: {{matchLabels: {{role: server}}}}, {rest}}}\n"
        );
        self.fabric.write("policies/server.yaml", &text)
    }

    /// Ends the agent and starts another.
    ///
    /// # Errors
    /// It does not end, or the next does not get ready.
    pub fn restart(&mut self, signal: Signal) -> Result<()> {
        self.fabric.nodes[0].agent.take().context("no agent")?.end(signal)?;
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        self.fabric.start_agent_with(0, &options)
    }

    /// A number of the dataplane's status: `resyncs`, `drifted`, `repairs`, `writes`.
    ///
    /// # Errors
    /// The agent does not answer, or has no such number.
    pub fn counted(&self, what: &str) -> Result<u64> {
        let status: Value = serde_json::from_str(&self.agent()?.ctl(&["status", "-o", "json"])?)?;
        status["dataplane"][what].as_u64().with_context(|| format!("no {what} in {status}"))
    }

    /// Waits until a number of the status is above what it was.
    ///
    /// # Errors
    /// It is not in five seconds.
    pub fn wait_counted(&self, what: &str, before: u64) -> Result<()> {
        wait_until(Duration::from_secs(5), what, || Ok(self.counted(what)? > before))
    }

    /// Runs a program on the node.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.fabric.nodes[0].netns.command(program).args(arguments).output()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{program} {arguments:?}: {error}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The rules and sets of ours that the kernel holds, without counters, in an order that does not
    /// tell how they came to be.
    ///
    /// # Errors
    /// A tool fails.
    pub fn kernel(&self) -> Result<String> {
        if self.dataplane == "nftables" {
            return Ok(ordered(&self.run("nft", &["-s", "list", "table", "inet", "brindle"])?));
        }
        let mut text = String::new();
        for digit in ["", "6"] {
            let save = format!("ip{digit}tables-{}-save", &self.dataplane["iptables-".len()..]);
            let saved = self.run(&save, &["-t", "filter"])?;
            // Without when it was printed, and without counters; rules of a chain keep their order.
            let mut lines: Vec<_> = saved
                .lines()
                .filter(|line| !line.starts_with('#'))
                .map(|line| line.split(" [").next().unwrap_or(line).to_owned())
                .collect();
            lines.sort_by_key(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
            text += &(lines.join("\n") + "\n");
        }
        let sets = self.run("ipset", &["save"])?;
        let mut lines: Vec<_> = sets.lines().map(without_seed).collect();
        lines.sort_unstable();
        Ok(text + &lines.join("\n"))
    }

    /// Ends the agent and removes what agents leave.
    ///
    /// # Errors
    /// `brindle-agent uninstall` fails.
    pub fn uninstall(&mut self) -> Result<()> {
        self.fabric.nodes[0].agent.take().context("no agent")?.end(Signal::SIGTERM)?;
        let run = self.fabric.dir.join("n1");
        let [run_dir, state] = [run.clone(), run.join("state")].map(|p| p.display().to_string());
        let agent = binary("brindle-agent").display().to_string();
        self.run(&agent, &["uninstall", "--run-dir", &run_dir, "--state-dir", &state]).map(drop)
    }

    /// Removes the pods.
    ///
    /// # Errors
    /// The plugin refused.
    pub fn end(self) -> Result<()> {
        for pod in [self.client, self.server] {
            pod.delete(&self.fabric)?;
        }
        Ok(())
    }
}

/// Chains, sets and maps of `nft list table` in the order of their names, elements in that of theirs.
fn ordered(listing: &str) -> String {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    for line in listing.lines().filter(|line| !line.is_empty()) {
        match blocks.last_mut() {
            Some(block) if line.starts_with("\t\t") => block.push(line),
            _ => blocks.push(vec![line]),
        }
    }
    blocks.sort();
    let text = blocks.iter().map(|block| {
        let named = block[0].trim();
        if !named.starts_with("set ") && !named.starts_with("map ") {
            return block.join("\n");
        }
        let all = block[1..].join(" ").replace('\t', " ");
        let mut elements: Vec<_> = all.split([',', '{', '}']).map(str::trim).collect();
        elements.sort_unstable();
        format!("{named} {}", elements.join(", "))
    });
    text.collect::<Vec<_>>().join("\n")
}

/// `ipset save` prints how its hash begins, which is drawn by lot, and what the size has come to.
fn without_seed(line: &str) -> String {
    let mut words = line.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if ["initval", "hashsize"].contains(&word) {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}
