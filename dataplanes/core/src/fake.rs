//! A backend that judges.
//!
//! It keeps its "kernel" in memory, outside the backend, so that a backend can die and another
//! find what it left. It carries a commit out object by object, so that a fault can be injected
//! between any two, and it accepts only what a backend is promised: a delta that fits the state
//! before it, and leaves no reference behind that leads nowhere.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brindle_model::cluster::EndpointId;
use brindle_model::ruleset::{
    HostInterface, Load, Member, ProgramId, Ruleset, RulesetDelta, Set, SetDelta, SetId, SetKind,
    StageProgram,
};
use brindle_model::verdict::{Direction, PolicyId};

use crate::backend::{Backend, Commit, Drift};

/// A broken promise of whoever made a delta.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Violation {
    #[error("set {0} is added twice")]
    SetTwice(SetId),
    #[error("set {0} is not named by its content")]
    SetIdentity(SetId),
    #[error("set {0} is changed or removed, and unknown")]
    SetUnknown(SetId),
    #[error("member {1:?} of set {0} is added twice")]
    MemberTwice(SetId, Member),
    #[error("member {1:?} of set {0} is removed, and unknown")]
    MemberUnknown(SetId, Member),
    #[error("member {1:?} does not fit the kind of set {0}")]
    MemberKind(SetId, Member),
    #[error("{0} names set {1}, which is unknown")]
    PolicySet(PolicyId, SetId),
    #[error("{0} is removed, and unknown")]
    PolicyUnknown(PolicyId),
    #[error("program {0} is added twice")]
    ProgramTwice(ProgramId),
    #[error("program {0} is not named by its content")]
    ProgramIdentity(ProgramId),
    #[error("program {0} names {1}, which is unknown")]
    ProgramPolicy(ProgramId, PolicyId),
    #[error("program {0} is removed, and unknown")]
    ProgramUnknown(ProgramId),
    #[error("endpoint {0} runs program {1}, which is unknown")]
    EndpointProgram(EndpointId, ProgramId),
    #[error("endpoint {0} runs program {1} of the other direction")]
    EndpointDirection(EndpointId, ProgramId),
    #[error("endpoint {0} is removed, and unknown")]
    EndpointUnknown(EndpointId),
    #[error("interface {0} of the node runs program {1}, which is unknown or of another place")]
    HostProgram(HostInterface, ProgramId),
    #[error("interface {0} of the node is removed, and unknown")]
    HostUnknown(HostInterface),
    #[error("program {0} is above the limits, with {1}")]
    ProgramTooLarge(ProgramId, Load),
    #[error("commit follows a failed one without a resync between them")]
    NotResynced,
}

/// Judges a delta against the state before it; returns the state after it.
///
/// # Errors
/// The first broken promise.
pub fn judge(before: &Ruleset, delta: &RulesetDelta) -> Result<Ruleset, Violation> {
    for (id, set) in &delta.sets_added {
        judge_new_set(before, *id, set)?;
    }
    for (id, change) in &delta.sets_changed {
        judge_set_change(before.sets.get(id).ok_or(Violation::SetUnknown(*id))?, *id, change)?;
    }
    for (id, program) in &delta.programs_added {
        if before.programs.contains_key(id) {
            return Err(Violation::ProgramTwice(*id));
        }
        if program.id() != *id {
            return Err(Violation::ProgramIdentity(*id));
        }
    }
    judge_removals(before, delta)?;
    let mut after = before.clone();
    after.apply(delta);
    judge_references(&after)?;
    Ok(after)
}

fn judge_new_set(before: &Ruleset, id: SetId, set: &Set) -> Result<(), Violation> {
    if before.sets.contains_key(&id) {
        return Err(Violation::SetTwice(id));
    }
    if set.def.id() != id {
        return Err(Violation::SetIdentity(id));
    }
    set.members.iter().try_for_each(|member| judge_kind(set, id, *member))
}

fn judge_set_change(set: &Set, id: SetId, change: &SetDelta) -> Result<(), Violation> {
    for member in &change.added {
        judge_kind(set, id, *member)?;
        if set.members.contains(member) {
            return Err(Violation::MemberTwice(id, *member));
        }
    }
    match change.removed.difference(&set.members).next() {
        Some(member) => Err(Violation::MemberUnknown(id, *member)),
        None => Ok(()),
    }
}

fn judge_kind(set: &Set, id: SetId, member: Member) -> Result<(), Violation> {
    let kind = match member {
        Member::Addr(_) => SetKind::Addr,
        Member::Net(_) => SetKind::Net,
        Member::Port(..) => SetKind::AddrProtoPort,
    };
    if kind == set.def.kind() { Ok(()) } else { Err(Violation::MemberKind(id, member)) }
}

fn judge_removals(before: &Ruleset, delta: &RulesetDelta) -> Result<(), Violation> {
    let unknown = |known: bool, violation: Violation| if known { Ok(()) } else { Err(violation) };
    for id in &delta.endpoints_removed {
        unknown(before.endpoints.contains_key(id), Violation::EndpointUnknown(id.clone()))?;
    }
    for interface in &delta.hosts_removed {
        let known = before.hosts.contains_key(interface);
        unknown(known, Violation::HostUnknown(interface.clone()))?;
    }
    for id in &delta.programs_removed {
        unknown(before.programs.contains_key(id), Violation::ProgramUnknown(*id))?;
    }
    for id in &delta.policies_removed {
        unknown(before.policies.contains_key(id), Violation::PolicyUnknown(id.clone()))?;
    }
    for id in &delta.sets_removed {
        unknown(before.sets.contains_key(id), Violation::SetUnknown(*id))?;
    }
    Ok(())
}

fn judge_references(after: &Ruleset) -> Result<(), Violation> {
    for (id, policy) in &after.policies {
        if let Some(set) = policy.sets().into_iter().find(|set| !after.sets.contains_key(set)) {
            return Err(Violation::PolicySet(id.clone(), set));
        }
    }
    for (id, program) in &after.programs {
        let mut named = program.steps.iter().flat_map(|step| &step.policies);
        if let Some(policy) = named.find(|policy| !after.policies.contains_key(policy)) {
            return Err(Violation::ProgramPolicy(*id, policy.clone()));
        }
    }
    for (id, endpoint) in &after.endpoints {
        for direction in Direction::ALL {
            let runs = endpoint.program(direction);
            match after.programs.get(&runs) {
                None => return Err(Violation::EndpointProgram(id.clone(), runs)),
                Some(program) if program.direction != direction => {
                    return Err(Violation::EndpointDirection(id.clone(), runs));
                }
                Some(_) => {}
            }
        }
    }
    for (interface, host) in &after.hosts {
        for StageProgram { stage, direction, program } in &host.programs {
            let runs = after.programs.get(program);
            if runs.is_none_or(|p| (p.stage, p.direction) != (*stage, *direction)) {
                return Err(Violation::HostProgram(interface.clone(), *program));
            }
        }
    }
    Ok(())
}

/// What outlives a [`FakeBackend`].
#[derive(Clone, Debug, Default)]
pub struct FakeKernel(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    ruleset: Ruleset,
    stops_revoked: bool,
    writes: usize,
    fail_in: Option<usize>,
}

impl FakeKernel {
    /// What it enforces.
    pub fn ruleset(&self) -> Ruleset {
        self.lock().ruleset.clone()
    }

    /// Whether it drops packets of revoked connections.
    pub fn stops_revoked(&self) -> bool {
        self.lock().stops_revoked
    }

    /// How many objects were ever written.
    pub fn writes(&self) -> usize {
        self.lock().writes
    }

    /// Lets the write after `steps` more ones fail, once.
    pub fn fail_in(&self, steps: usize) {
        self.lock().fail_in = Some(steps);
    }

    /// What an administrator who flushes everything does.
    pub fn flush(&self) {
        let mut kernel = self.lock();
        kernel.ruleset = Ruleset::default();
        kernel.stops_revoked = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a [`FakeBackend`] failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FakeError {
    /// Whoever drove it broke a promise; every later commit fails too.
    #[error("the delta or the order of calls is wrong")]
    Violation(#[source] Violation),
    /// As [`FakeKernel::fail_in`] asked.
    #[error("write {0} of the commit failed as asked")]
    Injected(usize),
}

/// The backend.
#[derive(Debug)]
pub struct FakeBackend {
    kernel: FakeKernel,
    limits: Load,
    desired: Ruleset,
    /// What the kernel is known to hold; `None` until a resync.
    known: Option<Ruleset>,
    /// `None` until it was said, or taken over from the kernel.
    stop_revoked: Option<bool>,
    violation: Option<Violation>,
}

impl FakeBackend {
    /// A backend that knows nothing of what `kernel` holds.
    pub fn new(kernel: FakeKernel) -> Self {
        Self::within(kernel, Load::UNBOUNDED)
    }

    /// The same; a larger program than these limits is a violation.
    pub fn within(kernel: FakeKernel, limits: Load) -> Self {
        Self {
            kernel,
            limits,
            desired: Ruleset::default(),
            known: None,
            stop_revoked: None,
            violation: None,
        }
    }
}

impl FakeBackend {
    fn judge_loads(&self, after: Ruleset) -> Result<Ruleset, Violation> {
        for (id, program) in &after.programs {
            let load = after.load(program);
            if !load.fits(self.limits) {
                return Err(Violation::ProgramTooLarge(*id, load));
            }
        }
        Ok(after)
    }
}

impl Backend for FakeBackend {
    type Error = FakeError;

    fn name(&self) -> &'static str {
        "fake"
    }

    fn limits(&self) -> Load {
        self.limits
    }

    fn stage(&mut self, delta: &RulesetDelta) {
        match judge(&self.desired, delta).and_then(|after| self.judge_loads(after)) {
            Ok(after) => self.desired = after,
            Err(violation) => drop(self.violation.get_or_insert(violation)),
        }
    }

    fn stop_revoked(&mut self, stop: bool) {
        self.stop_revoked = Some(stop);
    }

    fn resync(&mut self) -> Result<Drift, FakeError> {
        let held = self.kernel.ruleset();
        let stops = self.kernel.stops_revoked();
        let differing = writes(&RulesetDelta::between(&held, &self.desired)).len()
            + usize::from(*self.stop_revoked.get_or_insert(stops) != stops);
        self.known = Some(held);
        Ok(Drift { differing })
    }

    fn commit(&mut self) -> Result<Commit, FakeError> {
        if let Some(violation) = &self.violation {
            return Err(FakeError::Violation(violation.clone()));
        }
        let known = self.known.take().ok_or(FakeError::Violation(Violation::NotResynced))?;
        let steps = writes(&RulesetDelta::between(&known, &self.desired));
        let mut kernel = self.kernel.lock();
        for (at, step) in steps.iter().enumerate() {
            match &mut kernel.fail_in {
                Some(0) => {
                    kernel.fail_in = None;
                    return Err(FakeError::Injected(at));
                }
                Some(left) => *left -= 1,
                None => {}
            }
            kernel.ruleset.apply(step);
            kernel.writes += 1;
        }
        let stop = self.stop_revoked.unwrap_or_default();
        let switched = std::mem::replace(&mut kernel.stops_revoked, stop) != stop;
        drop(kernel);
        self.known = Some(self.desired.clone());
        Ok(Commit { writes: steps.len() + usize::from(switched) })
    }

    fn uninstall(&mut self) -> Result<(), FakeError> {
        self.kernel.flush();
        self.known = None;
        Ok(())
    }
}

/// A delta as one write per object, in the order of [`RulesetDelta`]'s fields.
fn writes(delta: &RulesetDelta) -> Vec<RulesetDelta> {
    let mut steps = Vec::new();
    macro_rules! each {
        ($field:ident: map) => {
            steps.extend(delta.$field.iter().map(|(id, value)| RulesetDelta {
                $field: [(id.clone(), value.clone())].into(),
                ..RulesetDelta::default()
            }))
        };
        ($field:ident: set) => {
            steps.extend(delta.$field.iter().map(|id| RulesetDelta {
                $field: BTreeSet::from([id.clone()]),
                ..RulesetDelta::default()
            }))
        };
    }
    each!(sets_added: map);
    each!(sets_changed: map);
    each!(policies: map);
    each!(programs_added: map);
    each!(endpoints: map);
    each!(hosts: map);
    each!(endpoints_removed: set);
    each!(hosts_removed: set);
    each!(programs_removed: set);
    each!(policies_removed: set);
    each!(sets_removed: set);
    steps
}
