//! The traffic, and what it costs.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc::linger;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use nix::time::{ClockId, clock_gettime};

use crate::pods::{Pods, addresses};

/// Port of the server in pod b.
pub const PORT: u16 = 8080;
/// What is sent.
pub const TRAFFIC: [&str; 4] = ["udp rtt", "tcp rtt", "tcp connect", "new udp flow"];
const ROUND_TRIPS: usize = 1500;
const CONNECTIONS: usize = 250;
const MESSAGE: [u8; 64] = [7; 64];

/// CPU time in microseconds of each kind of traffic.
pub type Sample = [f64; 4];

/// Sends each kind of traffic over IPv4 (0) or IPv6 (1).
///
/// # Errors
/// Something does not arrive.
pub fn sample(pods: &Pods, family: usize) -> Result<Sample> {
    let server = SocketAddr::new(addresses(1)[family], PORT);
    let client = addresses(0)[family];
    Ok([
        udp(pods, client, server)?,
        tcp(pods, server)?,
        connections(pods, server)?,
        flows(pods, client, server)?,
    ])
}

/// CPU time of the thread, in microseconds a turn.
fn per_turn(turns: usize, mut turn: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..turns / 10 {
        turn()?;
    }
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let start = now()?;
    for _ in 0..turns {
        turn()?;
    }
    let spent = now()? - start;
    Ok(spent.as_secs_f64() * 1e6 / turns as f64)
}

fn udp(pods: &Pods, client: IpAddr, server: SocketAddr) -> Result<f64> {
    let a = pods.within(0, || Ok(UdpSocket::bind((client, 0))?))?;
    let b = pods.within(1, || Ok(UdpSocket::bind(server)?))?;
    a.connect(server)?;
    for socket in [&a, &b] {
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    }
    let mut buffer = [0; 64];
    per_turn(ROUND_TRIPS, || {
        a.send(&MESSAGE)?;
        let (_, from) = b.recv_from(&mut buffer).context("request did not arrive")?;
        b.send_to(&MESSAGE, from)?;
        a.recv(&mut buffer).context("reply did not arrive")?;
        Ok(())
    })
}

/// A client's socket in pod a, not yet connected.
fn client(pods: &Pods, server: SocketAddr) -> Result<OwnedFd> {
    let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    pods.within(0, || Ok(socket(family, SockType::Stream, SockFlag::empty(), None)?))
}

/// The handshake is done when connect returns: both ends are on this CPU.
fn pair(
    client: OwnedFd,
    listener: &TcpListener,
    server: SocketAddr,
) -> Result<(TcpStream, TcpStream)> {
    connect(client.as_raw_fd(), &SockaddrStorage::from(server)).context("connect")?;
    let a = TcpStream::from(client);
    let (b, _) = listener.accept()?;
    for stream in [&a, &b] {
        stream.set_nodelay(true)?;
    }
    Ok((a, b))
}

fn exchange(a: &mut TcpStream, b: &mut TcpStream) -> Result<()> {
    let mut buffer = [0; 64];
    a.write_all(&MESSAGE)?;
    b.read_exact(&mut buffer)?;
    b.write_all(&MESSAGE)?;
    a.read_exact(&mut buffer)?;
    Ok(())
}

fn tcp(pods: &Pods, server: SocketAddr) -> Result<f64> {
    let listener = pods.within(1, || Ok(TcpListener::bind(server)?))?;
    let (mut a, mut b) = pair(client(pods, server)?, &listener, server)?;
    per_turn(ROUND_TRIPS, || exchange(&mut a, &mut b))
}

fn connections(pods: &Pods, server: SocketAddr) -> Result<f64> {
    let listener = pods.within(1, || Ok(TcpListener::bind(server)?))?;
    let clients: Result<Vec<_>> =
        (0..CONNECTIONS * 11 / 10).map(|_| client(pods, server)).collect();
    let mut clients = clients?.into_iter();
    per_turn(CONNECTIONS, || {
        let client = clients.next().context("too few sockets")?;
        let (mut a, mut b) = pair(client, &listener, server)?;
        exchange(&mut a, &mut b)?;
        // Reset, so that no port is left waiting.
        let reset = linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&b, sockopt::Linger, &reset)?;
        setsockopt(&a, sockopt::Linger, &reset)?;
        drop(a);
        Ok(())
    })
}

/// One datagram of each flow, and no answer.
fn flows(pods: &Pods, client: IpAddr, server: SocketAddr) -> Result<f64> {
    let b = pods.within(1, || Ok(UdpSocket::bind(server)?))?;
    b.set_read_timeout(Some(Duration::from_secs(2)))?;
    let bound = |_| pods.within(0, || Ok(UdpSocket::bind((client, 0))?));
    let clients: Vec<_> = (0..CONNECTIONS * 11 / 10).map(bound).collect::<Result<_>>()?;
    let (mut clients, mut buffer) = (clients.iter(), [0; 64]);
    per_turn(CONNECTIONS, || {
        let a = clients.next().context("too few sockets")?;
        a.send_to(&MESSAGE, server)?;
        b.recv(&mut buffer).context("a datagram did not arrive")?;
        Ok(())
    })
}
