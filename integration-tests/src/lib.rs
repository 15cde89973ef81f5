//! Generated worlds, case directories, and the tests that need more than one package.

pub mod apiserver;
pub mod apt;
pub mod case;
pub mod cluster;
pub mod fuzz;
pub mod netfilter;
pub mod rig;
pub mod single_node;
pub mod vm;
pub mod worlds;
