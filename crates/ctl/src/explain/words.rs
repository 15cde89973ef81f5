//! Verdicts and clauses in words.

use std::fmt::Write;

use brindle_model::policy::DEFAULT_TIER;
use brindle_model::verdict::{DecisionId, Direction, Verdict};
use brindle_oracle::{Miss, Place, Step};

use super::{Clause, Closest, Explanation, HopExplanation, Judge, Judged, ThroughService};

/// Most failed criteria of the closest rule that are shown to a person.
const SHOWN_FAILURES: usize = 4;

/// Why a hop ends as it does.
pub(super) fn reason(hop: &Judged<'_>) -> String {
    match &hop.decision {
        DecisionId::Rule { .. } if hop.verdict == Verdict::Allow => {
            format!("{} admits it", hop.decision)
        }
        DecisionId::Rule { .. } => format!("{} denies it", hop.decision),
        DecisionId::Profile { .. } | DecisionId::NoProfile => match &*governing(hop) {
            [] if hop.verdict == Verdict::Deny => {
                format!("no policy governs {}, and it has no profile that opens it", hop.judge)
            }
            [] => format!("no policy isolates {} for {}", hop.judge, hop.direction),
            policies => format!("governed by {}; none of them decides", policies.join(", ")),
        },
        DecisionId::TierEnd { tier } if **tier == *DEFAULT_TIER => {
            format!("isolated by {}; no rule admits it", governing(hop).join(", "))
        }
        DecisionId::TierEnd { tier } => {
            let policies = governing(hop).join(", ");
            format!("governed by {policies}; no rule decides, and tier {tier} ends in Deny")
        }
        other => match hop.trace.last() {
            Some(step) => format!("{other}: {}", step.words),
            None => other.to_string(),
        },
    }
}

/// The policies that apply at a hop; those that are staged do not.
fn governing(hop: &Judged<'_>) -> Vec<String> {
    let applied = hop.trace.iter().filter(|step| step.matched);
    let policies = applied.filter_map(|step| match &step.place {
        Place::Policy(policy) if !policy.kind.is_staged() => Some(policy.to_string()),
        _ => None,
    });
    policies.collect()
}

/// The rule that came closest.
pub(super) fn closest(miss: &Miss, direction: Direction) -> Closest {
    let failed =
        miss.failed.iter().map(|step| format!("{}: {}", place(&step.place, direction), step.words));
    Closest {
        rule: format!("{} {direction} rule {}", miss.policy, miss.rule),
        failed: failed.collect(),
    }
}

/// Every clause, each rule before its entries.
pub(super) fn walk(trace: &[Step], direction: Direction) -> Vec<Clause> {
    let mut walk = Vec::new();
    let mut entries = Vec::new();
    for step in trace {
        let clause = clause(step, direction);
        match step.place {
            Place::Peers { .. } | Place::Ports { .. } | Place::Criterion { .. } => {
                entries.push(clause);
            }
            Place::Rule { .. } => {
                walk.push(clause);
                walk.append(&mut entries);
            }
            Place::Hop | Place::Tier(_) | Place::Policy(_) => walk.push(clause),
        }
    }
    walk
}

fn clause(step: &Step, direction: Direction) -> Clause {
    let depth = match step.place {
        Place::Hop | Place::Tier(_) | Place::Policy(_) => 0,
        Place::Rule { .. } => 1,
        Place::Peers { .. } | Place::Ports { .. } | Place::Criterion { .. } => 2,
    };
    Clause {
        clause: step.rule.into(),
        place: place(&step.place, direction),
        matched: step.matched,
        words: step.words.to_string(),
        depth,
    }
}

/// A place as the user's YAML names it, below the policy.
fn place(place: &Place, direction: Direction) -> String {
    let entry = |list: &str, entry: Option<usize>| match entry {
        Some(entry) => format!("{list}[{entry}]"),
        None => list.to_owned(),
    };
    match place {
        Place::Hop => "hop".into(),
        Place::Tier(tier) => format!("tier {tier}"),
        Place::Policy(policy) => policy.to_string(),
        Place::Rule { rule, .. } => format!("{direction} rule {rule}"),
        Place::Peers { entry: at, .. } => match direction {
            Direction::Ingress => entry("from", *at),
            Direction::Egress => entry("to", *at),
        },
        Place::Ports { entry: at, .. } => entry("ports", *at),
        Place::Criterion { criterion, .. } => criterion.clone(),
    }
}

/// Answers for people. Where the second family is decided as the first one, it is not spelt out
/// again.
pub(super) fn texts(answers: &[Explanation]) -> String {
    let mut texts: Vec<_> = summary(answers).into_iter().collect();
    for (i, answer) in answers.iter().enumerate() {
        let alike = i > 0 && decisions(answer) == decisions(&answers[0]);
        let mut text = headline(answer);
        if alike {
            text += "  decided likewise\n";
        } else {
            text += &body(answer);
        }
        texts.push(text);
    }
    texts.join("\n")
}

/// How many backends of a Service can be reached, if it has several.
fn summary(answers: &[Explanation]) -> Option<String> {
    let [Explanation { through: Some(service), .. }, _, ..] = answers else { return None };
    let reached = answers.iter().filter(|answer| answer.delivered).count();
    let all = answers.len();
    let ThroughService { service, port, .. } = service;
    Some(format!("{reached} of {all} ready backends of svc/{service} {port} can be reached\n"))
}

fn decisions(answer: &Explanation) -> Vec<(&Judge, &str, &DecisionId)> {
    answer.hops.iter().map(|hop| (&hop.judge, &*hop.direction, &hop.decision)).collect()
}

fn headline(answer: &Explanation) -> String {
    let named = |end: &str, address: std::net::IpAddr| {
        let address = address.to_string();
        if end == address { address } else { format!("{end} ({address})") }
    };
    let verdict = if answer.delivered { "allowed" } else { "DENIED" };
    let from = named(&answer.from, answer.source);
    let Some(ThroughService { service, port, backend }) = &answer.through else {
        let to = named(&answer.to, answer.destination);
        return format!("{from} -> {to}, {}: {verdict}\n", answer.port);
    };
    let behind = answer.destination.to_string();
    let backend = named(backend.as_deref().unwrap_or(&behind), answer.destination);
    format!("{from} -> svc/{service} {port} -> {backend}, {}: {verdict}\n", answer.port)
}

fn body(answer: &Explanation) -> String {
    let mut text = String::new();
    if answer.hops.is_empty() {
        text += "  policy has no say: neither end is a pod, or the pod talks to itself\n";
    }
    for hop in &answer.hops {
        // Writing to a string does not fail.
        let _ = hop_text(&mut text, hop);
    }
    text
}

fn hop_text(text: &mut String, hop: &HopExplanation) -> std::fmt::Result {
    let node = hop.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
    writeln!(text, "  {} of {}{node}: {}", hop.direction, hop.judge, hop.verdict)?;
    writeln!(text, "    {}", hop.reason)?;
    if let Some(closest) = &hop.closest {
        writeln!(text, "    closest: {}", closest.rule)?;
        for failed in closest.failed.iter().take(SHOWN_FAILURES) {
            writeln!(text, "      {failed}")?;
        }
        if closest.failed.len() > SHOWN_FAILURES {
            writeln!(text, "      and {} more", closest.failed.len() - SHOWN_FAILURES)?;
        }
    }
    walk_text(text, &hop.walk)
}

/// The clauses that a person wants to see: policies that apply, their rules, and the entries of
/// those rather than what follows from them.
fn walk_text(text: &mut String, walk: &[Clause]) -> std::fmt::Result {
    let is_policy = |clause: &Clause| {
        clause.depth == 0 && clause.place != "hop" && !clause.place.starts_with("tier ")
    };
    let shown: Vec<_> = walk
        .iter()
        .filter(|clause| match clause.depth {
            0 => is_policy(clause) && clause.matched,
            1 => true,
            _ => {
                let is_list = matches!(clause.place.as_str(), "from" | "to" | "ports");
                !is_list || clause.words.starts_with("any ")
            }
        })
        .collect();
    if !shown.is_empty() {
        writeln!(text, "    walk:")?;
    }
    for clause in shown {
        let indent = "  ".repeat(clause.depth);
        let answer = match (clause.depth, clause.matched) {
            (0, _) => "",
            (_, true) => "yes, ",
            (_, false) => "no, ",
        };
        writeln!(text, "      {indent}{}: {answer}{}", clause.place, clause.words)?;
    }
    let other = walk.iter().filter(|clause| is_policy(clause) && !clause.matched).count();
    if other > 0 {
        writeln!(text, "    policies that do not apply here: {other}")?;
    }
    Ok(())
}
