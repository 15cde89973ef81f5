//! The abstract ruleset in nftables' idiom. Pure: no I/O, no state.
//!
//! # The table
//!
//! ```text
//! hook          chain         what it does
//! prerouting    antispoof     from a pod interface only with the pod's own source address (C41);
//!   raw (-300)                before connection tracking, so a forged packet cannot touch a flow
//! forward 0     from-pods     established | invalid | iifname vmap @egress  -> goto program
//! forward 1     to-pods       established | invalid | oifname vmap @ingress -> goto program
//! input 0       pods-to-host  as from-pods; neighbour discovery passes (K34)
//!
//! program-<id>  jump to each policy of each tier in order; the end of the tier; the end
//! <policy>      the policy's rules of one direction, shared by every program that names it
//! ```
//! - *Allow is `accept`*: it ends the base chain, and the next base chain still runs. So a packet
//!   between two pods of one node is judged by the sender's egress program in `from-pods`, and
//!   then by the receiver's ingress program in `to-pods`, without a mark and however deep the
//!   verdict was found. *Deny is `drop`* and final.
//! - *No match* falls out of the policy's chain and on to the next policy. A policy with a *Pass*
//!   rule has no chain of its own, since only its program knows what follows the tier: its rules
//!   stand in the program's chain, and Pass is a `goto` to the program's next part.
//! - *An unknown pod interface* is in no dispatch map and is dropped (K37).
//! - *Own node* (K30): packets that the node itself sends pass no hook of ours, so nothing can stop
//!   them, whatever source address they bear. Packets of a pod to its node are judged by its egress
//!   program and then accepted, as Kubernetes users expect.
//! - *Foreign traffic*, on interfaces without the pod prefix, is accepted at once; accept is not
//!   final for other tables.
//!
//! # Cost
//!
//! An established packet passes one map lookup in `antispoof` and one rule in each of two chains.
//! Sets are shared by content. [`merge`] joins what can be one lookup, so that a new connection
//! does not pay for the length of a policy.

mod matches;
mod merge;
mod policy;
mod sets;
mod skeleton;

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::Name;

pub use policy::{lower_policy, lower_program};
pub use sets::{Source, dispatch_elements, element, members};
pub use skeleton::skeleton;

use crate::table::{Chain, SetSpec};

/// A set that a chain refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUse {
    /// What it is.
    pub spec: Arc<SetSpec>,
    /// Where its elements come from.
    pub source: Source,
}

/// Chains of one owner (a policy, a program, the skeleton), and the sets they refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lowered {
    /// The chains.
    pub chains: BTreeMap<Name, Arc<Chain>>,
    /// The sets.
    pub sets: BTreeMap<Name, SetUse>,
}
