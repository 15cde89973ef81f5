//! The command line of brindle-agent.

use std::process::ExitCode;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use crate::config::{Cli, Command, DataplaneOptions, RunOptions};
use crate::{heap, node_programs, probe, tasks, uninstall};

/// The program `brindle-agent`: what the arguments of this process ask for.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if let Some(program) = arguments.next().as_deref().and_then(node_programs::named) {
        eprintln!("{:#}", node_programs::become_program(&program, arguments));
        return ExitCode::FAILURE;
    }
    heap::limit_arenas();
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Run(options) => run(&options),
        Command::Probe(options) => probe(options),
        Command::Uninstall(options) => log(false).and_then(|()| uninstall::uninstall(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brindle-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &RunOptions) -> Result<()> {
    log(options.log_json)?;
    tasks::run(options)
}

fn probe(options: DataplaneOptions) -> Result<()> {
    options.check()?;
    let findings = probe::probe(options);
    findings.iter().for_each(|finding| println!("{finding}"));
    anyhow::ensure!(probe::suffices(&findings), "this kernel lacks something that is needed");
    Ok(())
}

/// Logs to standard error; `RUST_LOG` chooses, `info` unless it does.
fn log(json: bool) -> Result<()> {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env()
        .context("read RUST_LOG")?
        // Each request that fails, while the API server is away for hours: the watches say so once.
        .add_directive("kube_client::client::builder=off".parse()?);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if json { log.json().try_init() } else { log.with_ansi(false).try_init() };
    started.map_err(|error| anyhow::anyhow!(error)).context("start the log")
}
