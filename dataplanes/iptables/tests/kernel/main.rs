//! The backend against the real kernel, both variants of iptables.

mod conformance;
mod namespace;
