//! The abstract ruleset in nftables' idiom. Pure: no I/O, no state.
//!
//! # The table
//!
//! ```text
//! forward (hook forward, priority 0)
//!   from or to a pod, revoked            drop, while there is such a connection
//!   (group, own source, established)     vmap @known-flows: accept
//!   not from a pod, established          accept
//!   from a pod      jump from-pods ──> own source? goto judge-egress ──> iifgroup vmap @egress
//!                                      else drop                         goto program-<id>
//!   to a pod        goto to-pods ────> oifgroup vmap @ingress, goto program-<id>
//! input (hook input, priority 0)
//!   not from a pod                       accept
//!   from a pod, revoked                  drop, likewise
//!   (group, own source, established)     vmap @known-flows: accept
//!   neighbour discovery                  accept from the pod or the link (K34)
//!   from a pod      jump from-pods, as above
//!
//! program-<id>  each policy of each tier in order; the end of the tier; the end
//! np/<namespace>/<name>/ingress
//!               the policy's ingress rules, shared by every program that names it; other kinds
//!               than the upstream NetworkPolicy have other names, as gnp/<name>/ingress
//! ```
//! - *Egress Allow is `return`*, which leads back to the base chain, since everything after the
//!   jump to `from-pods` is a `goto`: a packet between two pods of one node is judged by the
//!   sender's egress program and then by the receiver's ingress program, in one base chain and
//!   without a mark. A policy's chain could not return so far, so egress rules stand in their
//!   program's chain.
//! - *Ingress Allow is `accept`*, at any depth. *Deny is `drop`*, final in both directions.
//! - Each drop is a `goto` to the chain of its decision, `drop/…`, which counts and tells of it
//!   ([`record`]); Log rules jump to such a chain and go on.
//! - *Staged policies* have chains whose rules count and return.
//! - *No match* falls through to the next policy. *Pass* is a `goto` to the program's next part;
//!   since only a program knows what follows a tier, a policy with a Pass rule stands in its
//!   programs' chains in both directions.
//! - *A pod's interface* is told from others by its name, and from other pods' by its group, a
//!   number that follows from the name and that only the host can set (`link_group`).
//! - *An unknown pod interface*, and one whose group is wrong, has no own source address and is in
//!   no map: dropped (K37).
//! - *A forged source* is dropped (C41), for packets of known flows too: a pod cannot speak in a
//!   flow of another. Connection tracking has seen the packet by then, but keeps no entry for what
//!   is dropped. A chain before it would cost every packet one more hook.
//! - *A revoked connection* (K33) is one that policy admitted and does not any more. Its entry of
//!   connection tracking bears a mark that the agent sets. The rules that look at it are there only
//!   while an entry bears it: packets do not pay for what does not happen.
//! - *Own node* (K30): packets that the node itself sends pass no hook of ours, so nothing can stop
//!   them, whatever source address they bear. Packets of a pod to its node are judged by its egress
//!   program and then accepted, as Kubernetes users expect.
//! - *Foreign traffic*, on interfaces without the pod prefix, is accepted by us, which is not final
//!   for other tables.
//!
//! # Cost
//!
//! A packet of a known flow meets one base chain, and, from a pod, one lookup that asks for its
//! source and its state together (docs/decisions/0008-source-check.md). Sets are shared by content. [`merge`] joins what can be one lookup, so that a new connection does not
//! pay for the length of a policy.

mod matches;
mod merge;
mod policy;
mod record;
mod sets;
mod skeleton;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::Name;

pub use policy::{lower_policy, lower_program};
pub use record::{Recording, specimen};
pub use sets::{Source, dispatch_elements, element, members};
pub use skeleton::{skeleton, stops_revoked};

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
