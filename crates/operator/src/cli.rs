//! The command line of brindle-operator.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::leader;
use crate::options::Options;

/// The program `brindle-operator`: what the arguments of this process ask for.
pub fn main() -> ExitCode {
    let options = Options::parse();
    match log(options.log_json).and_then(|()| leader::run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brindle-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
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
