//! Inputs to ruleset and routes: pure, synchronous, incremental.
