//! The upstream suites on a cluster of their own, and the verdict over them.

mod report;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::lifecycle::{self, Shape};
use crate::network::{self, Network};
use crate::paths::{Cache, Paths};
use crate::plan::Families;
use crate::proofs::{self, Proof, Row, Stage};
use crate::suites::{self, Outcome, Results, Suite};
use crate::{go, plan, smoke};

/// Which suites to run, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    /// The suites; unless said, all that the cluster's families allow. May be given more than once.
    #[arg(long, value_enum)]
    pub suite: Vec<Suite>,
    /// How many tests run at a time.
    #[arg(long, default_value_t = 4)]
    pub processes: u8,
    /// Where the suites' output goes.
    #[arg(long, default_value = "target/conformance")]
    pub logs: PathBuf,
}

impl Selection {
    /// Runs them on the cluster that is up, which has these families.
    ///
    /// # Errors
    /// One cannot be run; a test that fails is a result.
    pub fn run(&self, cache: &Cache, paths: &Paths, families: Families) -> Result<Vec<Results>> {
        let logs = self.logs()?;
        let fits = |suite: &&Suite| families == Families::Dual || **suite != Suite::DualStack;
        let all: Vec<_> = Suite::value_variants().iter().filter(fits).copied().collect();
        let chosen = if self.suite.is_empty() { &all } else { &self.suite };
        let run = |suite: &Suite| suites::run(*suite, cache, paths, &logs, self.processes);
        chosen.iter().map(run).collect()
    }

    /// The folder of the output, made.
    fn logs(&self) -> Result<PathBuf> {
        fs::create_dir_all(&self.logs).with_context(|| format!("make {}", self.logs.display()))?;
        Ok(self.logs.canonicalize()?)
    }
}

/// What to run, and on what.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The cluster. Network `ptp` enforces nothing: a control run, which passes when the suites of
    /// policy have tests that fail, and the others have none.
    #[command(flatten)]
    pub shape: Shape,
    /// The suites.
    #[command(flatten)]
    pub selection: Selection,
    /// Write a report, in Markdown, here.
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Leave the cluster up.
    #[arg(long)]
    pub keep: bool,
    /// Proofs to run as well: before the suites, and `uninstall` after them. May be given more than
    /// once.
    #[arg(long, value_enum)]
    pub proof: Vec<Proof>,
}

impl Options {
    /// Writes the report over what the suites left in the logs, if one is asked for.
    ///
    /// # Errors
    /// A suite ended early, or the report cannot be written.
    pub fn write_report(&self) -> Result<()> {
        let Some(path) = &self.report else { return Ok(()) };
        let logs = self.selection.logs()?;
        let read = |suite: &Suite| suites::read(*suite, &logs).transpose();
        let results: Vec<Results> =
            Suite::value_variants().iter().filter_map(read).collect::<Result<_>>()?;
        fs::write(path, report::markdown(self, &results))
            .with_context(|| format!("write {}", path.display()))
    }
}

/// Brings a cluster up, runs the suites, takes it down.
///
/// # Errors
/// Something fails that must pass, or a control run fails to fail.
pub fn run(cache: &Cache, paths: &Paths, options: &Options) -> Result<()> {
    go::build(cache, true)?;
    let shape = options.shape;
    ensure!(shape.network != Network::None, "the suites need a network");
    let of_ours = shape.network == Network::Brindle || options.proof.is_empty();
    ensure!(of_ours, "there is nothing to prove of network {}", shape.network);
    let logs = options.selection.logs()?;
    suites::forget(&logs);
    let result = on_cluster(cache, paths, options);
    if let Err(error) = save_logs(paths, &logs) {
        eprintln!("the cluster's logs could not be kept: {error:#}");
    }
    if !options.keep {
        lifecycle::down(paths)?;
    }
    let (results, rows) = result?;
    options.write_report()?;
    proofs::judge(&rows)?;
    judge(shape.network, &results)
}

fn on_cluster(cache: &Cache, paths: &Paths, options: &Options) -> Result<(Vec<Results>, Vec<Row>)> {
    let stage = Stage::raise(cache, paths, options.shape)?;
    smoke::run(&stage.kubectl)?;
    if options.shape.network == Network::Brindle {
        network::wait_for_routes(paths, usize::from(options.shape.nodes))?;
    }
    let mut rows = Vec::new();
    let is_last = |proof: &&Proof| **proof == Proof::Uninstall;
    for proof in options.proof.iter().filter(|proof| !is_last(proof)) {
        rows.extend(stage.prove(*proof, &options.selection.logs)?);
    }
    let results = options.selection.run(cache, paths, options.shape.families)?;
    for proof in options.proof.iter().filter(is_last) {
        rows.extend(stage.prove(*proof, &options.selection.logs)?);
    }
    Ok((results, rows))
}

/// Whether the results are as they must be.
fn judge(network: Network, results: &[Results]) -> Result<()> {
    let mut broken = Vec::new();
    for results in results {
        let mut failed = 0;
        for test in &results.tests {
            if let Outcome::Failed(how) = &test.outcome {
                eprintln!("FAILED {}: {}", test.name, how.lines().next().unwrap_or_default());
                failed += 1;
            }
        }
        let suite = results.suite;
        let enforced = network == Network::Brindle || !suite.needs_enforcement();
        match failed {
            0 if !enforced => broken.push(format!("{suite}: none failed without enforcement")),
            0 => {}
            _ if enforced => broken.push(format!("{suite}: {failed} failed")),
            _ => eprintln!("{suite}: {failed} failed without enforcement, as they must"),
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join(", "));
    Ok(())
}

/// Keeps the logs of control plane, router and nodes beside the suites' own.
///
/// # Errors
/// A file cannot be copied.
pub fn save_logs(paths: &Paths, logs: &Path) -> Result<()> {
    let copy = |from: PathBuf, to: PathBuf| -> Result<()> {
        let Ok(entries) = fs::read_dir(&from) else { return Ok(()) };
        fs::create_dir_all(&to)?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    };
    copy(paths.logs(), logs.join("control-plane"))?;
    for index in 1..=9 {
        copy(paths.node(index).join("log"), logs.join(plan::node_name(index)))?;
        let pods = paths.node(index).join("pod-logs");
        for pod in fs::read_dir(&pods).into_iter().flatten().flatten() {
            let name = pod.file_name().to_string_lossy().into_owned();
            if name.starts_with(network::NAMESPACE) {
                let to = logs.join(plan::node_name(index)).join("agent");
                copy(pod.path().join("agent"), to)?;
            }
        }
    }
    Ok(())
}
