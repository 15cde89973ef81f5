//! What plugin and agent say to each other.
//!
//! One request a connection: the plugin writes one JSON object, with the descriptor of the pod's
//! network namespace beside it for ADD and CHECK (`SCM_RIGHTS`: the agent need not see the
//! runtime's mount namespace), and closes its side; the agent writes one JSON object and closes.
//! Both carry the protocol's version, so that a plugin and an agent of two releases say so instead
//! of misunderstanding each other.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::CniError;

/// Version of this protocol; another one is refused.
pub const PROTOCOL_VERSION: u32 = 1;
/// Longest message, bytes: a GC that names ten thousand attachments fits.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The plugin's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// [`PROTOCOL_VERSION`] of the plugin.
    pub version: u32,
    /// How long the plugin will wait for the reply, milliseconds. Later it is of no use: the agent
    /// undoes what it did.
    pub patience_ms: u32,
    /// The request.
    pub request: Request,
}

/// What the plugin asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// Make an interface.
    Add(AddRequest),
    /// Remove it.
    Del(DelRequest),
    /// Compare it with what ADD made.
    Check(CheckRequest),
    /// Remove what is not valid.
    Gc(GcRequest),
    /// Whether ADD can be served.
    Status,
}

/// An interface of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerInterface {
    /// `CNI_CONTAINERID`.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `CNI_IFNAME`.
    #[serde(rename = "ifname")]
    pub interface: String,
}

/// A pod's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which of all pods that ever had this name, if the runtime says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// ADD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddRequest {
    /// The network's name.
    pub network: String,
    /// Which interface.
    pub target: ContainerInterface,
    /// The pod.
    pub pod: PodName,
    /// MTU in bytes; the uplink's unless said.
    pub mtu: Option<u32>,
}

/// DEL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DelRequest {
    /// Which interface.
    pub target: ContainerInterface,
}

/// CHECK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckRequest {
    /// Which interface.
    pub target: ContainerInterface,
    /// The addresses that the runtime believes it to have.
    pub addresses: Vec<IpAddr>,
}

/// GC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GcRequest {
    /// The network's name: attachments of other networks stay.
    pub network: String,
    /// What is to stay.
    pub valid: Vec<ContainerInterface>,
}

/// The agent's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// [`PROTOCOL_VERSION`] of the agent.
    pub version: u32,
    /// The answer.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The interface is there, and its policy is enforced.
    Added(Added),
    /// Done, or in order.
    Done,
    /// Not done.
    Failed(CniError),
}

/// An interface that ADD made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Added {
    /// Name on the host.
    pub host_interface: String,
    /// Hardware address on the host.
    pub host_mac: String,
    /// Hardware address in the pod.
    pub pod_mac: String,
    /// MTU of both, bytes.
    pub mtu: u32,
    /// The pod's addresses, at most one a family.
    pub addresses: Vec<IpAddr>,
    /// Routes in the pod.
    pub routes: Vec<AddedRoute>,
}

/// A route in the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedRoute {
    /// Destination.
    pub destination: IpNet,
    /// Next hop; absent: on-link.
    pub gateway: Option<IpAddr>,
}

/// Why a message cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is no message.
    #[error("the message is malformed")]
    Malformed(#[from] serde_json::Error),
    /// It is one of another release.
    #[error(
        "the other side speaks version {0} of the protocol, this one {PROTOCOL_VERSION}; \
         install plugin and agent of the same release"
    )]
    Version(u32),
}

/// Reads a request. Any input gives a request or an error.
///
/// # Errors
/// It is malformed, or of another version.
pub fn decode_request(bytes: &[u8]) -> Result<Envelope, DecodeError> {
    check_version(bytes)?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Reads a reply. Any input gives a reply or an error.
///
/// # Errors
/// It is malformed, or of another version.
pub fn decode_reply(bytes: &[u8]) -> Result<Reply, DecodeError> {
    check_version(bytes)?;
    Ok(serde_json::from_slice(bytes)?)
}

/// The version decides before the rest is looked at: another release may have other fields.
fn check_version(bytes: &[u8]) -> Result<(), DecodeError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(bytes)?;
    if version == PROTOCOL_VERSION { Ok(()) } else { Err(DecodeError::Version(version)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_named_whatever_else_it_says() {
        let error = decode_request(br#"{"version":7,"newField":1}"#).unwrap_err();
        assert!(error.to_string().contains("speaks version 7"), "{error}");
        assert!(matches!(decode_reply(br#"{"version":0}"#), Err(DecodeError::Version(0))));
    }

    #[test]
    fn messages_survive_the_way() {
        let target = ContainerInterface { container_id: "c".into(), interface: "eth0".into() };
        let request = Request::Gc(GcRequest { network: "pods".into(), valid: vec![target] });
        let envelope = Envelope { version: PROTOCOL_VERSION, patience_ms: 4000, request };
        let bytes = serde_json::to_vec(&envelope).unwrap();
        assert_eq!(decode_request(&bytes).unwrap(), envelope);
        assert!(decode_request(&bytes[..bytes.len() - 1]).is_err());
    }
}
