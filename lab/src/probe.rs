//! Real packets, judged where they arrive.
//!
//! Every site listens on every port before the first probe, so that no RST or ICMP error of a
//! stack is mistaken for a verdict. A UDP or ICMP probe carries a nonce and counts as delivered
//! when a receiver reports that nonce; a TCP probe when a listener accepts its source port. Each
//! probe has a source port of its own. What stays silent is sent once more.
//!
//! Sockets belong to the namespace they were made in, so one thread can hold those of all sites.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::netns::Netns;
use crate::ports;

/// How long the last packet of a round may take to arrive.
const PATIENCE: Duration = Duration::from_millis(250);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A TCP connection to a port.
    Tcp(u16),
    /// A UDP datagram to a port.
    Udp(u16),
    /// An ICMP or ICMPv6 echo request.
    Echo,
}

/// One packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probe {
    /// Index of the sending site.
    pub from: usize,
    /// Source address, one of the site's.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// What is sent.
    pub kind: Kind,
}

/// All sites with their receivers.
#[derive(Debug)]
pub struct Rig {
    sites: Vec<Netns>,
    receivers: Vec<Receiver>,
    nonce: u64,
}

#[derive(Debug)]
enum Receiver {
    Tcp(Socket),
    Udp(Socket),
    Icmp(Socket),
}

/// How a TCP arrival is recognised: the sender's address and port.
type Tcp = HashMap<SocketAddr, usize>;

impl Rig {
    /// Opens receivers on these TCP and UDP ports, and for echo requests, in every namespace.
    ///
    /// # Errors
    /// A port is taken or a namespace gone.
    pub fn new(namespaces: &[&str], ports: &[u16]) -> Result<Self> {
        let sites: Vec<Netns> = namespaces.iter().map(|name| Netns::existing(name)).collect();
        let mut receivers = Vec::new();
        for site in &sites {
            let opened = site.enter(|| open_receivers(ports))?;
            receivers.extend(opened.with_context(|| format!("listen in {}", site.name()))?);
        }
        Ok(Self { sites, receivers, nonce: 1 })
    }

    /// Sends every probe and tells of each whether it was delivered.
    ///
    /// # Errors
    /// A socket could not be made or read.
    pub fn run(&mut self, probes: &[Probe]) -> Result<Vec<bool>> {
        let mut delivered = vec![false; probes.len()];
        for _round in 0..2 {
            let silent: Vec<usize> = (0..probes.len()).filter(|i| !delivered[*i]).collect();
            self.round(probes, &silent, &mut delivered)?;
        }
        Ok(delivered)
    }

    fn round(&mut self, probes: &[Probe], wanted: &[usize], delivered: &mut [bool]) -> Result<()> {
        let first = self.nonce;
        self.nonce += probes.len() as u64;
        let mut tcp = Tcp::new();
        let mut senders = Vec::new();
        for (index, site) in self.sites.iter().enumerate() {
            let mine: Vec<usize> =
                wanted.iter().copied().filter(|i| probes[*i].from == index).collect();
            if mine.is_empty() {
                continue;
            }
            let sent = site.enter(|| {
                mine.iter()
                    .map(|i| {
                        send(&probes[*i], first + *i as u64)
                            .with_context(|| format!("send {:?}", probes[*i]))
                    })
                    .collect::<Result<Vec<_>>>()
            })?;
            for (i, (socket, source)) in mine.into_iter().zip(sent?) {
                if matches!(probes[i].kind, Kind::Tcp(_)) {
                    tcp.insert(source, i);
                }
                senders.push(socket);
            }
        }
        self.collect(&tcp, first, delivered, wanted)
    }

    fn collect(
        &self,
        tcp: &Tcp,
        first: u64,
        delivered: &mut [bool],
        wanted: &[usize],
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while wanted.iter().any(|i| !delivered[*i]) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let mut polled: Vec<PollFd<'_>> =
                self.receivers.iter().map(|r| PollFd::new(r.fd(), PollFlags::POLLIN)).collect();
            poll(&mut polled, PollTimeout::try_from(left)?)?;
            let ready: Vec<bool> = polled.iter().map(|p| p.any().unwrap_or(false)).collect();
            for (receiver, _) in self.receivers.iter().zip(ready).filter(|(_, ready)| *ready) {
                receiver.drain(|arrival| {
                    let index = match arrival {
                        Arrival::Nonce(nonce) => {
                            nonce.checked_sub(first).and_then(|i| usize::try_from(i).ok())
                        }
                        Arrival::From(source) => tcp.get(&source).copied(),
                    };
                    if let Some(slot) = index.and_then(|i| delivered.get_mut(i)) {
                        *slot = true;
                    }
                })?;
            }
        }
        Ok(())
    }
}

enum Arrival {
    Nonce(u64),
    From(SocketAddr),
}

impl Receiver {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(s) | Self::Udp(s) | Self::Icmp(s) => s.as_fd(),
        }
    }

    /// Reads everything that is there.
    fn drain(&self, mut report: impl FnMut(Arrival)) -> Result<()> {
        loop {
            let arrival = match self {
                Self::Tcp(listener) => listener.accept().map(|(socket, from)| {
                    let _ = socket.set_linger(Some(Duration::ZERO));
                    from.as_socket().map(|from| Arrival::From(canonical(from)))
                }),
                Self::Udp(socket) => receive(socket, nonce_in),
                Self::Icmp(socket) => receive(socket, echo_request_nonce),
            };
            match arrival {
                Ok(Some(arrival)) => report(arrival),
                Ok(None) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) => return Err(e).context("read from a receiver"),
            }
        }
    }
}

fn receive(
    mut socket: &Socket,
    nonce: impl Fn(&[u8]) -> Option<u64>,
) -> std::io::Result<Option<Arrival>> {
    let mut buffer = [0; 256];
    let n = socket.read(&mut buffer)?;
    Ok(nonce(&buffer[..n]).map(Arrival::Nonce))
}

/// Marks our payloads; the nonce follows.
const MAGIC: &[u8; 8] = b"brndprob";

fn payload(nonce: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..].copy_from_slice(&nonce.to_be_bytes());
    bytes
}

fn nonce_in(payload: &[u8]) -> Option<u64> {
    let (magic, rest) = payload.split_at_checked(8)?;
    (magic == MAGIC).then_some(())?;
    Some(u64::from_be_bytes(rest.get(..8)?.try_into().ok()?))
}

/// Only echo requests count: the replies that kernels make of them, and ICMP errors, carry the
/// same payload. A raw IPv4 socket delivers the IP header too, a raw IPv6 socket does not.
fn echo_request_nonce(bytes: &[u8]) -> Option<u64> {
    let v4 = bytes.first()? >> 4 == 4;
    let header = if v4 { usize::from(bytes[0] & 0x0f) * 4 } else { 0 };
    let message = bytes.get(header..)?;
    let request = if v4 { ICMP_ECHO } else { ICMPV6_ECHO };
    (*message.first()? == request).then_some(())?;
    nonce_in(message.get(8..)?)
}

/// Echo request (RFC 792).
const ICMP_ECHO: u8 = 8;
/// Echo request (RFC 4443 §4.1); its first nibble is 8, so it is never taken for an IPv4 header.
const ICMPV6_ECHO: u8 = 128;

/// A dual-stack listener reports IPv4 peers as mapped addresses.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn open_receivers(ports: &[u16]) -> Result<Vec<Receiver>> {
    let mut receivers = Vec::new();
    for port in ports {
        let address: SockAddr = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port)).into();
        for kind in [Type::STREAM, Type::DGRAM] {
            let socket = Socket::new(Domain::IPV6, kind.nonblocking(), None)?;
            socket.set_only_v6(false)?;
            socket.set_reuse_address(true)?;
            socket.bind(&address).with_context(|| format!("bind port {port}"))?;
            receivers.push(if kind == Type::STREAM {
                socket.listen(1024)?;
                Receiver::Tcp(socket)
            } else {
                Receiver::Udp(socket)
            });
        }
    }
    for (domain, protocol) in [(Domain::IPV4, Protocol::ICMPV4), (Domain::IPV6, Protocol::ICMPV6)] {
        let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))?;
        receivers.push(Receiver::Icmp(socket));
    }
    Ok(receivers)
}

/// Sends one probe; the socket is kept open so that its port is not taken again in this round.
fn send(probe: &Probe, nonce: u64) -> Result<(Socket, SocketAddr)> {
    let domain = if probe.destination.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let source = SocketAddr::new(probe.source, ports::fresh());
    match probe.kind {
        Kind::Tcp(port) => {
            let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
            socket.set_linger(Some(Duration::ZERO))?;
            socket.bind(&source.into())?;
            match socket.connect(&SocketAddr::new(probe.destination, port).into()) {
                Err(e) if !expected(&e) => return Err(e).context("connect"),
                _ => {}
            }
            let local = socket.local_addr()?.as_socket().context("a TCP socket without address")?;
            Ok((socket, local))
        }
        Kind::Udp(port) => {
            let socket = Socket::new(domain, Type::DGRAM.nonblocking(), None)?;
            socket.bind(&source.into())?;
            let to = SocketAddr::new(probe.destination, port).into();
            ignore_refusal(socket.send_to(&payload(nonce), &to))?;
            Ok((socket, source))
        }
        Kind::Echo => {
            let (protocol, request) = if probe.destination.is_ipv6() {
                (Protocol::ICMPV6, ICMPV6_ECHO)
            } else {
                (Protocol::ICMPV4, ICMP_ECHO)
            };
            let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))?;
            socket.bind(&source.into())?;
            let to = SocketAddr::new(probe.destination, 0).into();
            ignore_refusal(socket.send_to(&echo_request(request, nonce), &to))?;
            Ok((socket, source))
        }
    }
}

/// No route is a result, not a failure of the rig; so is a firewall that refuses a local send.
fn expected(error: &std::io::Error) -> bool {
    use nix::libc::{EHOSTUNREACH, EINPROGRESS, ENETUNREACH, EPERM};
    matches!(error.raw_os_error(), Some(EINPROGRESS | EHOSTUNREACH | ENETUNREACH | EPERM))
}

fn ignore_refusal(sent: std::io::Result<usize>) -> Result<()> {
    match sent {
        Err(e) if !expected(&e) => Err(e).context("send"),
        _ => Ok(()),
    }
}

/// An echo request whose identifier is the nonce's low half. The kernel fills in ICMPv6's
/// checksum; ICMP's is ours to make (RFC 792).
fn echo_request(icmp_type: u8, nonce: u64) -> Vec<u8> {
    let low = nonce.to_be_bytes();
    let mut packet = vec![icmp_type, 0, 0, 0, low[6], low[7], 0, 1];
    packet.extend(payload(nonce));
    if icmp_type == ICMP_ECHO {
        let sum: u32 = packet
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
            .sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        let checksum = !u16::try_from(folded & 0xffff).unwrap_or(0);
        packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    packet
}
