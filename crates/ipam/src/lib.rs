//! Block-based address management over a compare-and-swap store.
