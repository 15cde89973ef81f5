//! The network configuration on stdin (specification 1.1.0, "Section 1").
//!
//! Keys that are not known are an error, as the specification allows: a misspelt option that does
//! nothing is worse than a pod that does not start. Exempt are `args`, which by convention any
//! plugin may ignore, and keys with a `/`, which runtimes add.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{CniError, ErrorCode};
use crate::protocol::ContainerInterface;
use crate::version::SpecVersion;

/// Where the agent listens unless `socket` says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/brindle/cni.sock";
/// Smallest MTU: what IPv6 needs (RFC 8200 §5), bytes.
pub const MIN_MTU: u32 = 1280;
/// Largest MTU of a veth pair, bytes.
pub const MAX_MTU: u32 = 65535;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// The version that the answer is worded in.
    pub version: SpecVersion,
    /// Name of the network, unique on the node.
    pub name: String,
    /// The agent's socket.
    pub socket: PathBuf,
    /// MTU of the pair in bytes; the uplink's unless said.
    pub mtu: Option<u32>,
    /// Addresses in `prevResult`, if there is one.
    pub previous: Option<Vec<IpAddr>>,
    /// GC: what is to stay.
    pub valid_attachments: Option<Vec<ContainerInterface>>,
}

/// Keys that are for the runtime, and that libcni leaves in what it hands to a plugin.
const RUNTIME_KEYS: [&str; 7] = [
    "args",
    "cniVersion",
    "cniVersions",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
    "type",
];
const VALID_ATTACHMENTS: &str = "cni.dev/valid-attachments";

/// Reads the version alone: an error about anything else must be worded in it.
///
/// # Errors
/// As [`decode_config`].
pub fn decode_version(stdin: &[u8]) -> Result<SpecVersion, CniError> {
    version(&decode_object(stdin)?)
}

/// Reads and checks a configuration. Any input gives a configuration or an error.
///
/// # Errors
/// Code 6 if it is no JSON object (cut off, for instance), 1 for a version that is not spoken, 7
/// for everything else.
pub fn decode_config(stdin: &[u8]) -> Result<NetworkConfig, CniError> {
    let mut object = decode_object(stdin)?;
    let version = version(&object)?;
    let mut take = |key: &str| object.remove(key).filter(|value| !value.is_null());
    let (name, socket, mtu) = (take("name"), take("socket"), take("mtu"));
    let (previous, valid) = (take("prevResult"), take(VALID_ATTACHMENTS));
    let (capabilities, ipam) = (take("runtimeConfig"), take("ipam"));
    let capabilities = capabilities.or_else(|| take("capabilities"));
    if capabilities.is_some_and(|value| value.as_object().is_none_or(|map| !map.is_empty())) {
        return Err(invalid("`capabilities` must be empty: none is supported"));
    }
    // An empty section is what some runtimes write for "none".
    if ipam.is_some_and(|value| value.as_object().is_none_or(|map| !map.is_empty())) {
        return Err(invalid("`ipam` must be absent: addresses come from IPPool objects"));
    }
    let known = |key: &str| RUNTIME_KEYS.contains(&key) || key.contains('/');
    if let Some(key) = object.keys().find(|key| !known(key)) {
        return Err(invalid(format!("key `{key}` is unknown")));
    }
    Ok(NetworkConfig {
        version,
        name: network_name(name)?,
        socket: socket_path(socket)?,
        mtu: mtu.map(mtu_in_range).transpose()?,
        previous: previous.map(previous_addresses).transpose()?,
        valid_attachments: valid.map(valid_attachments).transpose()?,
    })
}

fn decode_object(stdin: &[u8]) -> Result<Map<String, Value>, CniError> {
    serde_json::from_slice(stdin).map_err(|e| {
        CniError::caused(ErrorCode::Decode, "the network configuration is not a JSON object", &e)
    })
}

fn version(object: &Map<String, Value>) -> Result<SpecVersion, CniError> {
    let text = match object.get("cniVersion") {
        Some(Value::String(text)) => text,
        Some(_) => return Err(invalid("`cniVersion` must be a string")),
        None => {
            let message = "`cniVersion` is missing; 0.3.1 to 1.1.0 are supported";
            return Err(CniError::new(ErrorCode::IncompatibleVersion, message));
        }
    };
    SpecVersion::parse(text).ok_or_else(|| {
        let message = format!("cniVersion {text} is not supported; 0.3.1 to 1.1.0 are");
        CniError::new(ErrorCode::IncompatibleVersion, message)
    })
}

fn network_name(value: Option<Value>) -> Result<String, CniError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match value {
        Some(Value::String(name))
            if name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(allowed) =>
        {
            Ok(name)
        }
        _ => Err(invalid("`name` must be letters, digits, `_`, `.` and `-`")),
    }
}

fn socket_path(value: Option<Value>) -> Result<PathBuf, CniError> {
    match value {
        None => Ok(DEFAULT_SOCKET.into()),
        Some(Value::String(path)) if path.starts_with('/') => Ok(path.into()),
        Some(_) => Err(invalid("`socket` must be an absolute path")),
    }
}

fn mtu_in_range(value: Value) -> Result<u32, CniError> {
    let mtu = value.as_u64().and_then(|mtu| u32::try_from(mtu).ok());
    mtu.filter(|mtu| (MIN_MTU..=MAX_MTU).contains(mtu))
        .ok_or_else(|| invalid(format!("`mtu` must be a number from {MIN_MTU} to {MAX_MTU}")))
}

fn previous_addresses(value: Value) -> Result<Vec<IpAddr>, CniError> {
    #[derive(Deserialize)]
    struct Previous {
        #[serde(default)]
        ips: Vec<Address>,
    }
    #[derive(Deserialize)]
    struct Address {
        address: IpNet,
    }
    let previous: Previous = serde_json::from_value(value)
        .map_err(|e| CniError::caused(ErrorCode::InvalidConfig, "`prevResult` is no result", &e))?;
    Ok(previous.ips.into_iter().map(|ip| ip.address.addr()).collect())
}

fn valid_attachments(value: Value) -> Result<Vec<ContainerInterface>, CniError> {
    serde_json::from_value(value).map_err(|e| {
        let message = format!("`{VALID_ATTACHMENTS}` is no list of attachments");
        CniError::caused(ErrorCode::InvalidConfig, message, &e)
    })
}

fn invalid(message: impl Into<String>) -> CniError {
    CniError::new(ErrorCode::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(extra: &str) -> Result<NetworkConfig, CniError> {
        let text = r#"{"cniVersion":"1.1.0","name":"pods","type":"brindle-cni"EXTRA}"#;
        decode_config(text.replace("EXTRA", extra).as_bytes())
    }

    fn refusal(extra: &str) -> (u32, String) {
        let error = decode(extra).unwrap_err();
        (error.code.into(), error.message)
    }

    #[test]
    fn what_runtimes_add_is_accepted() {
        let extra = r#","socket":"/run/x.sock","mtu":9000,"runtimeConfig":{},"ipam":{},
            "args":{"cni":{"labels":[]}},"cniVersions":["1.1.0"],"disableGC":true,
            "cni.dev/attachments":[],"example.com/x":1,
            "cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}],
            "prevResult":{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.1/32","interface":1}]}"#;
        let config = decode(extra).unwrap();
        assert_eq!(config.mtu, Some(9000));
        assert_eq!(config.socket, PathBuf::from("/run/x.sock"));
        assert_eq!(config.previous, Some(vec!["10.0.0.1".parse().unwrap()]));
        assert_eq!(config.valid_attachments.unwrap().len(), 1);
        assert_eq!(decode("").unwrap().socket, PathBuf::from(DEFAULT_SOCKET));
    }

    #[test]
    fn wrong_values_are_named() {
        for (extra, part) in [
            (r#","mtu":1279"#, "`mtu`"),
            (r#","mtu":"1500""#, "`mtu`"),
            (r#","socket":"run/x.sock""#, "`socket`"),
            (r#","sokcet":"/run/x.sock""#, "`sokcet`"),
            (r#","ipMasq":true"#, "`ipMasq`"),
            (r#","ipam":{"type":"host-local"}"#, "`ipam`"),
            (r#","runtimeConfig":{"portMappings":[]}"#, "`capabilities`"),
            (r#","prevResult":{"ips":[{"address":"x"}]}"#, "`prevResult`"),
            (r#","cni.dev/valid-attachments":[{}]"#, "valid-attachments"),
        ] {
            let (code, message) = refusal(extra);
            assert_eq!(code, 7, "{extra}");
            assert!(message.contains(part), "{extra}: {message}");
        }
    }

    #[test]
    fn versions_are_negotiated() {
        let code = |stdin: &str| u32::from(decode_config(stdin.as_bytes()).unwrap_err().code);
        assert_eq!(code(r#"{"cniVersion":"0.2.0","name":"a","type":"b"}"#), 1);
        assert_eq!(code(r#"{"cniVersion":"2.0.0","name":"a","type":"b"}"#), 1);
        assert_eq!(code(r#"{"name":"a","type":"b"}"#), 1);
        assert_eq!(code(r#"{"cniVersion":1,"name":"a","type":"b"}"#), 7);
    }

    #[test]
    fn every_cut_of_a_configuration_is_a_decode_error() {
        let whole = r#"{"cniVersion":"1.0.0","name":"pods","type":"brindle-cni","mtu":1400}"#;
        assert!(decode_config(whole.as_bytes()).is_ok());
        for cut in 0..whole.len() {
            let error = decode_config(&whole.as_bytes()[..cut]).unwrap_err();
            assert_eq!(error.code, ErrorCode::Decode, "cut at {cut}");
        }
    }
}
