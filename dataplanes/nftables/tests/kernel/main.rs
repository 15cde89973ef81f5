//! The backend against the running kernel. Needs root; everything happens in network namespaces of
//! its own, which end with the test.

mod generate;
mod load;
mod namespace;
