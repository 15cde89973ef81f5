//! `brindlectl`: questions to a node's agent, and to an API server or a folder of objects without
//! one.
//!
//! The agent answers over its admin socket ([`brindle_model::admin`]). `explain` judges by the
//! objects themselves, from where the agent has them or from any other place, with the reference
//! evaluator: its clauses are the words of the answer. The compiler judges too, and a difference between the
//! two is an error that is told, never smoothed over.
//!
//! Exit codes: 0 yes or done, 1 failed, 2 wrong usage, 3 the answer is no (denied, not ready).

pub mod bgp;
pub mod cli;
pub mod client;
pub mod config;
pub mod dumps;
mod edits;
pub mod explain;
pub mod install;
pub mod ipam;
pub mod objects;
pub mod output;
pub mod packets;
pub mod place;
pub mod preflight;
pub mod status;
pub mod what_if;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cli::{BgpQuestion, Cli, Command, ConfigQuestion, ResourceKind};
use client::Client;

/// What a command has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// For standard output, with its last line end.
    pub text: String,
    /// How the process ends.
    pub exit: Exit,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: yes, or done.
    Yes,
    /// 1: the question could not be answered.
    Failed,
    /// 3: the answer is no. (2 is wrong usage.)
    No,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Yes => 0,
            Exit::Failed => 1,
            Exit::No => 3,
        })
    }
}

impl Answer {
    fn yes(text: String) -> Self {
        Self { text, exit: Exit::Yes }
    }
}

/// The program `brindlectl`: what the arguments of this process ask for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.check().unwrap_or_else(|error| error.exit());
    match run(&cli) {
        Ok(answer) => {
            print!("{}", answer.text);
            answer.exit.into()
        }
        Err(error) => {
            eprintln!("brindlectl: {error:#}");
            Exit::Failed.into()
        }
    }
}

/// Runs a command.
///
/// # Errors
/// The agent or the objects cannot be read, or do not know what was asked for.
pub fn run(cli: &Cli) -> Result<Answer> {
    let client = Client::new(cli.socket());
    let format = cli.output;
    match &cli.command {
        Command::Status { ready } => {
            let status = status::fetch(&client)?;
            let exit = if *ready && !status.ready { Exit::No } else { Exit::Yes };
            Ok(Answer { text: status::render(&status, format)?, exit })
        }
        Command::Sync { timeout } => {
            let synced = client.sync(*timeout)?;
            let text = output::render(format, &synced, || {
                format!("generation {} is enforced\n", synced.generation)
            });
            Ok(Answer::yes(text?))
        }
        Command::Get { kind, origin } => match kind {
            ResourceKind::Object(kind) => {
                let read = origin.place(&client)?.read()?;
                Ok(Answer::yes(objects::list(&read.changes, *kind, format)?))
            }
            ResourceKind::Dump(_) if origin.dir.is_some() => {
                anyhow::bail!("{kind} are an agent's; a folder has none")
            }
            ResourceKind::Dump(_) if origin.kubeconfig.is_some() => {
                anyhow::bail!("{kind} are an agent's; an API server has none")
            }
            ResourceKind::Dump(dump) => {
                let value = client.get(dump.path())?;
                Ok(Answer::yes(dumps::render(*dump, &value, format)?))
            }
        },
        Command::Explain(question) => {
            let read = question.origin.place(&client)?.read()?;
            let facts = explain::Facts::new(read, &question.edits)?;
            let answers = explain::explain(&facts, question)?;
            let delivered = answers.iter().all(|answer| answer.delivered);
            let exit = if delivered { Exit::Yes } else { Exit::No };
            Ok(Answer { text: explain::render(&answers, format)?, exit })
        }
        Command::WhatIf(question) => {
            let place = question.origin.place(&client)?;
            let changed = what_if::compare(place.read()?, question)?;
            let exit = if changed.is_empty() { Exit::Yes } else { Exit::No };
            Ok(Answer { text: what_if::render(&changed, format)?, exit })
        }
        Command::Bgp { peer, question } => {
            let peers = BgpQuestion::Peers { peer: peer.clone() };
            bgp::answer(&client, question.as_ref().unwrap_or(&peers), format)
        }
        Command::Drops { logged, follow: false } => {
            let found = packets::fetch(&client, *logged, 0)?;
            Ok(Answer::yes(packets::render(&found, format)?))
        }
        Command::Drops { logged, follow: true } => {
            let mut output = std::io::stdout();
            packets::follow(&client, *logged, format, |text| {
                output.write_all(text.as_bytes())?;
                Ok(output.flush()?)
            })?;
            Ok(Answer::yes(String::new()))
        }
        Command::Hits => {
            let hits = packets::fetch_hits(&client)?;
            Ok(Answer::yes(packets::render_hits(&hits, format)?))
        }
        Command::Install(install) => Ok(Answer::yes(install::run(install, format)?)),
        Command::Preflight { origin } => {
            let found = preflight::of_server(&origin.connection()?)?;
            let news = found.iter().any(preflight::Finding::is_news);
            let exit = if news { Exit::No } else { Exit::Yes };
            Ok(Answer { text: preflight::render(&found, format)?, exit })
        }
        Command::Config { question: ConfigQuestion::Show { origin } } => {
            let settings = match &cli.node {
                Some(node) if origin.is_given() => {
                    config::of_objects(node, &origin.place(&client)?.read()?)
                }
                _ => config::of_agent(&client)?,
            };
            Ok(Answer::yes(config::render(&settings, format)?))
        }
        Command::Ipam => {
            let value = client.get("/debug/ipam")?;
            Ok(Answer::yes(ipam::render(value, format)?))
        }
    }
}
