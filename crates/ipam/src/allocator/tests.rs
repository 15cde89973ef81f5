use std::path::Path;

use super::*;
use crate::FileStore;
use crate::store::{Record, Revision, WriteError};

mod crashes;
mod walks;

/// Two agents' worth of directories that vanish with the test.
pub(super) struct Lab {
    directory: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> FileStore {
        FileStore::open(self.path().join("blocks")).unwrap()
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn journal(&self, node: &str) -> PathBuf {
        self.path().join(node).join("ipam.journal")
    }

    fn node(&self, node: &str) -> Ipam<FileStore> {
        self.node_on(node, self.store())
    }

    fn node_on<S: Store>(&self, node: &str, store: S) -> Ipam<S> {
        Ipam::open(node, store, self.journal(node)).unwrap()
    }

    fn owners(&self) -> BTreeMap<IpNet, String> {
        let records = self.store().list().unwrap();
        let records = records.iter().map(|r| crate::block::BlockRecord::parse(r).unwrap());
        records.map(|r| (r.cidr, r.node)).collect()
    }
}

fn pool(cidr: &str, block_size: u8) -> Option<IpPool> {
    Some(IpPool { cidr: cidr.parse().unwrap(), block_size, disabled: false })
}

fn disabled(cidr: &str, block_size: u8) -> Option<IpPool> {
    pool(cidr, block_size).map(|pool| IpPool { disabled: true, ..pool })
}

fn handle(n: usize) -> Handle {
    Handle { container_id: format!("container{n}").into(), interface: "eth0".into() }
}

/// Two blocks of four addresses in each family.
fn small_pools<S: Store>(ipam: &Ipam<S>) {
    ipam.set_pool("v4".into(), pool("10.0.0.0/29", 30));
    ipam.set_pool("v6".into(), pool("fd00::/125", 126));
}

fn strings(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn a_pod_gets_both_families_once() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    small_pools(&ipam);
    let first = ipam.assign(&handle(1)).unwrap();
    assert_eq!(strings(&first), ["10.0.0.0", "fd00::"]);
    assert_eq!(ipam.assign(&handle(1)).unwrap(), first);
    assert_eq!(strings(&ipam.assign(&handle(2)).unwrap()), ["10.0.0.1", "fd00::1"]);
    assert_eq!(ipam.release(&handle(1)).unwrap(), first);
    assert_eq!(ipam.release(&handle(1)).unwrap(), Vec::<IpAddr>::new());
    assert_eq!(strings(&ipam.assign(&handle(3)).unwrap()), ["10.0.0.2", "fd00::2"]);
}

#[test]
fn a_released_address_is_used_again_as_late_as_possible_also_after_a_restart() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    ipam.set_pool("v4".into(), pool("10.0.0.0/30", 30));
    for n in 0..4 {
        ipam.assign(&handle(n)).unwrap();
    }
    for n in [2, 0, 3] {
        ipam.release(&handle(n)).unwrap();
    }
    drop(ipam);
    let ipam = lab.node("n1");
    ipam.set_pool("v4".into(), pool("10.0.0.0/30", 30));
    let order: Vec<_> = (10..13).map(|n| strings(&ipam.assign(&handle(n)).unwrap())).collect();
    assert_eq!(order, [["10.0.0.2"], ["10.0.0.0"], ["10.0.0.3"]]);
}

#[test]
fn full_blocks_lead_to_a_claim_and_full_pools_to_an_error_that_names_them() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    small_pools(&ipam);
    for n in 0..8 {
        ipam.assign(&handle(n)).unwrap();
    }
    assert_eq!(ipam.blocks().len(), 4);
    let error = ipam.assign(&handle(8)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "node n1 has no free IPv4 address: its blocks are full, and no block is free in pool v4 \
         (10.0.0.0/29: 2 blocks of /30); add an IPPool or look for idle blocks (addresses are not \
         borrowed from other nodes' blocks)"
    );
    assert_eq!(ipam.leases().len(), 8);
    ipam.release(&handle(3)).unwrap();
    assert_eq!(strings(&ipam.assign(&handle(8)).unwrap()), ["10.0.0.3", "fd00::3"]);
}

#[test]
fn one_family_exhausted_holds_nothing_of_the_other() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    ipam.set_pool("v4".into(), pool("10.0.0.0/29", 30));
    ipam.set_pool("v6".into(), pool("fd00::/127", 127));
    ipam.assign(&handle(0)).unwrap();
    ipam.assign(&handle(1)).unwrap();
    assert!(matches!(ipam.assign(&handle(2)), Err(AssignError::Exhausted { family: "IPv6", .. })));
    let taken: Vec<u128> = ipam.status().iter().map(|block| block.taken).collect();
    assert_eq!(taken, [2, 2]);
}

#[test]
fn blocks_are_not_borrowed() {
    let lab = Lab::new();
    let (one, two) = (lab.node("n1"), lab.node("n2"));
    for ipam in [&one, &two] {
        ipam.set_pool("v4".into(), pool("10.0.0.0/30", 30));
    }
    one.assign(&handle(1)).unwrap();
    let error = two.assign(&handle(2)).unwrap_err();
    assert!(matches!(error, AssignError::Exhausted { .. }), "{error}");
}

#[test]
fn pools_that_are_absent_or_disabled_say_so() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    assert!(matches!(ipam.check_pools(), Err(AssignError::NoPool)));
    ipam.set_pool("a".into(), pool("10.0.0.0/29", 30));
    let before = ipam.assign(&handle(1)).unwrap();
    ipam.set_pool("a".into(), disabled("10.0.0.0/29", 30));
    let error = ipam.assign(&handle(2)).unwrap_err();
    assert!(error.to_string().contains("every IPv4 pool is disabled (a)"), "{error}");
    assert_eq!(ipam.assign(&handle(1)).unwrap(), before);
    ipam.set_pool("b".into(), pool("10.1.0.0/29", 30));
    assert_eq!(strings(&ipam.assign(&handle(2)).unwrap()), ["10.1.0.0"]);
    ipam.set_pool("a".into(), None);
    assert_eq!(ipam.blocks().len(), 2);
}

#[test]
fn idle_blocks_go_back_but_for_one_a_family() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    small_pools(&ipam);
    (0..5).for_each(|n| drop(ipam.assign(&handle(n)).unwrap()));
    (0..5).for_each(|n| drop(ipam.release(&handle(n)).unwrap()));
    assert_eq!(ipam.release_idle_blocks().unwrap(), []);
    let gone: Vec<String> =
        ipam.release_idle_blocks().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(gone, ["fd00::4/126", "10.0.0.4/30"]);
    assert_eq!(ipam.release_idle_blocks().unwrap(), []);
    assert_eq!(lab.owners().len(), 2);
    let remembered = ipam.journal.read(Ledger::released);
    assert!(remembered.iter().all(|addr| ipam.blocks().iter().any(|b| b.contains(addr))));
    // The pool's removal takes the last one too.
    ipam.set_pool("v6".into(), None);
    assert_eq!(ipam.release_idle_blocks().unwrap().len(), 1);
}

#[test]
fn a_block_used_between_two_looks_is_not_idle() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    ipam.set_pool("v4".into(), pool("10.0.0.0/29", 30));
    (0..5).for_each(|n| drop(ipam.assign(&handle(n)).unwrap()));
    ipam.release(&handle(4)).unwrap();
    assert_eq!(ipam.release_idle_blocks().unwrap(), []);
    ipam.assign(&handle(5)).unwrap();
    ipam.release(&handle(5)).unwrap();
    assert_eq!(ipam.release_idle_blocks().unwrap(), []);
    assert_eq!(ipam.release_idle_blocks().unwrap().len(), 1);
}

#[test]
fn reconcile_releases_the_dead_and_adopts_the_living() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    small_pools(&ipam);
    let kept = ipam.assign(&handle(1)).unwrap();
    ipam.assign(&handle(2)).unwrap();
    let adopted: Vec<IpAddr> = vec!["10.0.0.3".parse().unwrap(), "fd00::3".parse().unwrap()];
    let living = BTreeMap::from([(handle(1), kept), (handle(3), adopted.clone())]);
    let done = ipam.reconcile(&living).unwrap();
    assert_eq!(done, Reconciled { released: vec![handle(2)], adopted: vec![handle(3)] });
    drop(ipam);
    let ipam = lab.node("n1");
    small_pools(&ipam);
    assert_eq!(ipam.leases(), living);
    for n in 4..6 {
        assert!(!ipam.assign(&handle(n)).unwrap().iter().any(|a| adopted.contains(a)));
    }
}

#[test]
fn two_living_handles_with_one_address_are_named() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    small_pools(&ipam);
    let addresses = ipam.assign(&handle(1)).unwrap();
    let living = BTreeMap::from([(handle(1), addresses.clone()), (handle(2), addresses)]);
    let error = ipam.reconcile(&living).unwrap_err();
    assert!(error.to_string().starts_with("container2/eth0 and container1/eth0"), "{error}");
}

#[test]
fn a_disk_that_refuses_leaves_things_as_they_were() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    small_pools(&ipam);
    let held = ipam.assign(&handle(1)).unwrap();
    let read_only = std::fs::File::open(lab.journal("n1")).unwrap();
    let writable = ipam.journal.swap_file(read_only);
    assert!(matches!(ipam.assign(&handle(2)), Err(AssignError::Journal(_))));
    assert!(matches!(ipam.release(&handle(1)), Err(ReleaseError::Journal(_))));
    assert_eq!(ipam.leases(), BTreeMap::from([(handle(1), held.clone())]));
    assert!(ipam.status().iter().all(|block| block.taken == 1));
    ipam.journal.swap_file(writable);
    ipam.assign(&handle(2)).unwrap();
    assert_eq!(ipam.release(&handle(1)).unwrap(), held);
}

/// Another node claims an overlapping block of another size at the worst moment: after this node
/// looked, before it writes.
struct Overtaken {
    store: FileStore,
    other: std::sync::Mutex<Option<&'static str>>,
}

impl Store for Overtaken {
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.store.get(key)
    }

    fn list(&self) -> Result<Vec<Record>, StoreError> {
        self.store.list()
    }

    fn create(&self, key: &str, value: &serde_json::Value) -> Result<Revision, WriteError> {
        if let Some(cidr) = self.other.lock().unwrap().take() {
            let key = crate::block::BlockRecord::key(cidr.parse().unwrap());
            self.store.create(&key, &serde_json::json!({ "cidr": cidr, "node": "n2" }))?;
        }
        self.store.create(key, value)
    }

    fn update(
        &self,
        key: &str,
        revision: &Revision,
        value: &serde_json::Value,
    ) -> Result<Revision, WriteError> {
        self.store.update(key, revision, value)
    }

    fn delete(&self, key: &str, revision: &Revision) -> Result<(), WriteError> {
        self.store.delete(key, revision)
    }
}

#[test]
fn a_claim_that_was_overtaken_backs_out() {
    for other in ["10.0.0.0/29", "10.0.0.0/30", "10.0.0.2/31"] {
        let lab = Lab::new();
        let store = Overtaken { store: lab.store(), other: Some(other).into() };
        let ipam = lab.node_on("n1", store);
        ipam.set_pool("v4".into(), pool("10.0.0.0/28", 30));
        let addresses = ipam.assign(&handle(1)).unwrap();
        let taken: IpNet = other.parse().unwrap();
        assert!(!taken.contains(&addresses[0]), "{addresses:?} is in n2's {other}");
        assert_eq!(lab.owners().len(), 2, "what was backed out of is left in the store");
    }
}

#[test]
fn nodes_that_see_other_block_sizes_never_share_an_address() {
    let lab = Lab::new();
    std::thread::scope(|scope| {
        let run = |(node, block_size): (&'static str, u8)| {
            let lab = &lab;
            scope.spawn(move || {
                let ipam = lab.node(node);
                ipam.set_pool("v4".into(), pool("10.0.0.0/26", block_size));
                for n in 0..12 {
                    ipam.assign(&handle(n)).unwrap();
                }
            })
        };
        let threads: Vec<_> = [("n1", 30), ("n2", 29), ("n3", 31)].into_iter().map(run).collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
    });
    let blocks: Vec<IpNet> = lab.owners().into_keys().collect();
    for (i, a) in blocks.iter().enumerate() {
        assert!(blocks[..i].iter().all(|b| !a.contains(b) && !b.contains(a)), "{blocks:?}");
    }
}

#[test]
fn thirty_at_once_get_thirty_addresses() {
    let lab = Lab::new();
    let ipam = lab.node("n1");
    ipam.set_pool("v4".into(), pool("10.0.0.0/24", 28));
    let all: Vec<Vec<IpAddr>> = std::thread::scope(|scope| {
        let start = |n| {
            scope.spawn({
                let ipam = &ipam;
                move || ipam.assign(&handle(n)).unwrap()
            })
        };
        let threads: Vec<_> = (0..30).map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(all.iter().flatten().collect::<BTreeSet<_>>().len(), 30);
    assert_eq!(ipam.blocks().len(), 2, "a burst claims no more than it needs");
}
