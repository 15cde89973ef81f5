//! UDP of BFD: two sockets for each of our addresses that BGP sessions with BFD have, and reach.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use brindle_bgp_proto::bfd::{BFD_MULTIHOP_PORT, BFD_PORT};
use brindle_bgp_proto::speaker::bfd::{Inbound, Outbound};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::datagram::{self, Datagram};
use crate::sockopt;

/// Ports to send from (RFC 5881 §4).
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

/// The sockets.
#[derive(Debug)]
pub(crate) struct Bfd {
    /// By our address, and whether over several hops.
    senders: BTreeMap<(IpAddr, bool), (UdpSocket, JoinSet<()>)>,
    received: mpsc::Sender<Inbound>,
    /// Why an address has no sockets, if one has none.
    pub(crate) error: Option<String>,
}

impl Bfd {
    pub(crate) fn new(received: mpsc::Sender<Inbound>) -> Self {
        Self { senders: BTreeMap::new(), received, error: None }
    }

    /// Opens or closes the sockets of an address.
    pub(crate) fn set(&mut self, local: IpAddr, multihop: bool, wanted: bool) {
        let key = (local, multihop);
        if !wanted {
            self.senders.remove(&key);
        } else if !self.senders.contains_key(&key) {
            match self.open(local, multihop) {
                Ok(sockets) => {
                    self.error = None;
                    self.senders.insert(key, sockets);
                }
                Err(error) => {
                    let port = port(multihop);
                    let error = format!("cannot use UDP port {port} of {local}: {error}");
                    tracing::error!("{error}");
                    self.error = Some(error);
                }
            }
        }
    }

    /// Sends a packet. One that cannot be sent is lost: the neighbour counts it as missed.
    pub(crate) fn send(&self, outbound: &Outbound) {
        let Outbound { local, remote, multihop, octets } = outbound;
        let to = SocketAddr::new(*remote, port(*multihop));
        if let Some((socket, _)) = self.senders.get(&(*local, *multihop))
            && let Err(error) = socket.try_send_to(octets, to)
        {
            tracing::debug!(peer = %remote, %error, "a BFD packet was not sent");
        }
    }

    fn open(&self, local: IpAddr, multihop: bool) -> io::Result<(UdpSocket, JoinSet<()>)> {
        let listener = socket(local)?;
        listener.set_reuse_address(true)?;
        sockopt::receive_ttl(&listener, local.is_ipv6())?;
        listener.bind(&SocketAddr::new(local, port(multihop)).into())?;
        let listener = Arc::new(UdpSocket::from_std(listener.into())?);
        let sender = socket(local)?;
        match local {
            IpAddr::V4(_) => sender.set_ttl_v4(u8::MAX.into())?,
            IpAddr::V6(_) => sender.set_unicast_hops_v6(u8::MAX.into())?,
        }
        let bind = |port| sender.bind(&SocketAddr::new(local, port).into());
        let bound = SOURCE_PORTS.map(bind).find(|bound| {
            !bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
        });
        bound.unwrap_or_else(|| Err(io::ErrorKind::AddrInUse.into()))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(receive(listener, multihop, self.received.clone()));
        Ok((UdpSocket::from_std(sender.into())?, tasks))
    }
}

fn port(multihop: bool) -> u16 {
    if multihop { BFD_MULTIHOP_PORT } else { BFD_PORT }
}

fn socket(local: IpAddr) -> io::Result<Socket> {
    let domain = if local.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Hands on what comes, until nobody wants it any more.
async fn receive(socket: Arc<UdpSocket>, multihop: bool, received: mpsc::Sender<Inbound>) {
    loop {
        let datagram = socket.async_io(Interest::READABLE, || datagram::receive(&socket)).await;
        match datagram {
            Ok(Some(Datagram { from: remote, ttl, octets })) => {
                let inbound = Inbound { remote, ttl, multihop, octets };
                if received.send(inbound).await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            // An answer of ICMP to something we sent.
            Err(error) => tracing::debug!(%error, "a BFD socket reports an error"),
        }
    }
}
