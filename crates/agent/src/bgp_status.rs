//! Tells the API server how it stands with this node's BGP sessions, in one object of the node.
//!
//! A session that comes or goes is told at once, then a second of pause; counts of routes that alone
//! have changed are told once a minute. What is listed is bounded: of a mesh of thousands only who is
//! missing.

use std::sync::Arc;
use std::time::Duration;

use brindle_api::{BgpFamilyStatus, BgpNodeStatus, BgpNodeStatusSpec, BgpPeerStatus};
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::speaker::status::{FamilyStatus, PeerStatus};
use brindle_bgp_speaker::{Commands, Status};
use brindle_model::Name;
use brindle_sources::kubernetes::Connection;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// The owner of what is written.
const MANAGER: &str = "brindle-agent";
/// Pause after a write.
const PAUSE: Duration = Duration::from_secs(1);
/// How long changes of counts wait.
const LATER: Duration = Duration::from_secs(60);
/// Pause after a write that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Neighbours that are listed.
const PEERS: usize = 64;
/// Nodes of the mesh that are named.
const MISSING: usize = 20;
/// Longest reason, bytes.
const REASON: usize = 1024;

/// Writes on the connection's thread as long as it lasts; `changed` says when to look at sessions.
pub fn start(connection: &Connection, node: &Name, speaker: Commands, changed: Arc<Notify>) {
    let objects = Api::all(connection.client().clone());
    connection.spawn(write(objects, node.to_string(), speaker, changed));
}

async fn write(objects: Api<BgpNodeStatus>, node: String, speaker: Commands, changed: Arc<Notify>) {
    let mut written: Option<BgpNodeStatusSpec> = None;
    let mut failures = 0_u32;
    let mut counts_too = true;
    // It ends with the speaker: what is written stays until the next start of the agent.
    while let Ok(status) = speaker.status().await {
        let spec = spec(&node, &status);
        let known = |known: &BgpNodeStatusSpec| match counts_too {
            true => *known == spec,
            false => without_counts(known) == without_counts(&spec),
        };
        if written.as_ref().is_some_and(known) {
            counts_too = timeout(LATER, changed.notified()).await.is_err();
            continue;
        }
        match put(&objects, &node, &spec).await {
            Ok(()) => {
                (written, failures) = (Some(spec), 0);
                sleep(PAUSE).await;
            }
            Err(error) => {
                // Once a streak: the server may be away for hours.
                if failures == 0 {
                    warn!(error, "cannot tell how BGP sessions are; trying again");
                } else {
                    debug!(error, failures, "cannot tell how BGP sessions are");
                }
                failures += 1;
                sleep(AGAIN).await;
            }
        }
        counts_too = false;
    }
}

/// Writes the object; what went wrong in words.
async fn put(
    objects: &Api<BgpNodeStatus>,
    node: &str,
    spec: &BgpNodeStatusSpec,
) -> Result<(), String> {
    let metadata = ObjectMeta { name: Some(node.to_owned()), ..ObjectMeta::default() };
    let object = BgpNodeStatus { metadata, spec: spec.clone() };
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(json!(object));
    match timeout(ANSWER, objects.patch(node, &params, &patch)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn without_counts(spec: &BgpNodeStatusSpec) -> BgpNodeStatusSpec {
    let mut spec = spec.clone();
    spec.peers.iter_mut().for_each(|peer| peer.families.clear());
    spec
}

fn spec(node: &str, status: &Status) -> BgpNodeStatusSpec {
    let speaker = &status.speaker;
    let is_up = |peer: &&PeerStatus| peer.state == State::Established;
    let node_of = |peer: &PeerStatus| peer.name.strip_prefix("mesh.").map(str::to_owned);
    let down = speaker.peers.iter().filter(|peer| !is_up(peer)).filter_map(node_of);
    let others = speaker.peers.iter().filter(|peer| node_of(peer).is_none());
    let problem = status.listen_error.iter().chain(&status.bfd_error).next();
    BgpNodeStatusSpec {
        node: node.to_owned(),
        as_number: speaker.identity.map(|(as_number, _)| as_number.into()),
        router_id: speaker.identity.map(|(_, router_id)| router_id.to_string()),
        drain: speaker.drain.map(str::to_owned),
        problem: problem.map(|text| cut(text)),
        sessions: small(speaker.peers.len()),
        established: small(speaker.peers.iter().filter(is_up).count()),
        mesh_down: down.take(MISSING).collect(),
        peers: others.take(PEERS).map(peer).collect(),
    }
}

fn peer(peer: &PeerStatus) -> BgpPeerStatus {
    let error = || peer.last_error.as_ref().map(|error| error.message.as_str());
    let reason = match peer.state {
        State::Established => peer.filter_problem.as_deref(),
        _ => peer.idle_because.as_deref().or_else(error),
    };
    BgpPeerStatus {
        name: peer.name.to_string(),
        address: peer.address.to_string(),
        as_number: peer.as_number.into(),
        state: peer.state.to_string(),
        reason: reason.map(cut),
        flaps: count(peer.flaps),
        capabilities: peer.session.as_ref().map(|s| s.capabilities.clone()).unwrap_or_default(),
        families: peer.families.iter().map(family).collect(),
    }
}

fn family(family: &FamilyStatus) -> BgpFamilyStatus {
    BgpFamilyStatus {
        family: family.family.to_string(),
        received: count(family.received as u64),
        accepted: count(family.accepted as u64),
        advertised: count(family.advertised as u64),
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn small(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn cut(text: &str) -> String {
    let end = (0..=REASON.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

#[cfg(test)]
mod tests {
    use brindle_bgp_proto::family::FamilySet;
    use brindle_bgp_proto::speaker::Speaker;
    use brindle_bgp_proto::timer::Time;
    use brindle_bgp_speaker::{Command, Config, PeerConfig};

    use super::*;

    #[test]
    fn who_has_no_session_is_told_with_the_reason_and_the_mesh_in_short() {
        let config =
            Config { restarting: false, forwarding_preserved: FamilySet::NONE, jitter_seed: 1 };
        let mut speaker = Speaker::new(config);
        let mut add = |name: String, last: u8, unfit: Option<&str>| {
            let config = PeerConfig::new([192, 0, 2, last].into(), 64512);
            let config = PeerConfig { unfit: unfit.map(Into::into), ..config };
            speaker.handle_command(Command::SetPeer(name.into(), config), Time::ZERO).unwrap();
        };
        (1..=30).for_each(|n| add(format!("mesh.n{n:02}"), n, None));
        add("tor".to_owned(), 254, Some("spec.localRole is for external neighbours"));
        let status = Status { speaker: speaker.status(), ..Status::default() };
        let told = spec("n1", &status);
        assert_eq!((told.sessions, told.established, told.as_number), (31, 0, None));
        assert_eq!((told.mesh_down.len(), &*told.mesh_down[0]), (MISSING, "n01"));
        let [tor] = &told.peers[..] else { panic!("{:?}", told.peers) };
        assert_eq!((&*tor.name, &*tor.address, &*tor.state), ("tor", "192.0.2.254", "Idle"));
        // Without an identity that comes first.
        assert!(tor.reason.as_deref().is_some_and(|why| why.contains("AS and router id")));

        let mut counted = told.clone();
        counted.peers[0].families[0].received = 7;
        assert_ne!(counted, told);
        assert_eq!(without_counts(&counted), without_counts(&told));
        assert_eq!(cut(&"ä".repeat(REASON)).len(), REASON);
    }
}
