//! Programs and policies as chains.

use brindle_model::Name;
use brindle_model::ruleset::{Action, PolicyRules, Program, ProgramId, Ruleset, Stage, TierEnd};
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict as Decision, is_plain};

use super::Lowered;
use super::hosts;
use super::merge;
use super::sets::content_hash;
use super::walk::{Walk, decided, plain};
use crate::table::{Verdict, comment};

/// Longest readable chain name; the kernel takes 255 bytes, and parts are appended.
const MAX_CHAIN_NAME: usize = 200;

/// The chain that a program begins with.
pub fn program_chain(id: ProgramId) -> Name {
    format!("program-{id}").into()
}

/// The chain of a policy's direction: readable where the name allows it.
fn policy_chain(id: &PolicyId, direction: Direction) -> Name {
    let parts: Vec<&str> = id.namespace.as_deref().into_iter().chain([&*id.name]).collect();
    let kind = id.kind.short_name();
    let name = format!("{kind}/{}/{direction}", parts.join("/"));
    // No part holds a slash, so how many there are tells whether one is a namespace.
    if name.len() <= MAX_CHAIN_NAME && parts.iter().all(|part| is_plain(part)) {
        return name.into();
    }
    format!("policy-{}/{direction}", content_hash(&format!("{id:?}"))).into()
}

/// How a policy's direction takes part in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It has nothing to say.
    Nowhere,
    /// A chain that every program jumps to.
    Chain,
    /// The program's own chain: only there its verdicts lead where they must.
    Program,
}

fn place(id: &PolicyId, policy: &PolicyRules, stage: Stage, direction: Direction) -> Place {
    let rules = policy.rules(direction);
    let pass = || rules.iter().any(|rule| rule.action == Action::Pass);
    match (id.kind.is_staged(), direction) {
        // A staged policy does not log (C7).
        (true, _) if rules.iter().all(|rule| rule.action == Action::Log) => Place::Nowhere,
        (true, _) => Place::Chain,
        (false, _) if rules.is_empty() => Place::Nowhere,
        (false, Direction::Ingress) if stage == Stage::Normal && !pass() => Place::Chain,
        (false, _) => Place::Program,
    }
}

/// Lowers a policy's direction to its chain, with the chains of its parts. Nothing if it has no
/// rules there, or must stand in its programs' chains.
pub fn lower_policy(ruleset: &Ruleset, id: &PolicyId, direction: Direction) -> Lowered {
    let Some(policy) = ruleset.policies.get(id) else { return Lowered::default() };
    if place(id, policy, Stage::Normal, direction) != Place::Chain {
        return Lowered::default();
    }
    let name = policy_chain(id, direction);
    let comment = comment(&format!("{id} {direction}"));
    let mut walk = Walk::new(ruleset, name.clone(), comment);
    if id.kind.is_staged() {
        staged(&mut walk, ruleset, policy.rules(direction), &name);
    } else {
        for part in merge::parts(ruleset, policy.rules(direction), false) {
            walk.part(part, &|action| verdict(Stage::Normal, direction, action), None);
        }
    }
    walk.finish()
}

/// Counts what each rule of a staged policy would decide, and decides nothing: the first that
/// matches leads back to the program. So, as in a program, no verdict may be reached by a jump.
fn staged(
    walk: &mut Walk<'_>,
    ruleset: &Ruleset,
    rules: &[brindle_model::ruleset::Rule],
    chain: &Name,
) {
    let deciding: Vec<_> = rules.iter().filter(|r| r.action != Action::Log).cloned().collect();
    for part in merge::parts(ruleset, &deciding, true) {
        walk.part(part, &|_| Verdict::Return, Some(chain));
    }
}

/// Lowers a program to its chains. A new one begins where rules may continue from several places:
/// at a tier that is reached by Pass, and after rules that are reached by service.
pub fn lower_program(ruleset: &Ruleset, id: ProgramId) -> Lowered {
    let Some(program) = ruleset.programs.get(&id) else { return Lowered::default() };
    let direction = program.direction;
    let base = program_chain(id);
    let mut walk = Walk::new(ruleset, base.clone(), describe(program));
    for (at, step) in program.steps.iter().enumerate() {
        let next: Name = format!("{base}/tier-{}", at + 1).into();
        let mut may_pass = false;
        for policy in &step.policies {
            let Some(body) = ruleset.policies.get(policy) else { continue };
            match place(policy, body, program.stage, direction) {
                Place::Nowhere => {}
                Place::Chain => {
                    let chain = policy_chain(policy, direction);
                    walk.push(plain(Verdict::Jump(chain), &policy.to_string()));
                }
                Place::Program => {
                    let rules = body.rules(direction);
                    may_pass |= rules.iter().any(|rule| rule.action == Action::Pass);
                    let verdict = |action| match action {
                        Action::Pass => Verdict::Goto(next.clone()),
                        other => verdict(program.stage, direction, other),
                    };
                    for part in merge::parts(ruleset, rules, false) {
                        walk.part(part, &verdict, Some(&base));
                    }
                }
            }
        }
        if step.end == TierEnd::Drop {
            walk.push(decided(Verdict::Drop, DecisionId::TierEnd { tier: step.tier.clone() }));
            if !may_pass {
                // Nothing can come after this tier.
                return walk.finish();
            }
        } else if may_pass {
            let comment = format!("no match in tier {}", step.tier);
            walk.push(plain(Verdict::Goto(next.clone()), &comment));
        }
        if may_pass {
            walk.begin(next, format!("{direction} program after tier {}", step.tier));
        }
    }
    let (end, decision) = &program.end;
    let verdict = match end {
        // The next stage is asked.
        Decision::Allow if *decision == DecisionId::StageEnd => Verdict::Return,
        Decision::Allow => verdict(program.stage, direction, Action::Allow),
        Decision::Deny => Verdict::Drop,
    };
    walk.push(decided(verdict, decision.clone()));
    walk.finish()
}

/// Allow and Deny in a policy's or program's chain; Pass is the program's own affair, and Log is no
/// verdict.
fn verdict(stage: Stage, direction: Direction, action: Action) -> Verdict {
    match (stage, direction, action) {
        (_, _, Action::Deny | Action::Pass | Action::Log) => Verdict::Drop,
        (Stage::Normal, Direction::Ingress, Action::Allow) => Verdict::Accept,
        (Stage::Normal, Direction::Egress, Action::Allow) => Verdict::Return,
        (Stage::Forward, _, Action::Allow) => Verdict::Return,
        (Stage::Untracked, _, Action::Allow) => Verdict::Goto(hosts::UNTRACKED.into()),
        (Stage::PreDnat, _, Action::Allow) => Verdict::Goto(hosts::ACCEPTED.into()),
    }
}

fn describe(program: &Program) -> String {
    let tiers: Vec<&str> = program.steps.iter().map(|step| &*step.tier).collect();
    let tiers = if tiers.is_empty() { "no policy".to_owned() } else { tiers.join(", ") };
    let stage = match program.stage {
        Stage::Normal => String::new(),
        other => format!(", {other}"),
    };
    comment(&format!("{} program{stage}: {tiers}", program.direction))
}
