//! A network namespace for one test, and the tools within it.

use brindle_dataplane_core::netns::Namespace;
use brindle_dataplane_iptables::Variant;
use std::process::Command;

/// The tables that may hold rules of ours.
pub const TABLES: [&str; 3] = ["raw", "mangle", "filter"];

/// Runs a test in a network namespace of its own.
pub fn isolated<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let namespace = Namespace::create().expect("a network namespace needs root");
    namespace.run(test).expect("the namespace can be entered")
}

/// Runs a program and returns what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("the program runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

/// The names of a variant's programs for both families, with an ending.
pub fn programs(variant: Variant, ending: &str) -> [String; 2] {
    ["iptables", "ip6tables"].map(|stem| format!("{stem}-{variant}{ending}"))
}

/// Rules and sets of the namespace, without what differs between equal ones: counters, dates, the
/// order of sets and elements, sizes of hash tables, and built-in chains without rules.
pub fn listing(variant: Variant) -> String {
    let mut text = String::new();
    for program in programs(variant, "-save") {
        for table in TABLES {
            for line in run(&program, &["-t", table]).lines() {
                let builtin = line.starts_with(":") && !line.contains(" - [");
                if !builtin && !line.starts_with(['#', '*']) && line != "COMMIT" {
                    text += &format!("{program} {table} {line}\n");
                }
            }
        }
    }
    let sets = run("ipset", &["save"]);
    let mut sets: Vec<_> = sets
        .lines()
        .map(|line| match line.starts_with("create") {
            true => line.split(" hashsize").next().unwrap_or(line),
            false => line,
        })
        .collect();
    sets.sort_unstable();
    text + &sets.join("\n")
}
