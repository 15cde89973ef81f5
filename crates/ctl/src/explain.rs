//! `brindlectl explain`: what becomes of a packet, and why.
//!
//! ```text
//! source ──> API objects ──> oracle: verdict and every clause that was asked ──> words
//!        └─> inputs ──> compiler ──> verdict of what a kernel is given ─────────> must agree
//! ```
//! The packet is the first of a new flow. Both ends are looked up in the objects; a family that
//! both have is one answer. Behind a Service every backend that may be chosen is one.

mod facts;
mod services;
mod words;

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use brindle_model::net::Family;
use brindle_model::packet::{ConnState, Flow, Origin, Packet, Transport};
use brindle_model::verdict::{DecisionId, Direction, Verdict};
use brindle_oracle::{Step, judge, judge_behind_service, nearest_miss};
use serde::Serialize;

pub use facts::Facts;

use crate::cli::{End, PortAndProtocol, Question};
use crate::output::{self, Format};
use facts::Located;

/// Port that a client speaks from; policy never looks at it (K19).
const SOURCE_PORT: u16 = 40_000;

/// What becomes of one packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Who sends, as it was asked.
    pub from: String,
    /// Who is sent to, as it was asked.
    pub to: String,
    /// The Service that the packet was sent to, and what became of it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<ThroughService>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, behind a Service.
    pub destination: IpAddr,
    /// Port and protocol, behind a Service.
    pub port: String,
    /// Whether every hop allows it.
    pub delivered: bool,
    /// Who judges it: the pods, source first, then the host endpoints in the order in which it passes
    /// them; none if policy has no say.
    pub hops: Vec<HopExplanation>,
}

/// A Service on a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThroughService {
    /// `namespace/name`.
    pub service: String,
    /// Its port, in words.
    pub port: String,
    /// The pod behind it that this answer is about; none if no pod holds the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

/// What the policies of one pod, or of one stage of a host endpoint, say in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HopExplanation {
    /// Whose policies.
    #[serde(flatten)]
    pub judge: Judge,
    /// The node that decides, if it is known.
    pub node: Option<String>,
    /// `ingress` or `egress`, as seen from the pod or the host endpoint's node.
    pub direction: String,
    /// `allow` or `deny`.
    pub verdict: String,
    /// What decided.
    pub decision: DecisionId,
    /// What decided, in words.
    pub reason: String,
    /// For a denial: the rule that came closest, and what failed first in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closest: Option<Closest>,
    /// Every clause that was asked, in order.
    pub walk: Vec<Clause>,
}

/// Whose policies judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Judge {
    /// A pod.
    Pod {
        /// `namespace/name`.
        pod: String,
    },
    /// A host endpoint.
    Host {
        /// Its name.
        host_endpoint: String,
        /// `untracked`, `pre-dnat`, `forward` or `normal`.
        stage: String,
    },
}

impl fmt::Display for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { pod } => f.write_str(pod),
            Self::Host { host_endpoint, stage } => {
                write!(f, "HostEndpoint {host_endpoint}, {stage} stage")
            }
        }
    }
}

/// A hop of either kind, as the reference evaluator gives it.
struct Judged<'a> {
    judge: Judge,
    node: Option<&'a str>,
    direction: Direction,
    verdict: Verdict,
    decision: &'a DecisionId,
    trace: &'a [Step],
}

/// The rule that came closest to admitting a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Closest {
    /// The rule.
    pub rule: String,
    /// Its criteria that failed, in words, entry by entry.
    pub failed: Vec<String>,
}

/// One clause of the policy semantics, put to the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Clause {
    /// Its number, such as `K8`.
    pub clause: String,
    /// What it is about.
    pub place: String,
    /// Whether it applied.
    pub matched: bool,
    /// What was found.
    pub words: String,
    /// Depth below the hop, for indentation.
    #[serde(skip)]
    depth: usize,
}

/// Judges the packet of a question, once for each family that both ends have; of one to a Service,
/// once for each backend that it may be sent to.
///
/// # Errors
/// An end is not known or has no address, the ends have no family in common, a Service has no such
/// port or no ready endpoint, or the compiler and the reference evaluator disagree.
pub fn explain(facts: &Facts, question: &Question) -> Result<Vec<Explanation>> {
    let from = facts.locate(&question.from)?;
    let source = |family: Family| {
        from.addresses.iter().copied().find(|address| Family::of(*address) == family)
    };
    let mut answers = Vec::new();
    for way in ways(facts, question, &from)? {
        let family = Family::of(way.destination);
        if let Some(source) = source(family) {
            let transport = transport(way.port, family);
            let packet = Packet { source, destination: way.destination, transport };
            answers.push(explain_packet(facts, question, &from.origin, packet, way)?);
        }
    }
    if answers.is_empty() {
        bail!("{} and {} have no address of the same family", question.from, question.to);
    }
    Ok(answers)
}

/// Where a packet goes, as policy sees it.
struct Way {
    destination: IpAddr,
    port: PortAndProtocol,
    /// The Service that sends it there.
    service: Option<ThroughService>,
}

/// Every way that the packet of a question may take: one a family, or one a backend.
fn ways(facts: &Facts, question: &Question, from: &Located) -> Result<Vec<Way>> {
    let (asked, named) = match &question.to {
        End::Service(id, port) => (Some(facts.services().named(id)?), port.as_ref()),
        End::Address(address) => (facts.services().at(*address), None),
        _ => (None, None),
    };
    if let Some(asked) = asked {
        let slices = &facts.world().endpoint_slices;
        let node = facts.node_of(&from.origin);
        let target = asked.target(named, question.port, slices, node.as_ref())?;
        let way = |(destination, port): (IpAddr, PortAndProtocol)| {
            let service = ThroughService {
                service: asked.id.to_string(),
                port: target.port.clone(),
                backend: facts.pod_at(destination).map(ToString::to_string),
            };
            Way { destination, port, service: Some(service) }
        };
        return Ok(target.backends.iter().copied().map(way).collect());
    }
    let port = question.port.context("give --port: only a Service has its own")?;
    let to = facts.locate(&question.to)?;
    let first_of = |family| to.addresses.iter().copied().find(|addr| Family::of(*addr) == family);
    let destinations = Family::ALL.into_iter().filter_map(first_of);
    Ok(destinations.map(|destination| Way { destination, port, service: None }).collect())
}

fn explain_packet(
    facts: &Facts,
    question: &Question,
    origin: &Origin,
    packet: Packet,
    way: Way,
) -> Result<Explanation> {
    let flow = Flow { origin: origin.clone(), packet, state: ConnState::New };
    let outcome = match way.service {
        Some(_) => judge_behind_service(facts.world(), &flow),
        None => judge(facts.world(), &flow),
    };
    let pods = outcome.hops.iter().map(|hop| {
        facts.check(hop, &packet)?;
        Ok(explain_hop(&Judged {
            judge: Judge::Pod { pod: hop.pod.to_string() },
            node: hop.node.as_deref(),
            direction: hop.direction,
            verdict: hop.verdict,
            decision: &hop.decision,
            trace: &hop.trace,
        }))
    });
    facts.check_hosts(&outcome.hosts, &packet)?;
    let hosts = outcome.hosts.iter().map(|hop| {
        let (host_endpoint, stage) = (hop.endpoint.to_string(), hop.stage.to_string());
        Ok(explain_hop(&Judged {
            judge: Judge::Host { host_endpoint, stage },
            node: Some(&hop.node),
            direction: hop.direction,
            verdict: hop.verdict,
            decision: &hop.decision,
            trace: &hop.trace,
        }))
    });
    Ok(Explanation {
        from: question.from.to_string(),
        to: question.to.to_string(),
        through: way.service,
        source: packet.source,
        destination: packet.destination,
        port: way.port.to_string(),
        delivered: outcome.delivered,
        hops: pods.chain(hosts).collect::<Result<_>>()?,
    })
}

fn explain_hop(hop: &Judged<'_>) -> HopExplanation {
    let denied = hop.verdict == Verdict::Deny;
    let miss = if denied { nearest_miss(hop.trace) } else { None };
    HopExplanation {
        judge: hop.judge.clone(),
        node: hop.node.map(Into::into),
        direction: hop.direction.to_string(),
        verdict: hop.verdict.to_string(),
        decision: hop.decision.clone(),
        reason: words::reason(hop),
        closest: miss.map(|miss| words::closest(&miss, hop.direction)),
        walk: words::walk(hop.trace, hop.direction),
    }
}

pub(crate) fn transport(port: PortAndProtocol, family: Family) -> Transport {
    let source = SOURCE_PORT;
    match port {
        PortAndProtocol::Tcp(destination) => Transport::Tcp { source, destination },
        PortAndProtocol::Udp(destination) => Transport::Udp { source, destination },
        PortAndProtocol::Sctp(destination) => Transport::Sctp { source, destination },
        // Echo request: RFC 792, RFC 4443 §4.1.
        PortAndProtocol::Icmp => {
            let icmp_type = if family == Family::V4 { 8 } else { 128 };
            Transport::Icmp { icmp_type, code: 0 }
        }
    }
}

/// Writes answers.
///
/// # Errors
/// They cannot be written in the format.
pub fn render(answers: &[Explanation], format: Format) -> Result<String> {
    output::render(format, &answers, || words::texts(answers))
}
