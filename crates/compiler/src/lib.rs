//! Inputs to ruleset and routes: pure, synchronous, incremental.
//!
//! ```text
//!  Update ──apply──> pending values, last one per key
//!                         │ flush
//!        ┌────────────────┼──────────────────────────────┬───────────────┐
//!        v                v                              v               v
//!   World                Selection                                   Topology
//!   namespaces,          policies ── subject ──> SelectorIndex       peers, settings,
//!   accounts ───┐        tiers ──────────┐          │                blocks, nodes
//!   pods ───────┼─ labels ───────────────┼──────────┤                   │
//!   attachments ┘                        │  policies of an endpoint     │
//!   network sets,                        └─────────>│                   │
//!   slices, nodes                                   v                   │
//!        │                            Program, shared by content        │
//!        │                                          │ uses              │
//!        │                            PolicyRules, lowered once         │
//!        │                                          │ uses              │
//!        └── labels, addresses ──> Membership <── SetDef                │
//!                                       │                               │
//!                                  set members                          │
//!                                       v                               v
//!                               RulesetDelta ─────── Batch ───── routing::Change
//! ```
//!
//! **Output is a function of the current inputs.** [`Compiler::apply`] only notes the last value of
//! a key, so repeated, reverted, reordered and spurious updates cost nothing and leave no trace.
//! [`Compiler::flush`] compares each noted value with the one before, follows what really changed
//! through the joins above, and completes a generation. The property tests walk random edits and
//! hold every flush against a fresh compile, against a holder of deltas, and against a scan that
//! uses none of the indexes.
//!
//! **Only what an endpoint of this node needs is compiled.** A policy that no program names is kept
//! as an input and not lowered; a set that no lowered policy names has no members. When a policy
//! edit or a new endpoint needs a set, it is filled from the pods or network sets that the inverted
//! label lists name, so this costs those that may match and not the cluster.
//!
//! **What a change costs** (policy-semantics §6.6):
//!
//! | Change | Work |
//! |---|---|
//! | pod, anywhere | the active sets whose selector its old or new labels match; on its node also its programs |
//! | namespace or service account labels | the same for its pods; the network sets of a namespace too |
//! | policy rules | lowering that policy; the sets it gains are filled, those it loses go |
//! | policy subject, tier, order, directions | programs of the local endpoints that the old or new subject selects |
//! | tier | programs of the local endpoints with a policy in it |
//! | whether something is incomplete | lowering every active policy: it is a mistake in an object |
//! | network set | its prefixes that came or went, in the active sets that select it |
//! | endpoint slice | the members that it alone gives to the active sets of its Service |
//! | attachment | its two programs, and the addresses it claims |
//! | node | its addresses in the active sets of nodes; the list of neighbours, a few words each |
//! | peer, BGP settings | that list |
//! | block | that prefix |
//! | host endpoint, interface of the node | the programs of this node's host endpoints; the sets that know its addresses |

mod announcements;
mod candidates;
mod capacity;
mod claims;
mod compiler;
mod cover;
mod doubts;
mod hosts;
mod inspect;
mod label_lists;
mod lowering;
mod membership;
mod nodes;
mod pods;
mod restriction;
mod routing_trial;
mod selection;
mod selector_index;
mod slices;
mod table;
mod topology;
mod uses;
mod world;

pub use capacity::ProgramLoad;
pub use compiler::{Compiler, snapshot};
pub use inspect::{Bringer, Dump, EndpointDump, HostDump, PolicyDump, SetDump};
pub use routing_trial::Missing;
