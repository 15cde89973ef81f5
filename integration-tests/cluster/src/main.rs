//! A real Kubernetes on one machine, and the upstream suites on it.
//!
//! [`go`] builds Kubernetes, [`images`] what its pods run; [`lifecycle`] brings a cluster up of
//! [`fabric`] (segment and router), [`control_plane`] and [`node`]s, with a [`network`], and takes
//! it down; [`smoke`] looks whether pods reach each other, [`conformance`] runs the [`suites`],
//! [`proofs`] what no suite has.

mod backend;
mod cgroups;
mod conformance;
mod control_plane;
mod fabric;
mod go;
mod images;
mod kubectl;
mod lifecycle;
mod machine;
mod network;
mod node;
mod paths;
mod pki;
mod plan;
mod proofs;
mod smoke;
mod suites;
mod versions;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::kubectl::Kubectl;
use crate::lifecycle::Shape;
use crate::paths::{Cache, Paths};
use crate::plan::Families;

/// A real Kubernetes on one machine.
#[derive(Parser)]
struct Arguments {
    /// What to do.
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build Kubernetes and the suites, as far as they are not in the cache.
    Build,
    /// Bring a cluster up.
    Up(Shape),
    /// Remove it, or what a crash left of it.
    Down,
    /// Pods on every node, each to each, by service and by name.
    Smoke,
    /// The upstream suites on a cluster of their own.
    Conformance(conformance::Options),
    /// The upstream suites on the cluster that is up, which is as the options say.
    Suites(conformance::Options),
    /// The report alone, over the output that suites left.
    Report(conformance::Options),
    /// What only a real cluster shows: faults, races, times; on a cluster of their own.
    Proofs(proofs::Options),
    /// Run a command inside a node.
    Exec {
        /// Its number, from 1.
        node: usize,
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// The first process of a node; started by `up`.
    #[command(hide = true)]
    Node {
        #[arg(long)]
        root: PathBuf,
        #[arg(long)]
        programs: PathBuf,
        #[arg(long, value_enum)]
        families: Families,
        #[arg(long)]
        index: usize,
    },
    /// What runs in the pods of the start race.
    #[command(hide = true)]
    Connect {
        #[arg(long)]
        target: Vec<String>,
    },
    /// Stands before the CNI plugin of a node.
    #[command(hide = true)]
    Plugin {
        #[arg(long)]
        log: PathBuf,
        plugin: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    let paths = Paths::from_environment();
    let done = match Arguments::parse().task {
        // Its exit code is the plugin's.
        Task::Plugin { log, plugin } => return proofs::plugin_timer::call(&log, &plugin),
        Task::Connect { target } => proofs::start_race::client::run(&target),
        Task::Proofs(options) => proofs::run(&Cache::open()?, &paths, &options),
        Task::Build => go::build(&Cache::open()?, true),
        Task::Up(shape) => {
            let cache = Cache::open()?;
            go::build(&cache, false)?;
            lifecycle::up(&cache, &paths, shape)?;
            println!("{} get pods -A", paths.kubectl().display());
            Ok(())
        }
        Task::Down => lifecycle::down(&paths),
        Task::Smoke => smoke::run(&Kubectl::new(&Cache::open()?, &paths)),
        Task::Conformance(options) => conformance::run(&Cache::open()?, &paths, &options),
        Task::Suites(options) => {
            let cache = Cache::open()?;
            go::build(&cache, true)?;
            options.selection.run(&cache, &paths, options.shape.families)?;
            options.write_report()
        }
        Task::Report(options) => options.write_report(),
        Task::Exec { node, command } => {
            let mut inside = node::enter(node, &command[0])?;
            Err(inside.args(&command[1..]).exec()).context("start nsenter")
        }
        Task::Node { root, programs, families, index } => {
            node::init::run(&Paths::at(root), &programs, families, index)
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}
