//! Tiers (C3): their order and how they end.

use std::cmp::Ordering;

use crate::trace::Action;
use crate::world::{World, name_of};

/// Place and end of a tier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tier<'a> {
    pub(crate) name: &'a str,
    /// A tier that some policy names and that does not exist sorts after all others.
    exists: bool,
    /// Last if none is given.
    order: f64,
    /// `Deny` or `Pass`.
    pub(crate) end: Action,
}

/// The tiers that always exist; no object changes them.
const BUILT_IN: [(&str, f64, Action); 3] = [
    ("kube-admin", 1_000.0, Action::Pass),
    ("default", 1_000_000.0, Action::Deny),
    ("kube-baseline", 10_000_000.0, Action::Pass),
];

impl<'a> Tier<'a> {
    /// The tier of this name.
    pub(crate) fn named(world: &World, name: &'a str) -> Self {
        if let Some((_, order, end)) = BUILT_IN.into_iter().find(|(built_in, ..)| *built_in == name)
        {
            return Self { name, exists: true, order, end };
        }
        let missing = Self { name, exists: false, order: f64::INFINITY, end: Action::Deny };
        // C3: names without dots.
        let objects = world.tiers.iter().filter(|_| !name.contains('.'));
        let object = objects.into_iter().find(|tier| name_of(&tier.metadata) == name);
        let Some(spec) = object.map(|tier| &tier.spec) else { return missing };
        let end = match spec.default_action.as_deref() {
            None | Some("Deny") => Action::Deny,
            Some("Pass") => Action::Pass,
            // A tier whose end cannot be read is refused: nobody knows that it may be left.
            Some(_) => return missing,
        };
        Self { name, exists: true, order: spec.order.unwrap_or(f64::INFINITY), end }
    }

    /// C3: existing ones first, then by order, then by name.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let key = |tier: &Self| (!tier.exists, tier.order);
        let ((missing, order), (other_missing, other_order)) = (key(self), key(other));
        missing
            .cmp(&other_missing)
            .then(order.partial_cmp(&other_order).unwrap_or(Ordering::Equal))
            .then_with(|| self.name.cmp(other.name))
    }
}
