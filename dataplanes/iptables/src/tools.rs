//! The programs: which there are, and running them.
//!
//! They work in the network namespace of the calling thread, as the kernel sees it.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::process::{Command, Stdio};

use brindle_model::net::Family;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::config::Variant;
use crate::disturbed::OwnProcesses;

/// Seconds that the legacy programs wait for another program that holds the lock of ip_tables.
const LOCK_SECONDS: &str = "10";

/// A program could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("cannot run {program}: install it (Debian packages iptables and ipset)")]
    Start {
        /// Which one.
        program: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It failed.
    #[error("{program} failed: {message}{}", object.as_ref().map(|o| format!(", at `{o}`")).unwrap_or_default())]
    Failed {
        /// Which one.
        program: String,
        /// What it said.
        message: String,
        /// The line of its input that it named.
        object: Option<String>,
    },
}

/// The programs of a variant.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The variant.
    pub variant: Variant,
    /// Which programs changed rules for us.
    pub own: OwnProcesses,
    /// What the name of each program begins with: `iptables-nft` or `iptables`, say, in the order
    /// of [`Family::ALL`].
    stems: [String; 2],
}

/// Runs a program to its end, and returns what it printed.
///
/// # Errors
/// It cannot be started, or fails.
pub fn run(program: &str, args: &[&str], input: &str) -> Result<String, ToolError> {
    run_known(program, args, input, |_| {})
}

/// As [`run`]; `started` is told the number of the process.
fn run_known(
    program: &str,
    args: &[&str],
    input: &str,
    started: impl FnOnce(u32),
) -> Result<String, ToolError> {
    let start = |source| ToolError::Start { program: program.to_owned(), source };
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::from(whole(input).map_err(start)?))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    started(child.id());
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let message: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let object = message.iter().find_map(|text| named_line(text, input)).map(str::to_owned);
    let message = match message.join("; ") {
        message if message.is_empty() => output.status.to_string(),
        message => message,
    };
    Err(ToolError::Failed { program: program.to_owned(), message, object })
}

/// A file that holds the input. A pipe would end wherever it stands when the agent is killed, and
/// `ipset` takes half a line for a whole one: a prefix of half its length.
fn whole(input: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"brindle", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// The line of the input whose number a message gives: "line 7 failed", "Error in line 7:".
fn named_line<'a>(message: &str, input: &'a str) -> Option<&'a str> {
    let (_, rest) = message.split_once("line")?;
    let digits: String =
        rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    let line = input.lines().nth(digits.parse::<usize>().ok()?.checked_sub(1)?)?;
    // The kernel refuses a table as a whole, which says nothing.
    (line != "COMMIT").then_some(line)
}

impl Tools {
    /// Finds the programs of a variant: by their full names, else by the plain ones if those are of
    /// the variant.
    ///
    /// # Errors
    /// There are none.
    pub fn find(variant: Variant) -> Result<Self, ToolError> {
        let full = format!("iptables-{variant}");
        let plain = "iptables".to_owned();
        let missing = match version(&full) {
            Ok(_) => return Ok(Self::named(variant, &full)),
            Err(error) => error,
        };
        match version(&plain) {
            Ok(found) if found == variant => Ok(Self::named(variant, &plain)),
            _ => Err(missing),
        }
    }

    fn named(variant: Variant, stem: &str) -> Self {
        let own = OwnProcesses::default();
        Self { variant, own, stems: [stem.to_owned(), stem.replacen("ip", "ip6", 1)] }
    }

    fn stem(&self, family: Family) -> &str {
        match family {
            Family::V4 => &self.stems[0],
            Family::V6 => &self.stems[1],
        }
    }

    /// Changes the tables of a family as a script says, each at once.
    ///
    /// # Errors
    /// The program or the kernel refused.
    pub fn restore(&self, family: Family, script: &str) -> Result<(), ToolError> {
        let program = format!("{}-restore", self.stem(family));
        let note = |process| self.own.note(process);
        run_known(&program, &["--noflush", "-w", LOCK_SECONDS], script, note).map(drop)
    }

    /// Prints a table of a family, with counters if they are wanted.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn save(
        &self,
        family: Family,
        table: impl Display,
        counters: bool,
    ) -> Result<String, ToolError> {
        let program = format!("{}-save", self.stem(family));
        let table = &*table.to_string();
        let args: &[&str] = if counters { &["-c", "-t", table] } else { &["-t", table] };
        run(&program, args, "")
    }
}

/// Changes sets as a script says, line by line. What is already so is no error.
///
/// # Errors
/// As [`Tools::restore`].
pub fn restore_sets(script: &str) -> Result<(), ToolError> {
    run("ipset", &["restore", "-exist"], script).map(drop)
}

/// Prints all sets.
///
/// # Errors
/// As [`Tools::restore`].
pub fn save_sets() -> Result<String, ToolError> {
    run("ipset", &["save"], "")
}

/// Which variant a program is; before 1.8 it did not say, and there was one.
fn version(program: &str) -> Result<Variant, ToolError> {
    let text = run(program, &["--version"], "")?;
    Ok(if text.contains("nf_tables") { Variant::Nft } else { Variant::Legacy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_their_line() {
        let input = "*filter\n-A X -j Y\nCOMMIT\n";
        for message in [
            "iptables-restore v1.8.9 (nf_tables): line 2: RULE_APPEND failed",
            "Error in line 2: no",
        ] {
            assert_eq!(named_line(message, input), Some("-A X -j Y"));
        }
        assert_eq!(named_line("iptables-restore: line 3 failed", input), None, "COMMIT");
        assert_eq!(named_line("no set", input), None);
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = run("iptables-of-nobody", &[], "").unwrap_err().to_string();
        assert!(error.contains("iptables-of-nobody"), "{error}");
    }
}
