//! `brindle-lab demo`: shows Brindle at work on real parts, then removes everything it made.

mod demo;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// A fabric in network namespaces, for demonstration.
#[derive(Parser)]
struct Arguments {
    /// Prefix of everything that is made, and the folder's name below /run.
    #[arg(long, global = true, default_value = "brindle-demo")]
    name: String,
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
    let Arguments { name, command } = Arguments::parse();
    match command {
        Command::Demo { keep } => demo::run(&name, keep),
        Command::Clean => demo::clean(&name),
    }
}
