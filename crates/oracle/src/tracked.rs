//! Packets of connections that were admitted before the objects changed (K33).

use brindle_model::packet::{ConnState, Flow};
use brindle_model::verdict::{DecisionId, Verdict};

use crate::judge::{Outcome, judge};
use crate::trace::{Place, Trace};
use crate::world::World;

/// What becomes of connections that are not admitted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingConnections {
    /// Every packet is judged as the connection's first one would be now.
    Reevaluate,
    /// They go on until they end.
    Keep,
}

/// Judges a packet that connection tracking takes for part of `tracked`, the first packet of a
/// connection that began under `before`. The packet may go either way (`ConnState::Established`)
/// or be an ICMP error about the connection (`ConnState::Related`).
///
/// A connection that `before` did not admit does not exist: its packet is the first of a new one.
pub fn judge_packet(
    before: &World,
    now: &World,
    tracked: &Flow,
    packet: &Flow,
    existing: ExistingConnections,
) -> Outcome {
    let first = Flow { state: ConnState::New, ..tracked.clone() };
    let belongs = matches!(packet.state, ConnState::Established | ConnState::Related);
    if belongs && !judge(before, &first).delivered {
        return judge(now, &Flow { state: ConnState::New, ..packet.clone() });
    }
    let mut outcome = judge(now, packet);
    if !belongs || existing == ExistingConnections::Keep {
        return outcome;
    }
    // K33: the verdict of a pod on the connection holds for both directions of it. What is decided
    // before connection tracking is asked (K30, K34, C41) stays as it is.
    let again = judge(now, &first);
    for hop in outcome.hops.iter_mut().filter(|h| h.decision == DecisionId::Established) {
        let denial = again.hops.iter().find(|h| h.pod == hop.pod && h.verdict == Verdict::Deny);
        if let Some(denial) = denial {
            hop.verdict = Verdict::Deny;
            hop.decision = denial.decision.clone();
            let mut trace = Trace(std::mem::take(&mut hop.trace));
            trace.note("K33", Place::Hop, true, "the connection is not admitted any more");
            trace.0.extend(denial.trace.iter().cloned());
            hop.trace = trace.0;
        }
    }
    outcome.settle();
    outcome
}
