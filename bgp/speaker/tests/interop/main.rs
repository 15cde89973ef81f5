//! The speaker against real routers, in network namespaces (root, BIRD 2, FRR 8, GoBGP 3,
//! OpenBGPD 7).

mod bfd;
mod bird;
mod exchange;
mod faults;
mod filters;
mod frr;
mod gobgp;
mod isolation;
mod monitor;
mod next_hop;
mod openbgpd;
mod password;
mod ranges;
mod reflection;
mod restart;
mod roles;
mod router;
mod scale;
mod service;
mod ttl;
mod world;
