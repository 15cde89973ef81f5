//! Mistakes that an implementer of the policy semantics makes, seeded on purpose, to prove that the
//! generated worlds would show them.
//!
//! A mistake is a value: a change of what the compiler is given (a conversion or a compiler that
//! misreads an object), of the ruleset that it gives (a compiler that lowers, orders or fills sets
//! wrongly), or of the packet that is judged (a matcher that looks at the wrong field). So all of
//! them run in one process, over the same worlds, without building the compiler anew; the question
//! is whether the worlds and flows tell a wrong result from a right one, not how it came about.

mod criteria;
mod objects;
mod policies;
mod rulesets;

use brindle_compiler::Compiler;
use brindle_model::cluster::Update;
use brindle_model::packet::{Flow, Packet, Transport};
use brindle_model::ruleset::Ruleset;
use brindle_oracle::World;

use super::compiled::{Answer, Compiled, Fabric, Inputs, ask_again};

/// A mistake: its name, and what it does.
#[derive(Clone, Copy)]
pub struct Mistake {
    /// What is done wrongly, in a few words.
    pub name: &'static str,
    slip: Slip,
}

/// Where a mistake slips in.
#[derive(Clone, Copy)]
enum Slip {
    /// An input is misread.
    Input(fn(&mut Update)),
    /// A ruleset is built wrongly.
    Ruleset(fn(&mut Ruleset)),
    /// A packet is looked at wrongly.
    Packet(fn(&mut Packet)),
}

/// What spoils a `T`, with its name.
type Named<T> = (&'static str, fn(&mut T));

/// Every mistake.
pub fn all() -> Vec<Mistake> {
    let input = |(name, slip)| Mistake { name, slip: Slip::Input(slip) };
    let ruleset = |(name, slip)| Mistake { name, slip: Slip::Ruleset(slip) };
    let packet = |(name, slip)| Mistake { name, slip: Slip::Packet(slip) };
    let inputs = policies::MISTAKES.iter().chain(criteria::MISTAKES).chain(objects::MISTAKES);
    let rulesets = rulesets::MISTAKES.iter();
    let packets = PACKETS.iter();
    inputs
        .copied()
        .map(input)
        .chain(rulesets.copied().map(ruleset))
        .chain(packets.copied().map(packet))
        .collect()
}

/// Mistakes of a matcher.
const PACKETS: &[Named<Packet>] = &[
    ("the source port is taken for the destination port", |packet| match &mut packet.transport {
        Transport::Tcp { source, destination }
        | Transport::Udp { source, destination }
        | Transport::Sctp { source, destination } => *destination = *source,
        Transport::Icmp { .. } | Transport::Other(_) => {}
    }),
    ("the source port is not looked at", |packet| match &mut packet.transport {
        Transport::Tcp { source, .. }
        | Transport::Udp { source, .. }
        | Transport::Sctp { source, .. } => *source = 0,
        Transport::Icmp { .. } | Transport::Other(_) => {}
    }),
    ("source and destination address are swapped", |packet| {
        std::mem::swap(&mut packet.source, &mut packet.destination);
    }),
    ("the ICMP code is not looked at", |packet| {
        if let Transport::Icmp { code, .. } = &mut packet.transport {
            *code = 0;
        }
    }),
    ("UDP passes for TCP", |packet| {
        if let Transport::Udp { source, destination } = packet.transport {
            packet.transport = Transport::Tcp { source, destination };
        }
    }),
    ("SCTP passes for TCP", |packet| {
        if let Transport::Sctp { source, destination } = packet.transport {
            packet.transport = Transport::Tcp { source, destination };
        }
    }),
    ("protocols without ports pass for TCP", |packet| {
        if let Transport::Other(_) | Transport::Icmp { .. } = packet.transport {
            packet.transport = Transport::Tcp { source: 40_000, destination: 80 };
        }
    }),
];

impl Mistake {
    /// The rulesets of all nodes, with the mistake.
    pub fn compile(&self, mut inputs: Vec<Inputs>, world: &World) -> Vec<Ruleset> {
        if let Slip::Input(misread) = self.slip {
            inputs.iter_mut().flat_map(|inputs| &mut inputs.updates).for_each(misread);
        }
        let compiled = Compiled::from_inputs(inputs, world);
        let rulesets = compiled.nodes().iter().map(Compiler::ruleset).cloned();
        let mut rulesets: Vec<_> = rulesets.collect();
        if let Slip::Ruleset(spoil) = self.slip {
            rulesets.iter_mut().for_each(spoil);
        }
        rulesets
    }

    /// What such rulesets say of a flow, with the mistake.
    pub fn judge(&self, fabric: &Fabric, rulesets: &[&Ruleset], flow: &Flow) -> Vec<Answer> {
        let answers = fabric.judge(rulesets, flow);
        let Slip::Packet(misread) = self.slip else { return answers };
        // Which endpoints a packet passes is routing's business; only what they see is wrong.
        let mut packet = flow.packet;
        misread(&mut packet);
        answers.iter().map(|answer| ask_again(rulesets, answer, &packet)).collect()
    }
}
