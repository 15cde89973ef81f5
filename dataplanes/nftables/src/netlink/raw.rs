//! Keys as the kernel holds them: bytes, each field padded to four; an interval is a start and an
//! end that is the first value after it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use brindle_model::net::Protocol;

use super::numbers::{ct_state, set};
use crate::table::{Field, Key, KnownState, SetSpec};
use crate::text::octets;

/// Longest key: an interface group, an IPv6 address and a connection state.
const MAX_KEY: usize = 24;

/// A key, or the end of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawKey {
    bytes: [u8; MAX_KEY],
    len: u8,
    /// Whether an interval ends here.
    pub end: bool,
}

impl RawKey {
    /// Takes bytes; `None` if they are too many.
    pub fn new(data: &[u8], end: bool) -> Option<Self> {
        let mut bytes = [0; MAX_KEY];
        bytes.get_mut(..data.len())?.copy_from_slice(data);
        Some(Self { bytes, len: u8::try_from(data.len()).ok()?, end })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Field {
    fn len(self) -> usize {
        match self {
            Self::Ipv4Addr | Self::Devgroup | Self::CtState => 4,
            Self::Ipv6Addr => 16,
            Self::InetProto => 1,
            Self::InetService => 2,
        }
    }

    /// The number by which `nft` knows the type.
    fn nft_type(self) -> u32 {
        match self {
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::InetProto => 12,
            Self::InetService => 13,
            Self::CtState => 26,
            Self::Devgroup => 35,
        }
    }

    /// Whether `nft` keeps it in host order.
    fn host_order(self) -> bool {
        matches!(self, Self::Devgroup | Self::CtState)
    }
}

/// What the kernel is told of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetNumbers {
    /// `NFTA_SET_FLAGS`.
    pub flags: u32,
    /// `NFTA_SET_KEY_TYPE`: for `nft` only; six bits a field.
    pub key_type: u32,
    /// `NFTA_SET_KEY_LEN`, bytes.
    pub key_len: u32,
    /// `NFTA_SET_DATA_TYPE`, of a map.
    pub data_type: Option<u32>,
    /// `NFTA_SET_DESC_SIZE`.
    pub size: Option<u32>,
}

/// The numbers of a set.
pub fn set_numbers(spec: &SetSpec) -> SetNumbers {
    let flag = |set: bool, bit| if set { bit } else { 0 };
    let padded = |field: &Field| field.len().next_multiple_of(4);
    let key_len = match spec.key[..] {
        [field] => field.len(),
        _ => spec.key.iter().map(padded).sum(),
    };
    SetNumbers {
        flags: flag(spec.interval, set::INTERVAL) | flag(spec.verdicts, set::MAP),
        key_type: spec.key.iter().fold(0, |all, field| (all << 6) | field.nft_type()),
        key_len: u32::try_from(key_len).expect("keys are at most 24 bytes"),
        data_type: spec.verdicts.then_some(set::DATA_VERDICT),
        size: spec.size,
    }
}

/// Whether a set of one field has it in host order: what `nft` notes in the set's userdata.
pub fn host_order(spec: &SetSpec) -> Option<bool> {
    match spec.key[..] {
        [field] => Some(field.host_order()),
        _ => None,
    }
}

/// The raw key, and the end of the interval if it is one that ends before the last value.
pub fn raw_keys(key: &Key) -> (RawKey, Option<RawKey>) {
    let (start, end) = bytes(key);
    let start = RawKey::new(&start, false).expect("keys are at most 24 bytes");
    (start, end.and_then(|end| RawKey::new(&end, true)))
}

fn bytes(key: &Key) -> (Vec<u8>, Option<Vec<u8>>) {
    match key {
        Key::Addr(addr) => (octets(*addr), None),
        Key::Net(net) => (octets(net.network()), after(octets(net.broadcast()))),
        Key::Tuple(addr, protocol, port) => {
            (concat(&[&octets(*addr), &[protocol.0], &port.to_be_bytes()]), None)
        }
        Key::Group(group) => (group.to_ne_bytes().to_vec(), None),
        Key::Source(group, addr) => (concat(&[&group.to_ne_bytes(), &octets(*addr)]), None),
        Key::KnownFlow(group, addr, state) => {
            let state = state.bit().to_ne_bytes();
            (concat(&[&group.to_ne_bytes(), &octets(*addr), &state]), None)
        }
        Key::Ports(range) => {
            (range.first.to_be_bytes().to_vec(), after(range.last.to_be_bytes().to_vec()))
        }
        Key::Protocol(protocol) => (vec![protocol.0], None),
        Key::Service(protocol, port) => (concat(&[&[protocol.0], &port.to_be_bytes()]), None),
    }
}

/// The value after, unless it is the last.
fn after(mut value: Vec<u8>) -> Option<Vec<u8>> {
    for byte in value.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(value);
        }
    }
    None
}

fn concat(fields: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for field in fields {
        all.extend_from_slice(field);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}

impl KnownState {
    /// The bit of `ct state`.
    fn bit(self) -> u32 {
        match self {
            Self::Established => ct_state::ESTABLISHED,
            Self::Related => ct_state::RELATED,
        }
    }
}

/// The key that a hash set's raw key stands for: what a foreign element is deleted by. `None` for
/// intervals, and for bytes that are no key of ours.
pub fn key_of(spec: &SetSpec, raw: &RawKey) -> Option<Key> {
    let bytes = raw.bytes();
    let key = match spec.key[..] {
        _ if spec.interval => return None,
        [Field::Ipv4Addr | Field::Ipv6Addr] => Key::Addr(address(bytes)?),
        [Field::Devgroup] => Key::Group(number(bytes)?),
        [Field::InetProto] => Key::Protocol(Protocol(*bytes.first()?)),
        [Field::InetProto, Field::InetService] => {
            Key::Service(Protocol(*bytes.first()?), port(bytes.get(4..6)?)?)
        }
        [Field::Devgroup, Field::Ipv4Addr | Field::Ipv6Addr] => {
            let (group, addr) = bytes.split_first_chunk::<4>()?;
            Key::Source(number(group)?, address(addr)?)
        }
        [Field::Devgroup, Field::Ipv4Addr | Field::Ipv6Addr, Field::CtState] => {
            let (group, rest) = bytes.split_first_chunk::<4>()?;
            let (addr, bit) = rest.split_last_chunk::<4>()?;
            let bit = number(bit)?;
            let state = KnownState::ALL.into_iter().find(|state| state.bit() == bit)?;
            Key::KnownFlow(number(group)?, address(addr)?, state)
        }
        [Field::Ipv4Addr, Field::InetProto, Field::InetService] => tuple(bytes, 4)?,
        [Field::Ipv6Addr, Field::InetProto, Field::InetService] => tuple(bytes, 16)?,
        _ => return None,
    };
    (raw_keys(&key).0 == *raw).then_some(key)
}

fn tuple(bytes: &[u8], len: usize) -> Option<Key> {
    let addr = address(bytes.get(..len)?)?;
    let protocol = Protocol(*bytes.get(len)?);
    Some(Key::Tuple(addr, protocol, port(bytes.get(len + 4..len + 6)?)?))
}

fn port(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).into()),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
