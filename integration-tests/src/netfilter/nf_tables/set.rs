//! Sets and maps (`nft_set_hash.c`, `nft_set_rbtree.c`).

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::Verdict;

/// A set of keys of one length, or a map from them to verdicts.
#[derive(Clone, Debug)]
pub struct Set {
    /// Whether it is a map.
    pub map: bool,
    /// Whether elements are where intervals begin and end.
    pub interval: bool,
    /// Bytes of a key.
    pub key_len: usize,
    /// The most elements, if that is bounded.
    pub size: Option<usize>,
    /// The elements. Of two at one place, the end of an interval comes before the beginning.
    pub elements: BTreeMap<Element, Option<Verdict>>,
}

/// An element's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The key.
    pub key: Vec<u8>,
    /// Whether it is not the end of an interval (`NFT_SET_ELEM_INTERVAL_END`).
    pub begins: bool,
}

impl Set {
    /// Adds an element.
    ///
    /// # Errors
    /// The kernel would refuse it.
    pub fn add(&mut self, element: Element, verdict: Option<Verdict>) -> Result<()> {
        ensure!(element.key.len() == self.key_len, "a key of another length");
        ensure!(
            verdict.is_some() == (self.map && element.begins),
            "a verdict where none is, or none"
        );
        ensure!(self.interval || element.begins, "the end of an interval in a set without");
        let old = self.elements.insert(element, verdict.clone());
        ensure!(old.is_none_or(|old| old == verdict), "a key with two verdicts");
        ensure!(self.size.is_none_or(|size| self.elements.len() <= size), "a full set");
        Ok(())
    }

    /// The element that a key finds, with its verdict in a map.
    pub fn find(&self, key: &[u8]) -> Option<&Option<Verdict>> {
        let at = Element { key: key.to_vec(), begins: true };
        if !self.interval {
            return self.elements.get(&at);
        }
        let (last, verdict) = self.elements.range(..=at).next_back()?;
        last.begins.then_some(verdict)
    }

    /// What its elements decide.
    pub fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.elements.values().flatten()
    }
}
