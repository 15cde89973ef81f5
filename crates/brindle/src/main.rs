//! The image's one program. It is whom it is called: `brindle-operator`, `brindlectl`, and
//! `brindle-agent` under every other name, since the agent has names of its own
//! ([`brindle_agent::node_programs`]).
//!
//! They share nearly all that is linked into them, so that one program is a third of three.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("brindle-operator") => brindle_operator::cli::main(),
        Some("brindlectl") => brindle_ctl::main(),
        _ => brindle_agent::cli::main(),
    }
}
