//! The speaker against real routers, in network namespaces (root, BIRD 2, FRR 8).

mod bird;
mod exchange;
mod faults;
mod filters;
mod frr;
mod isolation;
mod password;
mod restart;
mod router;
mod scale;
mod ttl;
mod world;
