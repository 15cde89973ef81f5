//! A packet as bytes, with what the kernel knows beside them.

use std::net::IpAddr;

use brindle_model::packet::{ConnState, Packet, Transport};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its group (`IFLA_GROUP`).
    pub group: u32,
}

/// What connection tracking has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// Nothing yet; this, when it is asked.
    Ahead(ConnState),
    /// This.
    Done(ConnState),
    /// It was told to keep away.
    Untracked,
}

/// The packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skb {
    /// From the network header on.
    pub bytes: Vec<u8>,
    /// Where the transport header begins.
    pub transport: usize,
    /// The upper-layer protocol.
    pub protocol: u8,
    /// Where it came in.
    pub input: Option<Device>,
    /// Where it goes out.
    pub output: Option<Device>,
    /// Its mark.
    pub mark: u32,
    /// What connection tracking says.
    pub tracking: Tracking,
}

impl Skb {
    /// A packet of the wire. `None` if its protocol number stands for something else than a
    /// transport in its family: an IPv6 extension header.
    pub fn new(packet: &Packet, state: ConnState) -> Option<Self> {
        let protocol = packet.protocol().0;
        let extension = [0, 43, 44, 51, 59, 60, 135, 139, 140];
        if packet.destination.is_ipv6() && extension.contains(&protocol) {
            return None;
        }
        let mut upper = vec![0; 20];
        match packet.transport {
            Transport::Tcp { source, destination }
            | Transport::Udp { source, destination }
            | Transport::Sctp { source, destination } => {
                upper[..2].copy_from_slice(&source.to_be_bytes());
                upper[2..4].copy_from_slice(&destination.to_be_bytes());
            }
            Transport::Icmp { icmp_type, code } => upper[..2].copy_from_slice(&[icmp_type, code]),
            Transport::Other(_) => {}
        }
        let mut bytes = match (packet.source, packet.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0; 20];
                header[0] = 0x45;
                header[8] = 63;
                header[9] = protocol;
                header[12..16].copy_from_slice(&source.octets());
                header[16..20].copy_from_slice(&destination.octets());
                header
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = vec![0; 40];
                header[0] = 0x60;
                header[6] = protocol;
                header[7] = 63;
                header[8..24].copy_from_slice(&source.octets());
                header[24..40].copy_from_slice(&destination.octets());
                header
            }
            _ => return None,
        };
        let transport = bytes.len();
        bytes.extend(upper);
        let tracking = Tracking::Ahead(state);
        Some(Self { bytes, transport, protocol, input: None, output: None, mark: 0, tracking })
    }

    /// Connection tracking's turn.
    pub fn track(&mut self) {
        if let Tracking::Ahead(state) = self.tracking {
            self.tracking = Tracking::Done(state);
        }
    }

    /// Whether it is IPv6.
    pub fn is_v6(&self) -> bool {
        self.bytes[0] >> 4 == 6
    }

    /// Source and destination address, read from the header.
    pub fn addresses(&self) -> [IpAddr; 2] {
        let at = |from: usize| -> IpAddr {
            if self.is_v6() {
                <[u8; 16]>::try_from(&self.bytes[from..from + 16]).expect("16 bytes").into()
            } else {
                <[u8; 4]>::try_from(&self.bytes[from..from + 4]).expect("4 bytes").into()
            }
        };
        if self.is_v6() { [at(8), at(24)] } else { [at(12), at(16)] }
    }

    /// What stands where TCP has its ports.
    pub fn port_bytes(&self) -> [u16; 2] {
        let at = |offset: usize| {
            let from = self.transport + offset;
            u16::from_be_bytes([self.bytes[from], self.bytes[from + 1]])
        };
        [at(0), at(2)]
    }
}
