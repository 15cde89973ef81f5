//! The sources, from YAML text to inputs, and from a real folder to events and status.

mod agent_configuration;
mod bad_input;
mod bgp;
mod cluster_network_policy;
mod directory;
mod follow;
mod host_endpoint;
mod kubernetes_policy;
mod mutations;
mod objects;
mod policy_rule;
mod relations;
mod rendered;
mod status;
mod tiered_policy;

use brindle_sources::convert::Input;
use brindle_sources::problem::{Problem, Severity};

/// The one object of a YAML text: its input, and its problems as lines, warnings marked.
fn convert(yaml: &str) -> (Option<Input>, Vec<String>) {
    let mut conversions = brindle_sources::decode_stream(yaml.as_bytes());
    assert_eq!(conversions.len(), 1, "not one object of ours: {yaml}");
    let (_, conversion) = conversions.remove(0);
    (conversion.input, conversion.problems.iter().map(line).collect())
}

fn accepted(yaml: &str) -> Input {
    match convert(yaml) {
        (Some(input), problems) if problems.is_empty() => input,
        other => panic!("{other:?} of {yaml}"),
    }
}

fn line(problem: &Problem) -> String {
    match problem.severity {
        Severity::Error => problem.to_string(),
        Severity::Warning => format!("warning: {problem}"),
    }
}
