//! `brindlectl bgp why`: every step of a prefix from origin to wire, both directions.

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::output::{self, Format};
use crate::{Answer, Exit};

/// Body of `/debug/bgp/why`.
#[derive(Debug, Deserialize)]
struct Report {
    asked: IpNet,
    prefix: IpNet,
    inward: Vec<Trace>,
    outward: Vec<Trace>,
    remark: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Trace {
    peer: String,
    arrives: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    step: String,
    passed: bool,
    detail: String,
}

/// Writes the steps. The answer is no if the prefix gets through nowhere, neither to a neighbour
/// nor from one.
///
/// # Errors
/// The answer has another shape, or cannot be written in the format.
pub fn render(value: &Value, format: Format) -> Result<Answer> {
    let report = Report::deserialize(value).context("the agent's answer about a prefix")?;
    let arrives = report.inward.iter().chain(&report.outward).any(|trace| trace.arrives);
    let text = output::render(format, value, || table(&report))?;
    Ok(Answer { text, exit: if arrives { Exit::Yes } else { Exit::No } })
}

fn table(report: &Report) -> String {
    let mut text = report.prefix.to_string();
    if report.asked != report.prefix {
        text += &format!(", which contains {}", report.asked);
    }
    text += "\n";
    if let Some(remark) = &report.remark {
        text += &format!("{remark}\n");
    }
    let directions = [("to", &report.outward), ("from", &report.inward)];
    if directions.iter().all(|(_, traces)| traces.is_empty()) {
        text += "\nthere is no neighbour; see `brindlectl bgp`\n";
    }
    for (direction, traces) in directions {
        for trace in traces {
            let outcome = match trace.arrives {
                true => "gets through",
                false => "is stopped",
            };
            text += &format!("\n{direction} {}: {outcome}\n", trace.peer);
            let width = trace.steps.iter().map(|step| step.step.len()).max().unwrap_or(0);
            for Step { step, passed, detail } in &trace.steps {
                let mark = if *passed { "ok  " } else { "stop" };
                text += &format!("  {mark}  {step:width$}  {detail}\n");
            }
        }
    }
    text
}
