//! The machine stops at any operation of the store, before or after it took effect.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Works for some operations; the next one fails, with or without effect, and so do all later.
struct Failing<'a> {
    store: FileStore,
    left: &'a AtomicUsize,
    after_effect: bool,
}

impl Failing<'_> {
    fn run<T, E: From<StoreError>>(
        &self,
        operation: impl FnOnce(&FileStore) -> Result<T, E>,
    ) -> Result<T, E> {
        let stopped = || E::from(StoreError::new("cannot go on", "the machine stopped"));
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        match left {
            0 => Err(stopped()),
            1 if self.after_effect => operation(&self.store).and_then(|_| Err(stopped())),
            1 => Err(stopped()),
            _ => operation(&self.store),
        }
    }
}

impl Store for Failing<'_> {
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.run(|store| store.get(key))
    }

    fn list(&self) -> Result<Vec<Record>, StoreError> {
        self.run(Store::list)
    }

    fn create(&self, key: &str, value: &serde_json::Value) -> Result<Revision, WriteError> {
        self.run(|store| store.create(key, value))
    }

    fn update(
        &self,
        key: &str,
        revision: &Revision,
        value: &serde_json::Value,
    ) -> Result<Revision, WriteError> {
        self.run(|store| store.update(key, revision, value))
    }

    fn delete(&self, key: &str, revision: &Revision) -> Result<(), WriteError> {
        self.run(|store| store.delete(key, revision))
    }
}

/// A life that claims, fills, empties and gives back blocks. Enters in `living` what was
/// acknowledged; stops at the first error.
fn live<S: Store>(ipam: &Ipam<S>, living: &mut BTreeMap<Handle, Vec<IpAddr>>) -> Result<(), ()> {
    let mut assign = |n| {
        let addresses = ipam.assign(&handle(n)).map_err(drop)?;
        living.insert(handle(n), addresses);
        Ok(())
    };
    (0..6).try_for_each(&mut assign)?;
    for n in 1..6 {
        living.remove(&handle(n));
        ipam.release(&handle(n)).map_err(drop)?;
    }
    ipam.release_idle_blocks().map_err(drop)?;
    ipam.release_idle_blocks().map_err(drop)?;
    let mut assign = |n| {
        let addresses = ipam.assign(&handle(n)).map_err(drop)?;
        living.insert(handle(n), addresses);
        Ok(())
    };
    (10..15).try_for_each(&mut assign)
}

fn check_nothing_leaked(ipam: &Ipam<FileStore>, lab: &Lab, living: usize) {
    let owned: BTreeSet<IpNet> = lab.owners().into_keys().collect();
    assert_eq!(ipam.blocks(), owned);
    let taken: u128 = ipam.status().iter().map(|block| block.taken).sum();
    assert_eq!(taken, 2 * living as u128);
    // Whatever is not held can be: eight pods fit in all.
    for n in 0..8 - living {
        ipam.assign(&handle(100 + n)).unwrap();
    }
    assert!(matches!(ipam.assign(&handle(200)), Err(AssignError::Exhausted { .. })));
    let all: BTreeSet<IpAddr> = ipam.leases().into_values().flatten().collect();
    assert_eq!(all.len(), 16);
}

#[test]
fn a_stop_at_any_store_operation_leaks_nothing() {
    let mut stops = 0;
    for after_effect in [false, true] {
        for left in 1.. {
            let lab = Lab::new();
            let counter = AtomicUsize::new(left);
            let failing = Failing { store: lab.store(), left: &counter, after_effect };
            let mut living = BTreeMap::new();
            let completed = Ipam::open("n1", failing, lab.journal("n1")).is_ok_and(|ipam| {
                small_pools(&ipam);
                live(&ipam, &mut living).is_ok()
            });
            let ipam = lab.node("n1");
            small_pools(&ipam);
            ipam.reconcile(&living).unwrap();
            assert_eq!(ipam.leases(), living, "stopped at operation {left}");
            check_nothing_leaked(&ipam, &lab, living.len());
            if completed && counter.load(Ordering::Relaxed) > 0 {
                break;
            }
            stops += 1;
        }
    }
    assert!(stops > 20, "only {stops} places to stop: the life is too short");
}

#[test]
fn a_store_that_fails_once_is_caught_up_with_without_a_restart() {
    for (left, after_effect) in (2..6).flat_map(|left| [(left, false), (left, true)]) {
        let lab = Lab::new();
        let counter = AtomicUsize::new(left);
        let failing = Failing { store: lab.store(), left: &counter, after_effect };
        let ipam = lab.node_on("n1", failing);
        small_pools(&ipam);
        assert!(ipam.assign(&handle(0)).is_err());
        assert_eq!(ipam.leases().len(), 0);
        counter.store(usize::MAX, Ordering::Relaxed);
        ipam.assign(&handle(0)).unwrap();
        assert_eq!(lab.owners().len(), 2, "nothing was claimed twice");
        assert_eq!(ipam.blocks().len(), 2);
    }
}

/// The journal is cut where a crash could cut it: after each line.
#[test]
fn a_stop_between_any_two_journal_lines_leaks_nothing() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    small_pools(&ipam);
    let mut living = BTreeMap::new();
    live(&ipam, &mut living).unwrap();
    drop(ipam);
    let lines = std::fs::read_to_string(lab.journal("n1")).unwrap();
    let lines: Vec<&str> = lines.split_inclusive('\n').collect();
    for count in 1..=lines.len() {
        std::fs::write(lab.journal("n1"), lines[..count].concat()).unwrap();
        let ipam = lab.node("n1");
        small_pools(&ipam);
        let living: BTreeMap<_, _> = ipam.leases().into_iter().take(2).collect();
        ipam.reconcile(&living).unwrap();
        check_nothing_leaked(&ipam, &lab, living.len());
    }
}
