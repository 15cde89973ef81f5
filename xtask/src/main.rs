//! The project's tasks. The Makefile's targets are thin over these.
//!
//! This package depends on nothing of the workspace, so that a bare machine starts working a few
//! seconds after `make`.

mod build;
mod machine;
mod step;

use anyhow::Result;
use clap::{Parser, Subcommand};

use step::{Step, cargo};

/// Tasks of the project.
#[derive(Parser)]
struct Arguments {
    /// Which one.
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the lab of nodes, router, pods and policies, show it at work, remove it.
    Demo {
        /// Leave the lab up.
        #[arg(long)]
        keep: bool,
    },
    /// Remove what a kept or interrupted demo left.
    DemoClean,
    /// Everything that must hold: formatting, lints, licences, all tests.
    Test,
    /// Formatting, lints and licences only.
    Lint,
    /// Measure, and hold the figures against `benches/limits.toml`.
    Bench {
        /// A bench's name, or `all`.
        name: String,
    },
    /// Write Brindle's image as an OCI archive, without a container tool.
    Image,
    /// Write `manifests/brindle.yaml` from its pieces.
    Manifests,
    /// Build Kubernetes and the upstream suites into the cache, nothing else.
    Kubernetes,
    /// Bring up a real Kubernetes on this machine, with Brindle installed.
    Cluster {
        /// As of `brindle-cluster up`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Remove the cluster, or what a crash left of it.
    ClusterDown,
    /// Run the upstream suites on a cluster of their own.
    Conformance {
        /// As of `brindle-cluster conformance`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Faults, races and times on a real cluster of their own.
    Proofs {
        /// As of `brindle-cluster proofs`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The randomised tests again, for hours instead of minutes.
    Soak {
        /// Seconds for each decoder's fuzzing.
        #[arg(long, default_value_t = 600)]
        fuzz_seconds: u32,
        /// Generated worlds for the evaluators.
        #[arg(long, default_value_t = 1_000_000)]
        worlds: u32,
        /// Generated worlds for the kernel.
        #[arg(long, default_value_t = 1_500)]
        kernel_worlds: u32,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Demo { keep } => {
            machine::require_root()?;
            machine::install_packages(machine::DEMO_PACKAGES)?;
            build::binaries()?;
            let mut demo = Step::new(build::release("brindle-lab")).arg("demo");
            if keep {
                demo = demo.arg("--keep");
            }
            demo.run("the demo")
        }
        Task::DemoClean => {
            machine::require_root()?;
            build::binaries()?;
            Step::new(build::release("brindle-lab")).arg("clean").run("removing the demo")
        }
        Task::Lint => lint(),
        Task::Test => {
            machine::require_root()?;
            machine::install_packages(machine::TEST_PACKAGES)?;
            lint()?;
            build::binaries()?;
            nextest().env("BRINDLE_FUZZ_SECONDS", "20").run("the tests")
        }
        Task::Bench { name } => {
            machine::require_root()?;
            machine::install_packages(machine::TEST_PACKAGES)?;
            build::binaries()?;
            cargo(["run", "--release", "--quiet", "--package", "brindle-benches", "--"])
                .arg(&name)
                .run("the bench")
        }
        Task::Image => build::image().map(|archive| println!("{}", archive.display())),
        Task::Manifests => {
            cargo(["run", "--release", "--quiet", "--package", "brindle-packaging", "--"])
                .arg("manifests")
                .arg("--folder")
                .arg("manifests")
                .run("the manifest")
        }
        Task::Kubernetes => build::cluster()?.arg("build").run("building Kubernetes"),
        Task::Cluster { arguments } => on_cluster("up", &arguments),
        Task::ClusterDown => {
            machine::require_root()?;
            build::cluster()?.arg("down").run("removing the cluster")
        }
        Task::Conformance { arguments } => {
            machine::require_root()?;
            machine::install_packages(machine::TEST_PACKAGES)?;
            machine::install_tools()?;
            build::binaries()?;
            build::cluster()?.arg("build").run("building Kubernetes")?;
            // As in `make test`, so that nothing is compiled anew.
            nextest().arg("--run-ignored=only").run("the tests that need an API server")?;
            on_cluster("conformance", &arguments)
        }
        Task::Proofs { arguments } => on_cluster("proofs", &arguments),
        Task::Soak { fuzz_seconds, worlds, kernel_worlds } => {
            machine::require_root()?;
            machine::install_packages(machine::TEST_PACKAGES)?;
            machine::install_tools()?;
            build::binaries()?;
            nextest()
                .env("BRINDLE_FUZZ_SECONDS", &fuzz_seconds.to_string())
                .env("BRINDLE_L0_WORLDS", &worlds.to_string())
                .env("BRINDLE_KERNEL_WORLDS", &kernel_worlds.to_string())
                .arg("--profile")
                .arg("soak")
                .run("the soak")
        }
    }
}

/// A task of `brindle-cluster` that needs Brindle's image.
fn on_cluster(task: &str, arguments: &[String]) -> Result<()> {
    machine::require_root()?;
    machine::install_packages(machine::CLUSTER_PACKAGES)?;
    let image = build::image()?;
    let step = build::cluster()?.env("BRINDLE_IMAGE", &image.to_string_lossy()).arg(task);
    arguments.iter().fold(step, |step, argument| step.arg(argument)).run(task)
}

/// One runner for every test, so that its summary closes the run.
fn nextest() -> Step {
    cargo(["nextest", "run", "--workspace", "--release", "--no-fail-fast"])
}

fn lint() -> Result<()> {
    machine::install_tools()?;
    cargo(["fmt", "--all", "--check"]).run("the formatting")?;
    cargo(["clippy", "--workspace", "--all-targets", "--release", "--", "--deny", "warnings"])
        .run("the lints")?;
    cargo(["deny", "check", "licenses", "bans", "sources"]).run("licences and bans")
}
