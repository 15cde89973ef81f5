//! The tables of iptables that hold rules of ours, in the order in which a packet passes them.

use std::fmt::{self, Display, Formatter};
use std::ops::{Index, IndexMut};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Before connection tracking (priority -300). There only while a policy is untracked.
    Raw,
    /// Before DNAT (priority -150). There only while a policy is judged there.
    Mangle,
    /// Where pods are judged, and interfaces of the node at last (priority 0). Always there.
    Filter,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Mangle, Self::Filter];

    /// Its name, as `-t` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Filter => "filter",
        }
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value for each table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerTable<T>([T; 3]);

impl<T> PerTable<T> {
    /// The values with their tables.
    pub fn iter(&self) -> impl Iterator<Item = (Table, &T)> {
        Table::ALL.into_iter().zip(&self.0)
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Table, &mut T)> {
        Table::ALL.into_iter().zip(&mut self.0)
    }
}

impl<T> Index<Table> for PerTable<T> {
    type Output = T;

    fn index(&self, table: Table) -> &T {
        let [raw, mangle, filter] = &self.0;
        match table {
            Table::Raw => raw,
            Table::Mangle => mangle,
            Table::Filter => filter,
        }
    }
}

impl<T> IndexMut<Table> for PerTable<T> {
    fn index_mut(&mut self, table: Table) -> &mut T {
        let [raw, mangle, filter] = &mut self.0;
        match table {
            Table::Raw => raw,
            Table::Mangle => mangle,
            Table::Filter => filter,
        }
    }
}
