//! The object-level reference evaluator.
