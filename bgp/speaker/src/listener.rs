//! Listening sockets: one a family, on all addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use brindle_bgp_proto::speaker::Md5Key;
use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::sockopt;

/// Connections that may wait to be accepted: all nodes of a cluster may come at once.
const BACKLOG: i32 = 4096;
/// Pause after accept failed for lack of something.
const PAUSE: Duration = Duration::from_millis(200);

/// The listening sockets.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    tasks: JoinSet<()>,
    sockets: Vec<(SocketAddr, Arc<TcpListener>)>,
    /// What went wrong.
    pub(crate) error: Option<String>,
}

impl Listeners {
    /// Listens on this port of all IPv4 and all IPv6 addresses.
    pub(crate) fn open(port: u16, accepted: &mpsc::Sender<(TcpStream, SocketAddr)>) -> Self {
        let mut listeners = Self::default();
        for address in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let address = SocketAddr::new(address, port);
            match listen(address) {
                Ok(listener) => {
                    let listener = Arc::new(listener);
                    listeners.sockets.push((address, listener.clone()));
                    listeners.tasks.spawn(accept(listener, accepted.clone()));
                }
                // A kernel without IPv6 is no error.
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                Err(error) => {
                    listeners.error = Some(format!("cannot listen on {address}: {error}"));
                }
            }
        }
        listeners
    }

    /// Closes the sockets; when this returns, their port is free.
    pub(crate) async fn close(&mut self) {
        self.tasks.shutdown().await;
        self.sockets.clear();
        self.error = None;
    }

    /// Where connections are accepted.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|(address, _)| *address).collect()
    }

    /// From now on, connections from this address or range must be signed with this key; `None`: must not
    /// be signed.
    pub(crate) fn set_key(&self, remote: IpNet, key: Option<&Md5Key>) -> io::Result<()> {
        let of_family =
            |(address, _): &&(SocketAddr, _)| address.is_ipv4() == remote.addr().is_ipv4();
        let mut sockets = self.sockets.iter().filter(of_family);
        sockets.try_for_each(|(_, socket)| sockopt::set_md5_key(socket, remote, key))
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The answer to a SYN must pass a neighbour's TTL security (RFC 5082 §3).
    match address {
        SocketAddr::V4(_) => socket.set_ttl_v4(u8::MAX.into())?,
        SocketAddr::V6(_) => socket.set_unicast_hops_v6(u8::MAX.into())?,
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: Arc<TcpListener>, accepted: mpsc::Sender<(TcpStream, SocketAddr)>) {
    loop {
        match listener.accept().await {
            Ok(connection) => {
                if accepted.send(connection).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a BGP connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
