//! Whole speakers without sockets and clocks: a network in memory, time that jumps.

mod any_input;
mod explain;
mod net;
mod observe;
mod plan;
mod ranges;
mod scenarios;
mod service;
