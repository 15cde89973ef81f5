//! The command line of brindle-agent.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::{Cli, Command, DataplaneOptions, RunOptions};
use crate::{heap, log, node_programs, probe, tasks, uninstall};

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
        Command::Uninstall(options) => {
            log::start(false).and_then(|_| uninstall::uninstall(&options))
        }
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
    let log = log::start(options.log_json)?;
    tasks::run(options, log)
}

fn probe(options: DataplaneOptions) -> Result<()> {
    options.check()?;
    let findings = probe::probe(options);
    findings.iter().for_each(|finding| println!("{finding}"));
    anyhow::ensure!(probe::suffices(&findings), "this kernel lacks something that is needed");
    Ok(())
}
