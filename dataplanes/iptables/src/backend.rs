//! The backend: what is desired, what the kernel holds, and the programs between them.
//!
//! ```text
//!            stage                       commit
//! delta ───────────> Desired ─────────────────────────> Script ──> ipset restore
//!                       ^   Known: the difference since     │       iptables-restore
//!                       │          the last commit          │       ip6tables-restore
//!                       │   Read:  the difference to what   └─────> ipset restore
//!   Unknown ── save ────┘          was read
//! ```
//! A commit reads nothing. What somebody else changes meanwhile is found by signs of it
//! (`disturbed`), by the driver's slow timer, or when a tool refuses, after which everything is read
//! again.

use std::collections::BTreeMap;

use brindle_dataplane_core::nflog::DROPS_PER_SECOND;
use brindle_dataplane_core::{Backend, Commit, Disturbance, Drift, Watch};
use brindle_model::Name;
use brindle_model::net::Family;
use brindle_model::ruleset::{HostInterface, RulesetDelta};

use crate::canon::{Canon, CanonError};
use crate::config::{Jump, Variant};
use crate::desired::{Desired, Known, families};
use crate::detect::legacy_tables;
use crate::disturbed::{Heard, Others, PAUSE};
use crate::hits::Counters;
use crate::lower::{Recording, stops_revoked, unnameable};
use crate::plan::{Plan, Script, TablePlan};
use crate::probe::{Missing, probe};
use crate::repair::{WrongSet, unhook};
use crate::snapshot::{Snapshot, TableDump, parse_sets};
use crate::table::{PerTable, Table};
use crate::tools::{ToolError, Tools, restore_sets, save_sets};

/// What the kernel holds, as far as we know.
enum Kernel {
    /// It must be read before the next commit.
    Unknown,
    /// It was read.
    Read(Snapshot),
    /// It holds what we wrote.
    Known(Known),
}

/// What the backend is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the jumps stand.
    pub jump: Jump,
    /// Denied packets that are told of, a second and decision; none if it is 0.
    pub drops_per_second: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { jump: Jump::default(), drops_per_second: DROPS_PER_SECOND }
    }
}

/// The iptables backend.
pub struct Iptables {
    tools: Tools,
    jump: Jump,
    kernel: Kernel,
    desired: Desired,
    canon: Canon,
    heard: Heard,
    others: Others,
    /// Whether a table before `filter` was found to work.
    proven: PerTable<bool>,
}

/// Opening failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot use iptables-{variant}")]
pub struct OpenError {
    variant: Variant,
    #[source]
    source: ToolError,
}

/// A kernel operation failed.
#[derive(Debug, thiserror::Error)]
pub enum IptablesError {
    /// Rules or sets could not be read.
    #[error("cannot read what the kernel holds")]
    Read(#[source] ToolError),
    /// How rules are printed could not be found out.
    #[error("cannot compare rules with what the kernel holds")]
    Compare(#[source] CanonError),
    /// Sets could not be written.
    #[error("cannot write sets")]
    Sets(#[source] ToolError),
    /// Rules of a family could not be written; none of them took effect.
    #[error("cannot write rules of {0:?}")]
    Rules(Family, #[source] ToolError),
    /// A set of our name is not of our making.
    #[error("set {0} is of another kind than ours: see `ipset list {0}`, and destroy it")]
    WrongSet(String),
    /// Rules could not say which interface is meant. All others are as desired.
    #[error(
        "iptables has no word for interface {0} of a HostEndpoint, which stays open; nftables has"
    )]
    Unnameable(HostInterface),
    /// Policy before connection tracking or before DNAT cannot be enforced here. All else is as
    /// desired, and the interfaces that it governs let nothing new pass but on failsafe ports.
    #[error(
        "interfaces with doNotTrack or preDNAT policy are closed, as this node cannot judge there"
    )]
    Missing(#[source] Missing),
}

impl From<WrongSet> for IptablesError {
    fn from(WrongSet { name }: WrongSet) -> Self {
        Self::WrongSet(name)
    }
}

impl Iptables {
    /// Opens the backend; it works in the network namespace of the thread that calls it.
    ///
    /// # Errors
    /// The variant's programs are missing.
    pub fn open(variant: Variant, options: Options) -> Result<Self, OpenError> {
        let tools = Tools::find(variant).map_err(|source| OpenError { variant, source })?;
        let recording = Recording { drops_per_second: options.drops_per_second };
        Ok(Self {
            tools,
            jump: options.jump,
            kernel: Kernel::Unknown,
            desired: Desired::new(recording),
            canon: Canon::default(),
            heard: Heard::default(),
            others: Others::default(),
            proven: PerTable::default(),
        })
    }

    /// The variant.
    pub fn variant(&self) -> Variant {
        self.tools.variant
    }

    /// Our part of both families' tables.
    fn tables(&self) -> Result<[PerTable<TableDump>; 2], IptablesError> {
        let mut tables = <[PerTable<TableDump>; 2]>::default();
        for (at, family) in families() {
            // To ask ip_tables for a table that is not there would make it.
            let there = match self.tools.variant {
                Variant::Nft => None,
                Variant::Legacy => Some(legacy_tables(family)),
            };
            for (table, dump) in tables[at].iter_mut() {
                let name = table.name();
                if there.as_ref().is_none_or(|there| there.iter().any(|there| there == name)) {
                    let text = self.tools.save(family, name, false).map_err(IptablesError::Read)?;
                    *dump = TableDump::parse(&text);
                }
            }
        }
        Ok(tables)
    }

    fn snapshot(&self) -> Result<Snapshot, IptablesError> {
        let sets = parse_sets(&save_sets().map_err(IptablesError::Read)?);
        Ok(Snapshot { tables: self.tables()?, sets })
    }

    /// Whether rules of ours are there, of whichever agent.
    ///
    /// # Errors
    /// They could not be read.
    pub fn is_installed(&self) -> Result<bool, IptablesError> {
        let tables = self.tables()?;
        Ok(tables.iter().flat_map(PerTable::iter).any(|(_, table)| !table.is_empty()))
    }

    fn read(&mut self) -> Result<(), IptablesError> {
        self.kernel = Kernel::Unknown;
        let snapshot = self.snapshot()?;
        let stops = snapshot.tables.iter().any(|tables| {
            let all = tables[Table::Filter].chains.iter();
            stops_revoked(all.flat_map(|(name, rules)| rules.iter().map(|rule| (&**name, &**rule))))
        });
        self.desired.adopt(stops);
        self.kernel = Kernel::Read(snapshot);
        Ok(())
    }

    fn plan(&mut self) -> Result<Plan, IptablesError> {
        if matches!(self.kernel, Kernel::Unknown) {
            self.read()?;
        }
        self.desired.lower();
        match &self.kernel {
            Kernel::Known(known) => Ok(self.desired.update(known, self.jump)),
            Kernel::Unknown => Ok(Plan::default()),
            Kernel::Read(snapshot) => {
                for (layout, family) in self.desired.layouts().iter().zip(Family::ALL) {
                    for table in Table::ALL {
                        let rules = layout.chains(table).flat_map(|(_, chain)| &chain.rules);
                        let spec = |name: &str| layout.set(name).map(|set| set.spec);
                        let place = (family, table);
                        let learned = self.canon.learn(&self.tools, place, rules, &spec);
                        learned.map_err(IptablesError::Compare)?;
                    }
                }
                let canon = &self.canon;
                let canonical = |at, table, rule: &_| canon.of(at, table, rule);
                Ok(self.desired.repair(snapshot, self.jump, canonical)?)
            }
        }
    }

    /// Finds out whether the tables before `filter` that are needed work; where one does not, what
    /// needs it is closed.
    fn prove(&mut self) -> Result<(), Missing> {
        let mut found = Ok(());
        for table in self.desired.early_tables() {
            if found.is_ok() && !self.proven[table] {
                found = probe(&self.tools, table);
                self.proven[table] = found.is_ok();
            }
        }
        self.desired.judges_early(found.is_ok());
        found
    }

    /// What the next commit would do.
    ///
    /// # Errors
    /// The kernel could not be read.
    pub fn pending(&mut self) -> Result<Script, IptablesError> {
        Ok(self.plan()?.script())
    }

    /// Who is counted where: what [`Counters::read`] needs.
    pub fn counters(&self) -> Counters {
        let chains = self.desired.layouts().each_ref().map(|layout| {
            let mut all: PerTable<BTreeMap<_, _>> = PerTable::default();
            for (table, chains) in all.iter_mut() {
                let of = layout.chains(table);
                chains.extend(of.map(|(name, chain)| (name.clone(), chain.clone())));
            }
            all
        });
        Counters::new(self.tools.clone(), chains)
    }

    fn carry_out(&self, script: &Script) -> Result<(), IptablesError> {
        if !script.before.is_empty() {
            restore_sets(&script.before).map_err(IptablesError::Sets)?;
        }
        for (family, text) in Family::ALL.into_iter().zip(&script.tables) {
            if !text.is_empty() {
                let restored = self.tools.restore(family, text);
                restored.map_err(|error| IptablesError::Rules(family, error))?;
            }
        }
        if !script.after.is_empty() {
            restore_sets(&script.after).map_err(IptablesError::Sets)?;
        }
        Ok(())
    }

    /// Removes the rules, and leaves the sets, which rules of the other variant may ask.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn withdraw(&self) -> Result<(), IptablesError> {
        let mut plan = Plan::default();
        for (plan, tables) in plan.families.iter_mut().zip(&self.tables()?) {
            for (table, dump) in tables.iter() {
                let delete = dump.chains.keys().cloned().collect();
                plan.tables[table] =
                    TablePlan { delete, hooks: unhook(dump), ..TablePlan::default() };
            }
        }
        self.carry_out(&plan.script())
    }
}

/// Removes what is left of any agent that used iptables, in the network namespace of the calling
/// thread: rules of both variants, where there are programs for them, and sets.
///
/// # Errors
/// The kernel refused.
pub fn uninstall() -> Result<(), IptablesError> {
    for variant in Variant::ALL {
        if let Ok(backend) = Iptables::open(variant, Options::default()) {
            backend.withdraw()?;
        }
    }
    // Where there is no ipset, or the kernel does not know it, there are no sets.
    save_sets().map_or(Ok(()), |saved| destroy_sets(&saved))
}

fn destroy_sets(saved: &str) -> Result<(), IptablesError> {
    let sets = parse_sets(saved);
    let lines: String = sets.keys().map(|name| format!("destroy {name}\n")).collect();
    if lines.is_empty() { Ok(()) } else { restore_sets(&lines).map_err(IptablesError::Sets) }
}

impl Backend for Iptables {
    type Error = IptablesError;

    fn name(&self) -> &'static str {
        match self.tools.variant {
            Variant::Nft => "iptables-nft",
            Variant::Legacy => "iptables-legacy",
        }
    }

    fn stage(&mut self, delta: &RulesetDelta) {
        self.desired.stage(delta);
    }

    fn stop_revoked(&mut self, stop: bool) {
        self.desired.stop_revoked(stop);
    }

    fn resync(&mut self) -> Result<Drift, IptablesError> {
        self.read()?;
        if !self.desired.staged() {
            return Ok(Drift::default());
        }
        let differing = self.pending()?.writes;
        if differing > 0 {
            tracing::info!(differing, "rules or sets differ from the desired state");
        }
        Ok(Drift { differing })
    }

    fn watch(&self) -> Watch {
        match self.tools.variant {
            Variant::Nft => self.heard.watch(),
            Variant::Legacy => Watch::Poll(PAUSE),
        }
    }

    fn disturbance(&mut self) -> Disturbance {
        let disturbed = match (&self.kernel, self.tools.variant) {
            (Kernel::Known(known), Variant::Legacy) => {
                self.others.disturbed(&self.tools, self.jump, known)
            }
            (Kernel::Known(_), Variant::Nft) => self.heard.of_others(&self.tools.own),
            _ => true,
        };
        if disturbed { Disturbance::Perhaps } else { Disturbance::None }
    }

    fn commit(&mut self) -> Result<Commit, IptablesError> {
        let proven = self.prove();
        let plan = self.plan()?;
        let script = plan.script();
        let before = std::mem::replace(&mut self.kernel, Kernel::Unknown);
        self.carry_out(&script)?;
        if !script.sweep.is_empty()
            && let Err(error) = restore_sets(&script.sweep)
        {
            // The next read-back finds them again.
            tracing::info!(%error, "sets that are not wanted any more are still in use");
        }
        let (known, capacities) = match before {
            Kernel::Known(known) => (Some(known), BTreeMap::new()),
            Kernel::Read(snapshot) => (None, capacities(snapshot)),
            Kernel::Unknown => (None, BTreeMap::new()),
        };
        self.kernel = Kernel::Known(self.desired.settle(known, &plan, &capacities));
        proven.map_err(IptablesError::Missing)?;
        if let Some(interface) = unnameable(self.desired.ruleset()) {
            return Err(IptablesError::Unnameable(interface.clone()));
        }
        Ok(Commit { writes: script.writes })
    }

    fn uninstall(&mut self) -> Result<(), IptablesError> {
        self.kernel = Kernel::Unknown;
        self.withdraw()?;
        destroy_sets(&save_sets().map_err(IptablesError::Read)?)
    }
}

fn capacities(snapshot: Snapshot) -> BTreeMap<Name, usize> {
    snapshot.sets.into_iter().map(|(name, set)| (name, set.capacity)).collect()
}
