//! Programs and policies as chains.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::ruleset::{Action, PolicyRules, Program, ProgramId, Ruleset, TierEnd};
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict as Decision};

use super::Lowered;
use super::matches::Lowering;
use super::merge::{self, Draft, Part};
use super::sets::{self, content_hash};
use crate::rule::{MapKey, Rule, Target};
use crate::table::{Chain, Element, Key, Verdict, comment};

/// Longest readable chain name; the kernel takes 255 bytes, and parts are appended.
const MAX_CHAIN_NAME: usize = 200;

/// The chain of a program's part; parts after the first exist where a tier may be passed.
pub fn program_chain(id: ProgramId, part: usize) -> Name {
    match part {
        0 => format!("program-{id}").into(),
        _ => format!("program-{id}/{part}").into(),
    }
}

/// The chain of a policy's direction: readable where the name allows it.
fn policy_chain(id: &PolicyId, direction: Direction) -> Name {
    let namespace = id.namespace.as_deref().unwrap_or("");
    let name = format!("np/{namespace}/{}/{direction}", id.name);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/');
    let parts_plain = !namespace.contains('/') && !id.name.contains('/');
    if name.len() <= MAX_CHAIN_NAME && name.chars().all(plain) && parts_plain {
        return name.into();
    }
    format!("policy-{}/{direction}", content_hash(&id.to_string())).into()
}

/// Whether a policy has a chain that programs jump to, or must stand in each program's chain.
fn has_chain(rules: &PolicyRules, direction: Direction) -> bool {
    rules.rules(direction).iter().all(|rule| rule.action != Action::Pass)
}

/// Lowers a policy's direction to its chain, with the chains of its parts. Nothing if it has no
/// rules there, or must stand in its programs' chains.
pub fn lower_policy(ruleset: &Ruleset, id: &PolicyId, direction: Direction) -> Lowered {
    let Some(policy) = ruleset.policies.get(id) else { return Lowered::default() };
    if policy.rules(direction).is_empty() || !has_chain(policy, direction) {
        return Lowered::default();
    }
    let mut lowering = Lowering::new(ruleset);
    let name = policy_chain(id, direction);
    let mut chains = BTreeMap::new();
    let mut rules = Vec::new();
    for part in merge::parts(ruleset, policy.rules(direction)) {
        match part {
            Part::Linear(draft) => {
                let verdict = verdict(draft.action);
                rules.extend(lowering.rules(&draft, &verdict));
            }
            Part::Tuples { drafts, tuples } => {
                let verdict = verdict(drafts[0].action);
                let comment = decisions(&drafts);
                rules.extend(lowering.tuple_rules(tuples, &verdict, &comment));
            }
            Part::Services { services, drafts } => {
                // The map's content follows from its keys, so they name it.
                let keys: String =
                    services.keys().map(|(p, port)| format!("{p} {port} ")).collect();
                let map: Name = format!("{name}/services-{}", content_hash(&keys)).into();
                let mut elements = Vec::new();
                for ((protocol, port), drafts) in services {
                    let chain: Name = format!("{map}/{protocol}-{port}").into();
                    let rules = drafts
                        .iter()
                        .flat_map(|draft| lowering.rules(draft, &verdict(draft.action)))
                        .collect();
                    let comment = comment(&format!("{id} {direction}, {protocol} port {port}"));
                    chains.insert(chain.clone(), Arc::new(Chain { hook: None, comment, rules }));
                    let key = Key::Service(protocol, port);
                    let verdict = Some(Verdict::Jump(chain));
                    elements.push(Element { key, verdict, comment: String::new() });
                }
                lowering.use_set(sets::services(map.clone(), elements, comment(&id.to_string())));
                rules.push(Rule {
                    criteria: Vec::new(),
                    counter: false,
                    target: Target::Map(MapKey::Service, map),
                    comment: decisions(&drafts),
                });
            }
        }
    }
    let comment = comment(&format!("{id} {direction}"));
    chains.insert(name, Arc::new(Chain { hook: None, comment, rules }));
    Lowered { chains, sets: lowering.sets }
}

fn verdict(action: Action) -> Verdict {
    match action {
        Action::Allow => Verdict::Accept,
        Action::Deny | Action::Pass => Verdict::Drop,
    }
}

/// Names every rule of some drafts, in short.
fn decisions(drafts: &[Draft]) -> String {
    merge::decisions(drafts.iter().flat_map(|draft| &draft.decisions))
}

/// Lowers a program to its chains: a new one begins after each tier that a policy may pass.
pub fn lower_program(ruleset: &Ruleset, id: ProgramId) -> Lowered {
    let Some(program) = ruleset.programs.get(&id) else { return Lowered::default() };
    let direction = program.direction;
    let mut lowering = Lowering::new(ruleset);
    let mut chains = Vec::new();
    let mut rules = Vec::new();
    let mut reachable = true;
    for step in &program.steps {
        let next = program_chain(id, chains.len() + 1);
        let mut may_pass = false;
        for policy in &step.policies {
            let Some(body) = ruleset.policies.get(policy) else { continue };
            if body.rules(direction).is_empty() {
                continue;
            }
            if has_chain(body, direction) {
                let chain = policy_chain(policy, direction);
                rules.push(plain(false, Verdict::Jump(chain), &policy.to_string()));
                continue;
            }
            may_pass = true;
            for draft in merge::linear(ruleset, body.rules(direction)) {
                let verdict = match draft.action {
                    Action::Pass => Verdict::Goto(next.clone()),
                    other => verdict(other),
                };
                rules.extend(lowering.rules(&draft, &verdict));
            }
        }
        if step.end == TierEnd::Drop {
            let decision = DecisionId::TierEnd { tier: step.tier.clone() };
            rules.push(plain(true, Verdict::Drop, &decision.to_string()));
        }
        if may_pass {
            if step.end == TierEnd::NextTier {
                rules.push(plain(false, Verdict::Goto(next), &format!("tier {}", step.tier)));
            }
            chains.push(std::mem::take(&mut rules));
        } else if step.end == TierEnd::Drop {
            // Nothing can come after this tier.
            reachable = false;
            break;
        }
    }
    if reachable {
        let (verdict, decision) = &program.end;
        rules.push(match verdict {
            Decision::Allow => plain(false, Verdict::Accept, &decision.to_string()),
            Decision::Deny => plain(true, Verdict::Drop, &decision.to_string()),
        });
    }
    chains.push(rules);
    let chains = chains.into_iter().enumerate().map(|(part, rules)| {
        let comment = describe(program, part);
        (program_chain(id, part), Arc::new(Chain { hook: None, comment, rules }))
    });
    Lowered { chains: chains.collect(), sets: lowering.sets }
}

fn describe(program: &Program, part: usize) -> String {
    let tiers: Vec<&str> = program.steps.iter().map(|step| &*step.tier).collect();
    let tiers = if tiers.is_empty() { "no policy".to_owned() } else { tiers.join(", ") };
    match part {
        0 => comment(&format!("{} program: {tiers}", program.direction)),
        _ => comment(&format!("{} program, part {part}", program.direction)),
    }
}

fn plain(counter: bool, verdict: Verdict, text: &str) -> Rule {
    let target = Target::Verdict(verdict);
    Rule { criteria: Vec::new(), counter, target, comment: comment(text) }
}
