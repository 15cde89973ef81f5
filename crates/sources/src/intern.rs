//! One copy of each string that many objects repeat.

use std::collections::HashSet;

use brindle_model::Name;

/// Shares label keys and values, namespaces, node and port names between objects: twenty thousand
/// pods carry few distinct ones.
#[derive(Debug, Default)]
pub struct Interner {
    names: HashSet<Name>,
    /// Size at which strings that nobody else holds are looked for.
    sweep_at: usize,
}

/// Below this many strings a sweep is not worth its while.
const SWEEP_FLOOR: usize = 1024;

impl Interner {
    /// The shared copy of `text`.
    pub fn intern(&mut self, text: &str) -> Name {
        if let Some(name) = self.names.get(text) {
            return name.clone();
        }
        if self.names.len() >= self.sweep_at.max(SWEEP_FLOOR) {
            self.names.retain(|name| Name::strong_count(name) > 1);
            self.sweep_at = self.names.len() * 2;
        }
        let name = Name::from(text);
        self.names.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_forgets() {
        let mut interner = Interner::default();
        let (kept, again) = (interner.intern("kept"), interner.intern("kept"));
        assert!(Name::ptr_eq(&kept, &again));
        for i in 0..3 * SWEEP_FLOOR {
            interner.intern(&format!("passing-{i}"));
        }
        assert!(interner.names.len() <= SWEEP_FLOOR, "{}", interner.names.len());
        assert!(Name::ptr_eq(&kept, &interner.intern("kept")));
    }
}
