//! The pools that blocks are cut from.

use std::collections::{BTreeMap, BTreeSet};

use brindle_model::Name;
use brindle_model::cluster::IpPool;
use brindle_model::net::Family;
use ipnet::IpNet;

use crate::block::{MAX_HOST_BITS, address_like, bits};

/// All pools by name. Sources reject pools that overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pools(BTreeMap<Name, IpPool>);

impl Pools {
    /// Adds, changes or removes a pool.
    pub(crate) fn set(&mut self, name: Name, pool: Option<IpPool>) {
        match pool {
            Some(pool) => self.0.insert(name, pool),
            None => self.0.remove(&name),
        };
    }

    /// The families that a pod must get: those that have a pool, be it disabled.
    pub(crate) fn families(&self) -> BTreeSet<Family> {
        self.0.values().map(|pool| Family::of_net(pool.cidr)).collect()
    }

    /// The pools of a family that new addresses may come from.
    pub(crate) fn enabled(&self, family: Family) -> impl Iterator<Item = (&Name, &IpPool)> {
        self.of_family(family).filter(|(_, pool)| !pool.disabled)
    }

    /// All pools of a family.
    pub(crate) fn of_family(&self, family: Family) -> impl Iterator<Item = (&Name, &IpPool)> {
        self.0.iter().filter(move |(_, pool)| Family::of_net(pool.cidr) == family)
    }

    /// The pool that a block lies in.
    pub(crate) fn pool_of(&self, block: IpNet) -> Option<(&Name, &IpPool)> {
        self.0.iter().find(|(_, pool)| pool.cidr.contains(&block))
    }

    /// Whether new addresses may come from a block.
    pub(crate) fn allow(&self, block: IpNet) -> bool {
        self.pool_of(block).is_some_and(|(_, pool)| !pool.disabled)
    }

    /// A block that overlaps none of `taken`: the first one after `skip` free ones, in the order of
    /// pool names and addresses, counted round and round.
    pub(crate) fn free_block(&self, family: Family, taken: &[IpNet], skip: usize) -> Option<IpNet> {
        let free = self.enabled(family).flat_map(|(_, pool)| FreeBlocks::new(pool, taken));
        let free: Vec<IpNet> = free.take(skip + 1).collect();
        free.get(skip % free.len().max(1)).copied()
    }
}

/// Prefix length of the pool's blocks: a pool smaller than a block is one block, and no block has
/// more than [`MAX_HOST_BITS`].
pub(crate) fn block_prefix_len(pool: &IpPool) -> u8 {
    let longest = pool.cidr.max_prefix_len();
    pool.block_size.max(pool.cidr.prefix_len()).max(longest - MAX_HOST_BITS).min(longest)
}

/// How many blocks a pool has.
pub(crate) fn block_count(pool: &IpPool) -> u128 {
    1u128
        .checked_shl(u32::from(block_prefix_len(pool) - pool.cidr.prefix_len()))
        .unwrap_or(u128::MAX)
}

/// Walks a pool's free blocks upwards. Costs one step a taken block, not one a block.
struct FreeBlocks {
    /// Taken ranges that touch the pool, first and last address, ascending.
    taken: std::iter::Peekable<std::vec::IntoIter<(u128, u128)>>,
    pool: IpNet,
    prefix_len: u8,
    /// First address of the next candidate; `None` at the end of the address space.
    next: Option<u128>,
}

impl FreeBlocks {
    fn new(pool: &IpPool, taken: &[IpNet]) -> Self {
        let touches = |net: &&IpNet| pool.cidr.contains(*net) || net.contains(&pool.cidr);
        let mut taken: Vec<_> = taken.iter().filter(touches).map(range).collect();
        taken.sort_unstable();
        Self {
            taken: taken.into_iter().peekable(),
            pool: pool.cidr,
            prefix_len: block_prefix_len(pool),
            next: Some(bits(pool.cidr.network())),
        }
    }

    fn size(&self) -> u128 {
        1 << (self.pool.max_prefix_len() - self.prefix_len)
    }
}

impl Iterator for FreeBlocks {
    type Item = IpNet;

    fn next(&mut self) -> Option<IpNet> {
        loop {
            let (first, size) = (self.next?, self.size());
            let last = first + (size - 1);
            if last > bits(self.pool.broadcast()) {
                return None;
            }
            match self.taken.peek() {
                Some((_, end)) if *end < first => {
                    self.taken.next();
                }
                Some((start, end)) if *start <= last => {
                    // The first block boundary after the taken range.
                    self.next = (end / size + 1).checked_mul(size);
                }
                _ => {
                    self.next = last.checked_add(1);
                    let network = address_like(self.pool.network(), first);
                    return Some(IpNet::new_assert(network, self.prefix_len));
                }
            }
        }
    }
}

fn range(net: &IpNet) -> (u128, u128) {
    (bits(net.network()), bits(net.broadcast()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(pools: &[(&str, &str, u8, bool)]) -> Pools {
        let mut all = Pools::default();
        for (name, cidr, block_size, disabled) in pools {
            let cidr = cidr.parse().unwrap();
            let pool = IpPool { cidr, block_size: *block_size, disabled: *disabled };
            all.set((*name).into(), Some(pool));
        }
        all
    }

    fn free(pools: &Pools, family: Family, taken: &[&str], skip: usize) -> Option<String> {
        let taken: Vec<IpNet> = taken.iter().map(|t| t.parse().unwrap()).collect();
        pools.free_block(family, &taken, skip).map(|net| net.to_string())
    }

    #[test]
    fn the_first_gap_is_found() {
        let pools = pools(&[("a", "10.0.0.0/24", 26, false)]);
        assert_eq!(free(&pools, Family::V4, &[], 0).unwrap(), "10.0.0.0/26");
        let taken = ["10.0.0.0/26", "10.0.0.128/26"];
        assert_eq!(free(&pools, Family::V4, &taken, 0).unwrap(), "10.0.0.64/26");
        assert_eq!(free(&pools, Family::V4, &taken, 1).unwrap(), "10.0.0.192/26");
        assert_eq!(free(&pools, Family::V4, &taken, 2).unwrap(), "10.0.0.64/26");
        assert_eq!(free(&pools, Family::V4, &["10.0.0.0/8"], 0), None);
    }

    #[test]
    fn blocks_of_another_size_are_kept_clear_of() {
        let pools = pools(&[("a", "10.0.0.0/24", 26, false)]);
        let taken = ["10.0.0.0/28", "10.0.0.64/27", "10.0.0.96/32"];
        assert_eq!(free(&pools, Family::V4, &taken, 0).unwrap(), "10.0.0.128/26");
    }

    #[test]
    fn disabled_pools_and_other_families_give_nothing() {
        let pools = pools(&[("a", "10.0.0.0/24", 26, true), ("b", "fd00::/64", 122, false)]);
        assert_eq!(free(&pools, Family::V4, &[], 0), None);
        assert_eq!(free(&pools, Family::V6, &["fd00::/122"], 0).unwrap(), "fd00::40/122");
        assert_eq!(pools.families().len(), 2);
        assert!(!pools.allow("10.0.0.0/26".parse().unwrap()));
    }

    #[test]
    fn the_end_of_the_address_space_is_the_end() {
        let end = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120";
        let pools = pools(&[("a", "255.255.255.0/24", 25, false), ("b", end, 121, false)]);
        let taken = ["255.255.255.128/25", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff80/121"];
        for family in Family::ALL {
            assert!(free(&pools, family, &taken, 0).is_some());
            assert_eq!(
                free(
                    &pools,
                    family,
                    &[
                        taken[0],
                        taken[1],
                        "255.255.255.0/25",
                        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/121"
                    ],
                    0
                ),
                None
            );
        }
    }

    #[test]
    fn a_pool_smaller_than_a_block_is_one_block() {
        let pools = pools(&[("a", "10.0.0.16/28", 26, false)]);
        assert_eq!(free(&pools, Family::V4, &[], 0).unwrap(), "10.0.0.16/28");
        assert_eq!(free(&pools, Family::V4, &["10.0.0.16/28"], 0), None);
    }
}
