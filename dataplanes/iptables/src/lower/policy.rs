//! Programs and policies as chains.

use brindle_model::Name;
use brindle_model::net::Family;
use brindle_model::ruleset::{
    Action, PolicyRules, Program, ProgramId, Rule, Ruleset, Stage, TierEnd,
};
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict as Decision};

use super::matches::{Class, needs_classes};
use super::record::{Recording, plain};
use super::walk::{Verdict, Walk};
use super::{CHAIN_PREFIX, Lowered, chain_name, hosts, merge};
use crate::rule::{Criterion, Target};

/// The chain that a program of pods begins with.
pub fn program_chain(id: ProgramId) -> Name {
    format!("{CHAIN_PREFIX}g-{id}").into()
}

/// The chain that a program of the node's interfaces begins with.
pub fn host_program_chain(id: ProgramId) -> Name {
    format!("{CHAIN_PREFIX}h-{id}").into()
}

/// Who runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    /// Pods.
    Pods,
    /// Interfaces of the node, at a stage.
    Hosts(Stage),
}

fn policy_chain(id: &PolicyId, direction: Direction) -> Name {
    chain_name('p', &format!("{id:?} {direction}"))
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

fn place(id: &PolicyId, policy: &PolicyRules, direction: Direction, runner: Runner) -> Place {
    let rules = policy.rules(direction);
    let pass = || rules.iter().any(|rule| rule.action == Action::Pass);
    match (id.kind.is_staged(), direction) {
        // A staged policy does not log (C7).
        (true, _) if rules.iter().all(|rule| rule.action == Action::Log) => Place::Nowhere,
        (true, _) => Place::Chain,
        (false, _) if rules.is_empty() => Place::Nowhere,
        (false, Direction::Ingress) if runner == Runner::Pods && !pass() => Place::Chain,
        (false, _) => Place::Program,
    }
}

/// Lowers a policy's direction to its chain, with the chains of its parts. Nothing if it has no
/// rules there, or must stand in its programs' chains.
pub fn lower_policy(
    ruleset: &Ruleset,
    family: Family,
    recording: Recording,
    id: &PolicyId,
    direction: Direction,
) -> Lowered {
    let Some(policy) = ruleset.policies.get(id) else { return Lowered::default() };
    if place(id, policy, direction, Runner::Pods) != Place::Chain {
        return Lowered::default();
    }
    let rules = policy.rules(direction);
    let ground = Ground { ruleset, family, recording };
    ground.lower(policy_chain(id, direction), rules, |walk, _| {
        if !id.kind.is_staged() {
            return write(walk, ruleset, rules, &|action| verdict(Runner::Pods, direction, action));
        }
        // It counts what each rule would decide: the first that matches leads back.
        let deciding: Vec<_> = rules.iter().filter(|r| r.action != Action::Log).cloned().collect();
        let verdict = Verdict::Other(Target::Return);
        for draft in merge::drafts(ruleset, &deciding).iter().flatten() {
            walk.draft(draft, &verdict);
        }
    })
}

/// What every chain is made from.
#[derive(Clone, Copy)]
struct Ground<'a> {
    ruleset: &'a Ruleset,
    family: Family,
    recording: Recording,
}

impl<'a> Ground<'a> {
    /// Writes a chain, given its name; if one of its rules must be, once for each class of protocols,
    /// each in a chain of its own to which this one goes.
    fn lower<'r>(
        self,
        name: Name,
        rules: impl IntoIterator<Item = &'r Rule>,
        write: impl Fn(&mut Walk<'a>, &Name),
    ) -> Lowered {
        let Self { ruleset, family, recording } = self;
        let begin = |name, class| Walk::new(ruleset, family, recording, name, class);
        let mut whole = begin(name.clone(), Class::Any);
        if !rules.into_iter().any(|rule| needs_classes(&rule.matches)) {
            write(&mut whole, &name);
            return whole.finish();
        }
        let mut parts = Vec::new();
        for class in Class::each(family) {
            let part = chain_name('c', &format!("{name} {class:?}"));
            let criteria = match class {
                Class::Of(protocol) => vec![Criterion::Protocol { equal: true, protocol }],
                Class::Any | Class::Other => Vec::new(),
            };
            whole.push(plain(criteria, Target::Goto(part.clone()), ""));
            let mut walk = begin(part.clone(), class);
            write(&mut walk, &part);
            parts.push(walk.finish());
        }
        let mut lowered = whole.finish();
        for part in parts {
            lowered.chains.extend(part.chains);
            lowered.sets.extend(part.sets);
        }
        lowered
    }
}

/// Lowers a program of pods to its chains. A new one begins where rules may continue from several
/// places.
pub fn lower_program(
    ruleset: &Ruleset,
    family: Family,
    recording: Recording,
    id: ProgramId,
) -> Lowered {
    let pods = |program: &&std::sync::Arc<Program>| program.stage == Stage::Normal;
    let Some(program) = ruleset.programs.get(&id).filter(pods) else { return Lowered::default() };
    Ground { ruleset, family, recording }.program(program, program_chain(id), Runner::Pods)
}

/// As [`lower_program`], for interfaces of the node; with what it jumps to, which in its table may
/// have no other owner.
pub fn lower_host_program(
    ruleset: &Ruleset,
    family: Family,
    recording: Recording,
    id: ProgramId,
) -> Lowered {
    let Some(program) = ruleset.programs.get(&id) else { return Lowered::default() };
    let ground = Ground { ruleset, family, recording };
    let runner = Runner::Hosts(program.stage);
    let mut lowered = ground.program(program, host_program_chain(id), runner);
    for id in program.steps.iter().flat_map(|step| &step.policies) {
        if id.kind.is_staged() {
            let staged = lower_policy(ruleset, family, recording, id, program.direction);
            lowered.chains.extend(staged.chains);
            lowered.sets.extend(staged.sets);
        }
    }
    lowered
}

impl<'a> Ground<'a> {
    fn program(self, program: &'a Program, name: Name, runner: Runner) -> Lowered {
        let Self { ruleset, .. } = self;
        let policies = program.steps.iter().flat_map(|step| &step.policies);
        let bodies = policies.filter_map(|id| Some((id, ruleset.policies.get(id)?)));
        let direction = program.direction;
        let own = bodies.filter(|(id, body)| place(id, body, direction, runner) == Place::Program);
        let rules = own.flat_map(|(_, body)| body.rules(direction));
        self.lower(name, rules, |walk, base| steps(walk, ruleset, program, base, runner))
    }
}

fn steps(walk: &mut Walk<'_>, ruleset: &Ruleset, program: &Program, base: &Name, runner: Runner) {
    let direction = program.direction;
    for (at, step) in program.steps.iter().enumerate() {
        let next = chain_name('g', &format!("{base} tier {}", at + 1));
        let mut may_pass = false;
        for policy in &step.policies {
            let Some(body) = ruleset.policies.get(policy) else { continue };
            match place(policy, body, direction, runner) {
                Place::Nowhere => {}
                Place::Chain => {
                    let jump = Target::Jump(policy_chain(policy, direction));
                    walk.push(plain(Vec::new(), jump, &policy.to_string()));
                }
                Place::Program => {
                    let rules = body.rules(direction);
                    may_pass |= rules.iter().any(|rule| rule.action == Action::Pass);
                    write(walk, ruleset, rules, &|action| match action {
                        Action::Pass => Verdict::Other(Target::Goto(next.clone())),
                        other => verdict(runner, direction, other),
                    });
                }
            }
        }
        if step.end == TierEnd::Drop {
            walk.end(Verdict::Drop, &DecisionId::TierEnd { tier: step.tier.clone() });
            if !may_pass {
                // Nothing can come after this tier.
                return;
            }
        } else if may_pass {
            let text = format!("no match in tier {}", step.tier);
            walk.push(plain(Vec::new(), Target::Goto(next.clone()), &text));
        }
        if may_pass {
            walk.begin(next);
        }
    }
    let (end, decision) = &program.end;
    let end = match (end, runner) {
        (Decision::Deny, _) => Verdict::Drop,
        (Decision::Allow, Runner::Pods) => verdict(runner, direction, Action::Allow),
        // Nothing is said of the packet: the next stage is asked, or the node's own firewall.
        (Decision::Allow, Runner::Hosts(_)) => Verdict::Other(Target::Return),
    };
    walk.end(end, decision);
}

fn write(
    walk: &mut Walk<'_>,
    ruleset: &Ruleset,
    rules: &[Rule],
    verdict: &dyn Fn(Action) -> Verdict,
) {
    for run in merge::drafts(ruleset, rules) {
        match run.first().map(|draft| draft.action) {
            Some(Action::Log) => walk.log(&run),
            _ => run.iter().for_each(|draft| walk.draft(draft, &verdict(draft.action))),
        }
    }
}

/// Allow and Deny in a policy's or program's chain; Pass is the program's own affair, and Log is no
/// verdict.
fn verdict(runner: Runner, direction: Direction, action: Action) -> Verdict {
    let allow = match (runner, direction) {
        _ if action != Action::Allow => return Verdict::Drop,
        (Runner::Pods, Direction::Ingress) => Target::Accept,
        (Runner::Pods, Direction::Egress) | (Runner::Hosts(Stage::Forward | Stage::Normal), _) => {
            Target::Return
        }
        (Runner::Hosts(Stage::Untracked), _) => Target::Goto(hosts::UNTRACKED.into()),
        (Runner::Hosts(Stage::PreDnat), _) => Target::Goto(hosts::ACCEPTED.into()),
    };
    Verdict::Other(allow)
}
