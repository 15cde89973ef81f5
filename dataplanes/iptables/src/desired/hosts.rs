//! The node's own interfaces in the desired state.

use std::collections::BTreeSet;

use brindle_model::ruleset::ProgramId;

use super::{Desired, families};
use crate::layout::Owner;
use crate::lower::{self, Gate, Lowered, Stages};
use crate::plan::{Closing, Early, Plan};
use crate::table::Table;

impl Desired {
    /// Lowers what changed of the node's interfaces; `programs` are those that changed of all.
    pub(super) fn lower_hosts(&mut self, programs: &BTreeSet<ProgramId>) {
        let mut changed = self.staged.take_hosts();
        changed |= std::mem::take(&mut self.gate_changed);
        if !changed && !programs.iter().any(|id| self.host_programs.contains_key(id)) {
            return;
        }
        let former = std::mem::take(&mut self.host_programs);
        self.host_programs = lower::host_programs(self.staged.ruleset(), self.gate);
        if changed {
            let stages = Stages::of(self.staged.ruleset());
            if std::mem::replace(&mut self.stages, stages) != stages {
                self.skeleton();
            }
        }
        let (ruleset, recording) = (self.staged.ruleset(), self.recording);
        for (at, family) in families() {
            let layout = &mut self.layouts[at];
            for table in Table::ALL.into_iter().filter(|_| changed) {
                let new = lower::hosts(ruleset, family, recording, table, self.gate);
                layout.replace(Owner::Hosts(table), new);
            }
            for (id, table) in former.iter().filter(|(id, _)| !self.host_programs.contains_key(id))
            {
                layout.replace(Owner::HostProgram(*table, *id), Lowered::default());
            }
            for (id, table) in &self.host_programs {
                if programs.contains(id) || !former.contains_key(id) {
                    let new = lower::lower_host_program(ruleset, family, recording, *id);
                    layout.replace(Owner::HostProgram(*table, *id), new);
                }
            }
        }
    }

    /// The tables before `filter` that the ruleset needs.
    pub(crate) fn early_tables(&self) -> BTreeSet<Table> {
        let programs = lower::host_programs(self.staged.ruleset(), Gate::Open);
        programs.into_values().filter(|table| *table != Table::Filter).collect()
    }

    /// Whether this node can judge in them; where it cannot, interfaces that need it are closed.
    pub(crate) fn judges_early(&mut self, able: bool) {
        let gate = if able { Gate::Open } else { Gate::WithoutEarly };
        self.gate_changed |= std::mem::replace(&mut self.gate, gate) != gate;
    }

    /// Says of each family whether early stages were there, and what closes while tables change.
    pub(crate) fn order(&self, plan: &mut Plan, before: [bool; 2]) {
        for (at, family) in families() {
            let layout = &self.layouts[at];
            let early = [Table::Raw, Table::Mangle];
            let after = early.into_iter().any(|table| layout.chains(table).next().is_some());
            let plan = &mut plan.families[at];
            plan.early = Early { before: before[at], after };
            if !plan.must_close() {
                continue;
            }
            let (ruleset, recording) = (self.staged.ruleset(), self.recording);
            let closed = lower::hosts(ruleset, family, recording, Table::Filter, Gate::Closed);
            let mut closed = closed.chains;
            let open = layout.of(&Owner::Hosts(Table::Filter)).map(|hosts| hosts.chains.clone());
            let mut open = open.unwrap_or_default();
            open.retain(|name, chain| closed.get(name).is_some_and(|closed| closed != chain));
            closed.retain(|name, _| open.contains_key(name));
            plan.closing = Closing { closed, open };
        }
    }
}
