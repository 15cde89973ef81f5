//! Random walks of two nodes over one store.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Assign { node: usize, pod: usize },
    Release { node: usize, pod: usize },
    ReleaseIdleBlocks { node: usize },
    Restart { node: usize },
    Disable { pool: usize, disabled: bool },
}

const NODES: [&str; 2] = ["n1", "n2"];
const POOLS: [(&str, &str, u8); 3] =
    [("a", "10.0.0.0/28", 30), ("b", "10.1.0.0/30", 30), ("c", "fd00::/123", 126)];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (node, pod) = (0..NODES.len(), 0..12_usize);
    let step = prop_oneof![
        8 => (node.clone(), pod.clone()).prop_map(|(node, pod)| Step::Assign { node, pod }),
        6 => (node.clone(), pod).prop_map(|(node, pod)| Step::Release { node, pod }),
        2 => node.clone().prop_map(|node| Step::ReleaseIdleBlocks { node }),
        1 => node.prop_map(|node| Step::Restart { node }),
        1 => (0..POOLS.len(), any::<bool>())
            .prop_map(|(pool, disabled)| Step::Disable { pool, disabled }),
    ];
    prop::collection::vec(step, 1..60)
}

struct Walk {
    lab: Lab,
    nodes: Vec<Option<Ipam<FileStore>>>,
    disabled: [bool; POOLS.len()],
    expected: BTreeMap<(usize, Handle), Vec<IpAddr>>,
}

impl Walk {
    fn new() -> Self {
        let lab = Lab::new();
        let mut walk = Self {
            lab,
            nodes: vec![None, None],
            disabled: [false; POOLS.len()],
            expected: BTreeMap::new(),
        };
        (0..NODES.len()).for_each(|node| walk.restart(node));
        walk
    }

    fn node(&self, node: usize) -> &Ipam<FileStore> {
        self.nodes[node].as_ref().unwrap()
    }

    fn restart(&mut self, node: usize) {
        drop(self.nodes[node].take());
        self.nodes[node] = Some(self.lab.node(NODES[node]));
        (0..POOLS.len()).for_each(|pool| self.set_pool(node, pool));
    }

    fn set_pool(&self, node: usize, pool: usize) {
        let (name, cidr, block_size) = POOLS[pool];
        let (cidr, disabled) = (cidr.parse().unwrap(), self.disabled[pool]);
        self.node(node).set_pool(name.into(), Some(IpPool { cidr, block_size, disabled }));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Assign { node, pod } => self.assign(node, pod),
            Step::Release { node, pod } => {
                let given = self.node(node).release(&handle(pod)).unwrap();
                let held = self.expected.remove(&(node, handle(pod)));
                assert_eq!(given, held.unwrap_or_default());
            }
            Step::ReleaseIdleBlocks { node } => {
                drop(self.node(node).release_idle_blocks().unwrap())
            }
            Step::Restart { node } => self.restart(node),
            Step::Disable { pool, disabled } => {
                self.disabled[pool] = disabled;
                (0..NODES.len()).for_each(|node| self.set_pool(node, pool));
            }
        }
    }

    fn assign(&mut self, node: usize, pod: usize) {
        let key = (node, handle(pod));
        match (self.node(node).assign(&handle(pod)), self.expected.get(&key)) {
            (Ok(addresses), Some(held)) => assert_eq!(addresses, *held),
            (Ok(addresses), None) => {
                assert_eq!(addresses.len(), 2);
                for addr in &addresses {
                    let pool = POOLS
                        .iter()
                        .position(|(_, cidr, _)| cidr.parse::<IpNet>().unwrap().contains(addr));
                    assert!(!self.disabled[pool.unwrap()], "{addr} is from a disabled pool");
                }
                self.expected.insert(key, addresses);
            }
            (Err(AssignError::Exhausted { .. } | AssignError::Disabled { .. }), None) => {}
            (Err(e), _) => panic!("{e}"),
        }
    }

    fn check(&self) {
        let addresses: Vec<&IpAddr> = self.expected.values().flatten().collect();
        let distinct: BTreeSet<&IpAddr> = addresses.iter().copied().collect();
        assert_eq!(distinct.len(), addresses.len(), "an address was given twice");
        let owners = self.lab.owners();
        for (node, name) in NODES.iter().enumerate() {
            let owned = owners.iter().filter(|(_, owner)| owner == name).map(|(cidr, _)| *cidr);
            assert_eq!(self.node(node).blocks(), owned.collect());
            let held = self.expected.iter().filter(|((n, _), _)| *n == node);
            let held: BTreeMap<_, _> =
                held.map(|((_, handle), addresses)| (handle.clone(), addresses.clone())).collect();
            let taken: u128 = self.node(node).status().iter().map(|block| block.taken).sum();
            assert_eq!(taken as usize, 2 * held.len());
            assert_eq!(self.node(node).leases(), held);
        }
    }

    /// Takes everything back: all that may remain is one block of each family a node.
    fn finish(mut self) {
        for (node, handle) in std::mem::take(&mut self.expected).into_keys() {
            self.node(node).release(&handle).unwrap();
        }
        for node in 0..NODES.len() {
            (0..2).for_each(|_| drop(self.node(node).release_idle_blocks().unwrap()));
        }
        self.check();
        let left = self.lab.owners();
        for (node, family) in NODES.iter().flat_map(|n| Family::ALL.map(|f| (n, f))) {
            let mine = left.iter().filter(|(c, n)| n == node && Family::of_net(**c) == family);
            assert!(mine.count() <= 1, "{left:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn no_walk_gives_an_address_twice_or_leaks_one(steps in steps()) {
        let mut walk = Walk::new();
        for step in steps {
            walk.step(step);
            walk.check();
        }
        walk.finish();
    }
}
