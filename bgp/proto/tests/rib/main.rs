//! The tables against naive ones: decision, import, restart, and what a peer ends up with.

mod decision;
mod export;
mod fixture;
mod groups;
mod policy;
mod reflection;
mod restart;
mod roles;
mod table;
