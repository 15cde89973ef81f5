//! What a virtual machine is to do, and what it answers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the tasks are in the machine: a JSON list of [`Task`].
pub const TASKS: &str = "/tasks.json";
/// Where the machine writes its answers: a JSON [`Answer`] a line.
pub const ANSWERS: &str = "/dev/ttyS1";

/// A program to run to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Who is told by the answer.
    pub name: String,
    /// The program: a path in the machine.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables of its environment, beside those that every program has.
    pub environment: BTreeMap<String, String>,
    /// A folder whose files are shown if the program fails.
    pub evidence: Option<PathBuf>,
}

/// A line of the answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// The machine is up.
    Booted {
        /// Its kernel, as `uname -r` says it.
        kernel: String,
    },
    /// A task has ended.
    Ended(Outcome),
}

/// How a task ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Its name.
    pub task: String,
    /// The program's exit code; none if a signal ended it, or if it could not be started.
    pub code: Option<i32>,
    /// How long it took by the machine's clock.
    pub seconds: f64,
    /// What it printed, or why it could not be started.
    pub output: String,
}
