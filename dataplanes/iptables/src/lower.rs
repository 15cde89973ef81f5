//! The abstract ruleset in iptables' idiom, one family at a time. Pure: no I/O, no state.
//!
//! # Table `filter`, the same for both families, without host endpoints (`lower/hosts.rs`)
//!
//! ```text
//! FORWARD          jump BRINDLE-FORWARD
//! BRINDLE-FORWARD
//!   from or to a pod, revoked            drop, while there is such a connection
//!   from a pod, known, own source        ACCEPT
//!   from elsewhere to a pod, known       ACCEPT
//!   from a pod, not its own source       drop
//!   from a pod      jump BRINDLE-EGRESS ──> invalid: drop; by interface: goto program
//!   to a pod        goto BRINDLE-TO-PODS ─> invalid: drop; by interface: goto program
//!   from a pod                           ACCEPT
//! INPUT            jump BRINDLE-INPUT
//! BRINDLE-INPUT
//!   not from a pod                       return
//!   from a pod, revoked                  drop, likewise
//!   known, own source                    return
//!   neighbour discovery                  ACCEPT from the pod or the link (K34)
//!   not its own source                   drop
//!                   goto BRINDLE-EGRESS, as above
//!
//! BRINDLE-f-<prefix>, BRINDLE-t-<prefix>   the tree of interfaces' names, from and to pods
//! BRINDLE-g-<hash>   a program of pods: each policy of each tier in order; the end of the tier; the end
//! BRINDLE-p-<hash>   a policy's rules of one direction; its comments name it
//! BRINDLE-c-<hash>   either of them for one class of protocols
//! BRINDLE-h-<hash>   a program of the node's own interfaces (`lower/hosts.rs`)
//! BRINDLE-d-<hash>   where packets of one decision are told of and dropped
//! BRINDLE-l-<hash>   where packets of one Log rule are counted and told of
//! ```
//! - *No mark of a packet is ours.* As in the nftables backend, everything after the jump to
//!   `BRINDLE-EGRESS` is a goto, so egress Allow is RETURN and leads back to `BRINDLE-FORWARD`:
//!   a packet between two pods of one node is judged by the sender's egress program and then by
//!   the receiver's ingress program. A policy's chain could not return so far, so egress rules
//!   stand in their program's chain.
//! - *Ingress Allow is ACCEPT*, at any depth, and so is the end of `BRINDLE-FORWARD` for what a pod
//!   sends: other programs make DROP the policy of `FORWARD`. *Deny* is final everywhere.
//! - *What a pod sends to its node* returns to `INPUT` when it is admitted: the node's own firewall
//!   says the rest.
//! - *Negations* that no rule can hold ("not port 80", of any protocol) make a chain be written once
//!   for each class of protocols ([`matches`]).
//! - *Pass* goes to the program's next part. *Staged policies* have chains whose rules return.
//! - *An unknown pod interface* has no own source and is in no tree: dropped (K37).
//! - *Foreign traffic* meets five rules that do not match it, and goes on.
//!
//! nf_tables follows 16 jumps and gotos one after the other. Six lead to a program, each tier with
//! a Pass rule is one more, and policies, Log rules and drops are two at the end.
//!
//! A chain's name holds 28 bytes, so those of policies are hashes; the comments of their rules, and
//! of the rules that jump there, name the policy.

mod dispatch;
mod hosts;
mod matches;
mod merge;
mod policy;
mod record;
mod skeleton;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use brindle_model::Name;
use brindle_model::ruleset::content_hash;

pub use dispatch::{dispatch, own_sources};
pub use hosts::{Gate, Stages, host_programs, hosts, unnameable};
pub use policy::{lower_host_program, lower_policy, lower_program};
pub use record::Recording;
pub use skeleton::{HOOKS, Hook, skeleton, stops_revoked};

use crate::rule::Chain;
use crate::set::SetUse;

/// Every chain of ours has a name that begins so, and no other has: the ownership mark.
pub const CHAIN_PREFIX: &str = "BRINDLE-";

/// Chains of one owner (a policy, a program, the skeleton) in one family, and the sets they refer
/// to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lowered {
    /// The chains.
    pub chains: BTreeMap<Name, Arc<Chain>>,
    /// The sets.
    pub sets: BTreeMap<Name, SetUse>,
}

/// The name of a chain of a kind: what it is for, hashed to 16 digits.
fn chain_name(kind: char, of: &str) -> Name {
    format!("{CHAIN_PREFIX}{kind}-{:016x}", content_hash(of)).into()
}
