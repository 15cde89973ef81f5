//! The CNI plugin binary.

use std::io::{Read, Write};
use std::process::ExitCode;

use brindle_cni::plugin::{self, MAX_STDIN};

fn main() -> ExitCode {
    let mut stdin = Vec::new();
    let read = std::io::stdin().lock().take(MAX_STDIN as u64 + 1).read_to_end(&mut stdin);
    let output = plugin::run(|name| std::env::var_os(name), read.map(|_| stdin.as_slice()));
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(output.stdout.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Ok(()) if output.success => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
