//! The cover of prefixes that come and go, kept up to date at the price of each change (C27).
//!
//! ```text
//!  owners ──nets──> counts (may nest, refcounted) ──> cover (disjoint, minimal)
//! ```
//! A prefix belongs to the cover if all of it is counted and all of its parent is not. So a new
//! prefix that nothing covers takes in whatever lay inside it, and grows upwards for as long as its
//! sibling is there too. One that goes, and that no other still covers, breaks its piece of the
//! cover into the siblings on the way down to it, and within itself leaves what is counted there.
//! Prefixes sort by address and then by length, so what lies inside one stands behind it in a row.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::cover;

/// Counted prefixes, and their cover.
#[derive(Debug, Default)]
pub(crate) struct CountedCover {
    counts: BTreeMap<IpNet, usize>,
    pieces: BTreeSet<IpNet>,
}

/// Pieces of a cover that came and went; disjoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CoverDelta {
    pub added: BTreeSet<IpNet>,
    pub removed: BTreeSet<IpNet>,
}

impl CountedCover {
    /// Counts every prefix once for each time it comes.
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let mut counts = BTreeMap::new();
        for net in nets {
            *counts.entry(net).or_default() += 1;
        }
        let pieces = cover(counts.keys().map(|net| (net, &[][..]))).into_iter().collect();
        Self { counts, pieces }
    }

    /// The cover, sorted.
    pub fn pieces(&self) -> &BTreeSet<IpNet> {
        &self.pieces
    }

    /// Counts prefixes that came and went. Every one that goes was counted.
    pub fn change(&mut self, mut came: Vec<IpNet>, mut went: Vec<IpNet>) -> CoverDelta {
        // Wide ones come first and go last, so that what lies inside them is not laid bare between.
        came.sort_unstable_by_key(IpNet::prefix_len);
        went.sort_unstable_by_key(|net| u8::MAX - net.prefix_len());
        let mut delta = CoverDelta::default();
        came.into_iter().for_each(|net| self.count(net, &mut delta));
        went.into_iter().for_each(|net| self.discount(net, &mut delta));
        delta
    }

    fn count(&mut self, net: IpNet, delta: &mut CoverDelta) {
        let count = self.counts.entry(net).or_default();
        *count += 1;
        if *count > 1 || self.piece_around(net).is_some() {
            return;
        }
        let mut grown = net;
        while let Some((parent, sibling)) = family_of(grown)
            && self.pieces.contains(&sibling)
        {
            grown = parent;
        }
        for piece in within(self.pieces.range(grown..), grown).collect::<Vec<_>>() {
            self.remove(piece, delta);
        }
        self.insert(grown, delta);
    }

    fn discount(&mut self, net: IpNet, delta: &mut CoverDelta) {
        let count = self.counts.get_mut(&net).expect("what goes was counted");
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.counts.remove(&net);
        let around = self.piece_around(net).expect("what is counted is covered");
        let mut above = Vec::new();
        let mut wider = net;
        while wider != around
            && let Some((parent, sibling)) = family_of(wider)
        {
            if self.counts.contains_key(&parent) {
                return;
            }
            above.push(sibling);
            wider = parent;
        }
        let inside = within(self.counts.range(net..).map(|(net, _)| net), net);
        let inside: Vec<IpNet> = inside.collect();
        let inside = cover(inside.iter().map(|net| (net, &[][..])));
        if inside != [net] {
            self.remove(around, delta);
            above.into_iter().chain(inside).for_each(|piece| self.insert(piece, delta));
        }
    }

    /// The piece that holds all of a prefix.
    fn piece_around(&self, net: IpNet) -> Option<IpNet> {
        // Pieces are disjoint, so only the last that begins at or before it can.
        self.pieces.range(..=net).next_back().filter(|piece| piece.contains(&net)).copied()
    }

    fn insert(&mut self, piece: IpNet, delta: &mut CoverDelta) {
        self.pieces.insert(piece);
        if !delta.removed.remove(&piece) {
            delta.added.insert(piece);
        }
    }

    fn remove(&mut self, piece: IpNet, delta: &mut CoverDelta) {
        self.pieces.remove(&piece);
        if !delta.added.remove(&piece) {
            delta.removed.insert(piece);
        }
    }
}

/// Those of a sorted row of prefixes, which begins at `net`, that lie inside it.
fn within<'a>(row: impl Iterator<Item = &'a IpNet>, net: IpNet) -> impl Iterator<Item = IpNet> {
    row.take_while(move |inner| net.contains(*inner)).copied()
}

/// The parent of a prefix and its other child; `None` for a whole family.
fn family_of(net: IpNet) -> Option<(IpNet, IpNet)> {
    let parent = net.supernet()?;
    let mut children = parent.subnets(net.prefix_len()).expect("a child is longer by one bit");
    let sibling = children.find(|child| *child != net).expect("a parent has two children");
    Some((parent, sibling))
}

#[cfg(test)]
mod tests;
