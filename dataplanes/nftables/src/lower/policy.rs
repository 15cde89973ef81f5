//! Programs and policies as chains.

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::net::Protocol;
use brindle_model::ruleset::{Action, PolicyRules, Program, ProgramId, Ruleset, TierEnd};
use brindle_model::verdict::{DecisionId, Direction, PolicyId, PolicyKind, Verdict as Decision};

use super::Lowered;
use super::matches::Lowering;
use super::merge::{self, Draft, Part};
use super::sets::{self, content_hash};
use crate::rule::{MapKey, Rule, Target};
use crate::table::{Chain, Element, Key, Verdict, comment};

/// Longest readable chain name; the kernel takes 255 bytes, and parts are appended.
const MAX_CHAIN_NAME: usize = 200;

/// The chain that a program begins with.
pub fn program_chain(id: ProgramId) -> Name {
    format!("program-{id}").into()
}

/// The chain of a policy's direction: readable where the name allows it.
fn policy_chain(id: &PolicyId, direction: Direction) -> Name {
    let parts = id.namespace.as_deref().into_iter().chain([&*id.name]);
    // No part may hold a slash, so how many there are tells whether one is a namespace.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let readable = parts.clone().all(|part| !part.is_empty() && part.chars().all(plain));
    let parts: Vec<&str> = parts.collect();
    let name = format!("{}/{}/{direction}", kind(id.kind), parts.join("/"));
    if readable && name.len() <= MAX_CHAIN_NAME {
        return name.into();
    }
    format!("policy-{}/{direction}", content_hash(&format!("{id:?}"))).into()
}

/// A kind as `kubectl` users shorten it; as in its long name, the upstream one goes without a group.
fn kind(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::ClusterNetworkPolicy => "cnp",
        PolicyKind::GlobalNetworkPolicy => "gnp",
        PolicyKind::KubernetesNetworkPolicy => "np",
        PolicyKind::NetworkPolicy => "np.brindle",
        PolicyKind::StagedGlobalNetworkPolicy => "staged-gnp",
        PolicyKind::StagedKubernetesNetworkPolicy => "staged-np",
        PolicyKind::StagedNetworkPolicy => "staged-np.brindle",
    }
}

/// Whether a policy has a chain that programs jump to, or must stand in each program's chain.
fn has_chain(rules: &PolicyRules, direction: Direction) -> bool {
    direction == Direction::Ingress && rules.ingress.iter().all(|rule| rule.action != Action::Pass)
}

/// Lowers a policy's direction to its chain, with the chains of its parts. Nothing if it has no
/// rules there, or must stand in its programs' chains.
pub fn lower_policy(ruleset: &Ruleset, id: &PolicyId, direction: Direction) -> Lowered {
    let Some(policy) = ruleset.policies.get(id) else { return Lowered::default() };
    if policy.rules(direction).is_empty() || !has_chain(policy, direction) {
        return Lowered::default();
    }
    let name = policy_chain(id, direction);
    let comment = comment(&format!("{id} {direction}"));
    let mut walk = Walk::new(ruleset, name, comment);
    for part in merge::parts(ruleset, policy.rules(direction)) {
        walk.part(part, &|action| verdict(direction, action), None);
    }
    walk.finish()
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
            let rules = body.rules(direction);
            if rules.is_empty() {
                continue;
            }
            if has_chain(body, direction) {
                let chain = policy_chain(policy, direction);
                walk.rules.push(plain(false, Verdict::Jump(chain), &policy.to_string()));
                continue;
            }
            may_pass |= rules.iter().any(|rule| rule.action == Action::Pass);
            let verdict = |action| match action {
                Action::Pass => Verdict::Goto(next.clone()),
                other => verdict(direction, other),
            };
            for part in merge::parts(ruleset, rules) {
                walk.part(part, &verdict, Some(&base));
            }
        }
        if step.end == TierEnd::Drop {
            let decision = DecisionId::TierEnd { tier: step.tier.clone() };
            walk.rules.push(plain(true, Verdict::Drop, &decision.to_string()));
            if !may_pass {
                // Nothing can come after this tier.
                return walk.finish();
            }
        } else if may_pass {
            let comment = format!("no match in tier {}", step.tier);
            walk.rules.push(plain(false, Verdict::Goto(next.clone()), &comment));
        }
        if may_pass {
            walk.begin(next, format!("{direction} program after tier {}", step.tier));
        }
    }
    let (end, decision) = &program.end;
    let (counter, verdict) = match end {
        Decision::Allow => (false, verdict(direction, Action::Allow)),
        Decision::Deny => (true, Verdict::Drop),
    };
    walk.rules.push(plain(counter, verdict, &decision.to_string()));
    walk.finish()
}

/// Writes rules into a chain, and goes on in others.
struct Walk<'a> {
    lowering: Lowering<'a>,
    chains: BTreeMap<Name, Arc<Chain>>,
    name: Name,
    comment: String,
    rules: Vec<Rule>,
}

impl<'a> Walk<'a> {
    fn new(ruleset: &'a Ruleset, name: Name, comment: String) -> Self {
        let lowering = Lowering::new(ruleset);
        Self { lowering, chains: BTreeMap::new(), name, comment, rules: Vec::new() }
    }

    /// Ends the chain, and begins another.
    fn begin(&mut self, name: Name, text: String) {
        let name = std::mem::replace(&mut self.name, name);
        let comment = std::mem::replace(&mut self.comment, comment(&text));
        let rules = std::mem::take(&mut self.rules);
        self.chains.insert(name, Arc::new(Chain { hook: None, comment, rules }));
    }

    fn finish(mut self) -> Lowered {
        self.begin("".into(), String::new());
        Lowered { chains: self.chains, sets: self.lowering.sets }
    }

    /// Writes a part. `within` is the program whose chain this is: its verdicts must not be reached
    /// by a jump.
    fn part(&mut self, part: Part, verdict: &dyn Fn(Action) -> Verdict, within: Option<&Name>) {
        match part {
            Part::Linear(draft) => {
                let rules = self.lowering.rules(&draft, &verdict(draft.action));
                self.rules.extend(rules);
            }
            Part::Tuples { drafts, tuples } => {
                let (verdict, comment) = (verdict(drafts[0].action), decisions(&drafts));
                self.rules.extend(self.lowering.tuple_rules(tuples, &verdict, &comment));
            }
            Part::Services { services, drafts } => {
                self.services(services, &drafts, verdict, within);
            }
        }
    }

    /// Rules that a verdict map of protocol and port leads to. In a policy's own chain it jumps, and
    /// comes back if none of them matched; in a program both ways meet in a chain of what follows.
    fn services(
        &mut self,
        services: BTreeMap<(Protocol, u16), Vec<Draft>>,
        drafts: &[Draft],
        verdict: &dyn Fn(Action) -> Verdict,
        within: Option<&Name>,
    ) {
        let base = within.unwrap_or(&self.name).clone();
        // What the map holds follows from its place and keys, so they name it.
        let place = self.chains.len();
        let keys = services.keys().map(|(p, port)| format!("{p} {port} ")).collect::<String>();
        let map: Name =
            format!("{base}/services-{}", content_hash(&format!("{place} {keys}"))).into();
        let rest: Name = format!("{map}/rest").into();
        let mut elements = Vec::new();
        for ((protocol, port), drafts) in services {
            let chain: Name = format!("{map}/{protocol}-{port}").into();
            let lower = |draft: &Draft| self.lowering.rules(draft, &verdict(draft.action));
            let mut rules: Vec<Rule> = drafts.iter().flat_map(lower).collect();
            let leads_to = if within.is_some() {
                rules.push(plain(false, Verdict::Goto(rest.clone()), "none of these"));
                Verdict::Goto(chain.clone())
            } else {
                Verdict::Jump(chain.clone())
            };
            let comment = comment(&format!("{protocol} port {port}"));
            self.chains.insert(chain, Arc::new(Chain { hook: None, comment, rules }));
            let key = Key::Service(protocol, port);
            elements.push(Element { key, verdict: Some(leads_to), comment: String::new() });
        }
        let comment = decisions(drafts);
        self.lowering.use_set(sets::services(map.clone(), elements, comment.clone()));
        let target = Target::Map(MapKey::Service, map);
        self.rules.push(Rule { criteria: Vec::new(), counter: false, target, comment });
        if within.is_some() {
            self.rules.push(plain(false, Verdict::Goto(rest.clone()), "other services"));
            self.begin(rest, "what follows the services".to_owned());
        }
    }
}

/// Allow in a policy's or program's chain; Pass is the program's own affair.
fn verdict(direction: Direction, action: Action) -> Verdict {
    match (direction, action) {
        (Direction::Ingress, Action::Allow) => Verdict::Accept,
        (Direction::Egress, Action::Allow) => Verdict::Return,
        (_, Action::Deny | Action::Pass | Action::Log) => Verdict::Drop,
    }
}

/// Names every rule of some drafts, in short.
fn decisions(drafts: &[Draft]) -> String {
    merge::decisions(drafts.iter().flat_map(|draft| &draft.decisions))
}

fn describe(program: &Program) -> String {
    let tiers: Vec<&str> = program.steps.iter().map(|step| &*step.tier).collect();
    let tiers = if tiers.is_empty() { "no policy".to_owned() } else { tiers.join(", ") };
    comment(&format!("{} program: {tiers}", program.direction))
}

fn plain(counter: bool, verdict: Verdict, text: &str) -> Rule {
    let target = Target::Verdict(verdict);
    Rule { criteria: Vec::new(), counter, target, comment: comment(text) }
}
