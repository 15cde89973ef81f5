//! OPEN and its capabilities (RFC 4271 §4.2, RFC 5492 §4, RFC 9072 §2).

use super::{EncodeError, length_field, write};
use crate::capability::Capability;
use crate::decode::kind;
use crate::family::AfiSafi;
use crate::message::{AS_TRANS, HEADER_LEN, MAX_MESSAGE_LEN, Open};

/// Optional parameter type: capabilities.
const CAPABILITIES: u8 = 2;
/// Octets of an OPEN without optional parameters, header excluded, with extended length fields.
const FIXED_LEN: usize = 13;
/// Longest restart time, seconds: twelve bits (RFC 4724 §3).
const MAX_RESTART_TIME: u16 = 0x0fff;

pub(super) fn encode(open: &Open, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut capabilities = Vec::new();
    for capability in &open.capabilities {
        encode_capability(capability, &mut capabilities)?;
    }
    let len = capabilities.len();
    if HEADER_LEN + FIXED_LEN + 3 + len > MAX_MESSAGE_LEN {
        return Err(EncodeError::CapabilitiesTooLong { len });
    }
    let short_as = u16::try_from(open.as_number).unwrap_or(AS_TRANS);
    write(out, kind::OPEN, |out| {
        out.push(4);
        out.extend_from_slice(&short_as.to_be_bytes());
        out.extend_from_slice(&open.hold_time.to_be_bytes());
        out.extend_from_slice(&open.router_id.octets());
        encode_parameters(&capabilities, out);
    });
    Ok(())
}

/// All capabilities in one parameter; extended lengths only where the short ones do not do,
/// since not every router knows them.
fn encode_parameters(capabilities: &[u8], out: &mut Vec<u8>) {
    let len = capabilities.len();
    match (u8::try_from(len), u8::try_from(len + 2)) {
        (Ok(0), _) => out.push(0),
        (Ok(value), Ok(all)) => out.extend_from_slice(&[all, CAPABILITIES, value]),
        _ => {
            out.extend_from_slice(&[255, 255]);
            out.extend_from_slice(&length_field(len + 3));
            out.push(CAPABILITIES);
            out.extend_from_slice(&length_field(len));
        }
    }
    out.extend_from_slice(capabilities);
}

fn encode_capability(capability: &Capability, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[capability.code(), 0]);
    encode_value(capability, out)?;
    let len = out.len() - start - 2;
    out[start + 1] = u8::try_from(len).map_err(|_| EncodeError::CapabilitiesTooLong { len })?;
    Ok(())
}

fn encode_value(capability: &Capability, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match capability {
        Capability::RouteRefresh
        | Capability::ExtendedMessage
        | Capability::EnhancedRouteRefresh => {}
        Capability::Multiprotocol(pair) => {
            out.extend_from_slice(&pair.afi.to_be_bytes());
            out.extend_from_slice(&[0, pair.safi]);
        }
        Capability::ExtendedNextHop(triples) => {
            for triple in triples {
                out.extend_from_slice(&triple.family.afi.to_be_bytes());
                out.extend_from_slice(&[0, triple.family.safi]);
                out.extend_from_slice(&triple.next_hop_afi.to_be_bytes());
            }
        }
        Capability::Role(role) => out.push(role.octet()),
        Capability::GracefulRestart(restart) => {
            let bits = u16::from(restart.restarted) << 15 | u16::from(restart.notification) << 14;
            let head = bits | restart.restart_time.min(MAX_RESTART_TIME);
            out.extend_from_slice(&head.to_be_bytes());
            for entry in &restart.families {
                family_and_flag(entry.family, entry.forwarding, out);
            }
        }
        Capability::FourOctetAs(number) => out.extend_from_slice(&number.to_be_bytes()),
        Capability::LongLivedGracefulRestart(families) => {
            for entry in families {
                family_and_flag(entry.family, entry.forwarding, out);
                out.extend_from_slice(&entry.stale_time.min(0x00ff_ffff).to_be_bytes()[1..]);
            }
        }
        Capability::Fqdn { host, domain } => {
            for name in [host, domain] {
                let len = name.len();
                let field = u8::try_from(len);
                out.push(field.map_err(|_| EncodeError::CapabilitiesTooLong { len })?);
                out.extend_from_slice(name);
            }
        }
        Capability::Unknown { value, .. } => out.extend_from_slice(value),
    }
    Ok(())
}

fn family_and_flag(family: AfiSafi, flag: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&family.afi.to_be_bytes());
    out.extend_from_slice(&[family.safi, u8::from(flag) << 7]);
}
