//! What only a real cluster shows: faults, races and times, each with a verdict, on a cluster of their
//! own or at the edges of a conformance run.

mod api;
mod audit;
mod burst;
mod chaos;
mod faults;
mod figures;
pub mod plugin_timer;
mod pods;
mod report;
mod security;
mod snapshot;
pub mod start_race;
mod uninstall;
mod verdicts;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use brindle_lab::process::wait_until;
use clap::ValueEnum;

use crate::kubectl::Kubectl;
use crate::lifecycle::{self, Shape};
use crate::network::{self, Network};
use crate::node::configuration::ProxyMode;
use crate::paths::{Cache, Paths};
use crate::plan::Family;
use crate::{go, images, node, plan, smoke};

pub use report::Row;
use snapshot::Snapshot;

/// One of them, in the order in which they are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Proof {
    /// Who may reach sockets and debug endpoints.
    Security,
    /// Packets while agents, operator, control plane and a node's daemons are killed.
    Chaos,
    /// Pods that connect the moment they start.
    StartRace,
    /// Thirty pods at once on one node: how long the plugin takes, and what it asks of the API server.
    Burst,
    /// Time from the API server's answer to the first packet with the new verdict.
    Verdicts,
    /// What is left after the Installation is deleted. Needs a cluster that was empty before.
    Uninstall,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Security => "security",
            Self::Chaos => "chaos",
            Self::StartRace => "start race",
            Self::Burst => "burst of pods",
            Self::Verdicts => "time to a verdict",
            Self::Uninstall => "uninstall",
        })
    }
}

/// What to prove, and on what.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The cluster.
    #[command(flatten)]
    pub shape: Shape,
    /// The proofs; all unless said. May be given more than once.
    #[arg(long, value_enum)]
    pub proof: Vec<Proof>,
    /// Where results go; those of proofs that are not run again stay for the report.
    #[arg(long, default_value = "target/proofs")]
    pub logs: PathBuf,
    /// Write a report, in Markdown, here.
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Leave the cluster up.
    #[arg(long)]
    pub keep: bool,
    /// On the cluster that is up and stays; it is as the other options say.
    #[arg(long)]
    pub here: bool,
}

/// A cluster on which something is proven.
pub struct Stage<'a> {
    /// The programs.
    pub cache: &'a Cache,
    /// Its files.
    pub paths: &'a Paths,
    /// Its administrator.
    pub kubectl: Kubectl,
    /// What it is.
    pub shape: Shape,
}

impl<'a> Stage<'a> {
    /// The cluster that is up.
    pub fn here(cache: &'a Cache, paths: &'a Paths, shape: Shape) -> Self {
        Self { cache, paths, kubectl: Kubectl::new(cache, paths), shape }
    }

    /// Brings a cluster up, and remembers how its nodes were before Brindle.
    ///
    /// # Errors
    /// As [`lifecycle::up`].
    pub fn raise(cache: &'a Cache, paths: &'a Paths, shape: Shape) -> Result<Self> {
        lifecycle::up_without_network(cache, paths, shape)?;
        let stage = Self::here(cache, paths, shape);
        if shape.network == Network::Brindle {
            for (index, snapshot) in (1..).zip(stage.bare_nodes()?) {
                snapshot.keep(&paths.node(index))?;
            }
        }
        lifecycle::install(cache, paths, shape)?;
        Ok(stage)
    }

    /// Numbers of its nodes, from 1.
    pub fn nodes(&self) -> std::ops::RangeInclusive<usize> {
        1..=usize::from(self.shape.nodes)
    }

    /// Nodes without a network, once what is not of a network is there.
    fn bare_nodes(&self) -> Result<Vec<Snapshot>> {
        if self.shape.proxy_mode == ProxyMode::Nftables {
            for (index, family) in
                self.nodes().flat_map(|i| self.shape.families.each().iter().map(move |f| (i, *f)))
            {
                let table = match family {
                    Family::V4 => "table table ip kube-proxy",
                    Family::V6 => "table table ip6 kube-proxy",
                };
                wait_until(Duration::from_secs(60), "kube-proxy's tables", || {
                    Ok(Snapshot::take(index)?.has(table))
                })?;
            }
        }
        self.snapshots()
    }

    /// Nodes as they were before Brindle.
    fn before(&self) -> Result<Vec<Snapshot>> {
        self.nodes().map(|index| Snapshot::kept(&self.paths.node(index))).collect()
    }

    fn snapshots(&self) -> Result<Vec<Snapshot>> {
        self.nodes().map(Snapshot::take).collect()
    }

    /// Runs one proof and keeps its rows in `logs`.
    ///
    /// # Errors
    /// It could not be run to its end; a row that does not hold is a result.
    pub fn prove(&self, proof: Proof, logs: &std::path::Path) -> Result<Vec<Row>> {
        fs::create_dir_all(logs).with_context(|| format!("make {}", logs.display()))?;
        eprintln!("==> {proof}");
        let start = Instant::now();
        let rows = match proof {
            Proof::Security => security::run(self),
            Proof::Chaos => chaos::run(self),
            Proof::StartRace => start_race::run(self),
            Proof::Burst => burst::run(self),
            Proof::Verdicts => verdicts::run(self),
            Proof::Uninstall => uninstall::run(self),
        };
        let rows = rows.with_context(|| proof.to_string())?;
        rows.iter().for_each(|row| eprintln!("    {row}"));
        eprintln!("    {proof}: {:.0} s", start.elapsed().as_secs_f64());
        report::keep(logs, proof, &rows, start.elapsed())?;
        Ok(rows)
    }

    /// The image of this program itself, on every node; returns its name.
    fn prober(&self) -> Result<String> {
        let archive = self.paths.root().join("prober.tar");
        let name = images::prober(&archive)?;
        self.nodes().try_for_each(|index| node::import_image(&archive, index))?;
        Ok(name)
    }
}

/// Runs the proofs and judges them.
///
/// # Errors
/// One cannot be run, or a row does not hold.
pub fn run(cache: &Cache, paths: &Paths, options: &Options) -> Result<()> {
    ensure!(options.shape.network == Network::Brindle, "there is nothing to prove of others");
    go::build(cache, false)?;
    let result = if options.here {
        prove_all(&Stage::here(cache, paths, options.shape), options)
    } else {
        let stage = Stage::raise(cache, paths, options.shape);
        let result = stage.and_then(|stage| prove_all(&stage, options));
        if let Err(error) = crate::conformance::save_logs(paths, &options.logs) {
            eprintln!("the cluster's logs could not be kept: {error:#}");
        }
        if !options.keep {
            lifecycle::down(paths)?;
        }
        result
    };
    if let Some(path) = &options.report {
        let text = report::markdown(options.shape, &options.logs)?;
        fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    judge(&result?)
}

fn prove_all(stage: &Stage<'_>, options: &Options) -> Result<Vec<Row>> {
    // Its pods give each node a block, which the router then knows.
    smoke::run(&stage.kubectl)?;
    network::wait_for_routes(stage.paths, usize::from(stage.shape.nodes))?;
    let mut chosen = options.proof.clone();
    if chosen.is_empty() {
        chosen = Proof::value_variants().to_vec();
    }
    // What takes the network away comes last.
    chosen.sort();
    let mut rows = Vec::new();
    for proof in chosen {
        rows.extend(stage.prove(proof, &options.logs)?);
    }
    Ok(rows)
}

/// Whether every row is as it must be.
///
/// # Errors
/// One is not; the message has them all.
pub fn judge(rows: &[Row]) -> Result<()> {
    let broken: Vec<_> = rows.iter().filter(|row| row.holds == Some(false)).collect();
    let texts: Vec<_> = broken.iter().map(ToString::to_string).collect();
    ensure!(broken.is_empty(), "{}", texts.join("\n"));
    Ok(())
}

/// The first process of each node may have its namespaces entered by this name.
fn node_netns(index: usize) -> brindle_lab::netns::Netns {
    brindle_lab::netns::Netns::existing(&plan::node_netns(index))
}
