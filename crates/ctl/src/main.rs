//! `brindlectl`.

use std::process::ExitCode;

use brindle_ctl::cli::Cli;
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.check().unwrap_or_else(|error| error.exit());
    match brindle_ctl::run(&cli) {
        Ok(answer) => {
            print!("{}", answer.text);
            answer.exit.into()
        }
        Err(error) => {
            eprintln!("brindlectl: {error:#}");
            brindle_ctl::Exit::Failed.into()
        }
    }
}
