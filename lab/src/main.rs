//! `brindle-lab demo`: shows Brindle at work on real parts, then removes everything it made.

mod demo;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// A fabric in network namespaces, for demonstration.
#[derive(Parser)]
struct Arguments {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the lab, show it at work, remove it.
    Demo {
        /// Leave the lab running, and print how to look around.
        #[arg(long)]
        keep: bool,
    },
    /// Remove what a kept or interrupted demo left.
    Clean,
}

fn main() -> Result<()> {
    let dir = PathBuf::from("/run/brindle-demo");
    match Arguments::parse().command {
        Command::Demo { keep } => demo::run(&dir, keep),
        Command::Clean => demo::clean(&dir),
    }
}
