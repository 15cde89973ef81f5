//! One TCP connection: a task that owns the socket and moves octets both ways.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use brindle_bgp_proto::session::ConnId;
use brindle_bgp_proto::speaker::{Md5Key, Transport};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use crate::sockopt;

/// Chunks that may wait to be written; several UPDATEs are a chunk.
const WRITE_CHUNKS: usize = 16;
/// Octets read at once.
const READ_CHUNK: usize = 16 * 1024;
/// How long a closed connection may take to write its last words.
const LINGER: Duration = Duration::from_millis(800);
/// DSCP CS6, network control, in the upper six bits (RFC 4594 §3.1).
const TOS_CS6: u32 = 48 << 2;

/// How a connection comes to be.
#[derive(Debug)]
pub(crate) enum Origin {
    /// We open it.
    Connect { remote: SocketAddr, source: Option<IpAddr> },
    /// The neighbour opened it.
    Accepted(TcpStream),
}

/// What a connection tells the driver.
#[derive(Debug)]
pub(crate) enum Report {
    /// TCP is up; our address on it.
    Connected(IpAddr),
    /// Octets came.
    Octets(Vec<u8>),
    /// There is room to write again.
    Writable,
    /// It is over, and why. Nothing comes after.
    Closed(String),
}

/// The driver's end of a connection. Dropping it writes what is queued and closes.
#[derive(Debug)]
pub(crate) struct Connection {
    remote: IpAddr,
    keys: watch::Sender<Option<Md5Key>>,
    octets: mpsc::Sender<Vec<u8>>,
    _open: oneshot::Sender<()>,
}

impl Connection {
    /// Starts the task of a connection.
    pub(crate) fn start(
        conn: ConnId,
        remote: IpAddr,
        origin: Origin,
        transport: Transport,
        reports: mpsc::Sender<(ConnId, Report)>,
        tasks: &mut tokio::task::JoinSet<()>,
    ) -> Self {
        let (octets, to_write) = mpsc::channel(WRITE_CHUNKS);
        let (_open, dropped) = oneshot::channel();
        let (keys, new_keys) = watch::channel(transport.key.clone());
        let task = Task { conn, remote, transport, reports, to_write, new_keys };
        tasks.spawn(run(task, origin, dropped));
        Self { remote, keys, octets, _open }
    }

    /// The neighbour's address.
    pub(crate) fn remote(&self) -> IpAddr {
        self.remote
    }

    /// Signs with this key from now on.
    pub(crate) fn set_key(&self, key: Option<Md5Key>) {
        // Only a task that has ended does not hear of it.
        let _ = self.keys.send(key);
    }

    /// A place in the write queue, if there is one.
    pub(crate) fn room(&self) -> Option<mpsc::Permit<'_, Vec<u8>>> {
        self.octets.try_reserve().ok()
    }
}

struct Task {
    conn: ConnId,
    remote: IpAddr,
    transport: Transport,
    reports: mpsc::Sender<(ConnId, Report)>,
    to_write: mpsc::Receiver<Vec<u8>>,
    new_keys: watch::Receiver<Option<Md5Key>>,
}

async fn run(mut task: Task, origin: Origin, dropped: oneshot::Receiver<()>) {
    let (conn, reports) = (task.conn, task.reports.clone());
    let overdue = async {
        // The sender is never used, only dropped.
        let _ = dropped.await;
        tokio::time::sleep(LINGER).await;
    };
    let words = tokio::select! {
        words = task.converse(origin) => words,
        () = overdue => return,
    };
    // The driver may be gone: then nobody needs to know.
    let _ = reports.send((conn, Report::Closed(words))).await;
}

impl Task {
    /// The whole life of the connection; returns why it ended.
    async fn converse(&mut self, origin: Origin) -> String {
        let stream = match origin {
            Origin::Accepted(stream) => stream,
            Origin::Connect { remote, source } => {
                match connect(remote, source, &self.transport).await {
                    Ok(stream) => stream,
                    Err(error) => return format!("cannot connect to {remote}: {error}"),
                }
            }
        };
        if let Err(error) = prepare(&stream, self.remote, &self.transport) {
            return format!("cannot set socket options: {error}");
        }
        match stream.local_addr() {
            Ok(local) => self.report(Report::Connected(local.ip())).await,
            Err(error) => return format!("connection lost: {error}"),
        }
        // The halves are moved into their loops; the option is of the socket, whoever sets it.
        let socket = match stream.as_fd().try_clone_to_owned() {
            Ok(socket) => socket,
            Err(error) => return format!("cannot share the socket: {error}"),
        };
        let (read, write) = stream.into_split();
        let (reports, new_keys) = (self.reports.clone(), self.new_keys.clone());
        tokio::select! {
            words = reading(self.conn, read, &reports) => words,
            words = rekeying(socket, self.remote, new_keys) => words,
            words = self.writing(write) => words,
        }
    }

    /// Writes until the driver drops its end, then says FIN.
    async fn writing(&mut self, mut write: OwnedWriteHalf) -> String {
        let mut was_full = false;
        while let Some(octets) = self.to_write.recv().await {
            was_full |= self.to_write.len() + 1 == WRITE_CHUNKS;
            if let Err(error) = write.write_all(&octets).await {
                return format!("connection lost: {error}");
            }
            if was_full && self.to_write.is_empty() {
                was_full = false;
                self.report(Report::Writable).await;
            }
        }
        match write.shutdown().await {
            // Read on until the neighbour closes too: closing over unread octets would make the
            // kernel send RST, and the neighbour might never see our last words.
            Ok(()) => std::future::pending().await,
            Err(error) => format!("connection lost: {error}"),
        }
    }

    async fn report(&self, report: Report) {
        // The driver may be gone: then nobody needs to know.
        let _ = self.reports.send((self.conn, report)).await;
    }
}

async fn reading(
    conn: ConnId,
    mut read: OwnedReadHalf,
    reports: &mpsc::Sender<(ConnId, Report)>,
) -> String {
    let mut buffer = vec![0; READ_CHUNK];
    loop {
        let octets = match read.read(&mut buffer).await {
            Ok(0) => return "the neighbour closed the connection".into(),
            Ok(len) => buffer[..len].to_vec(),
            Err(error) => return format!("connection lost: {error}"),
        };
        if reports.send((conn, Report::Octets(octets))).await.is_err() {
            return "the speaker has stopped".into();
        }
    }
}

/// Sets every new key on the open socket.
async fn rekeying(
    socket: OwnedFd,
    remote: IpAddr,
    mut keys: watch::Receiver<Option<Md5Key>>,
) -> String {
    while keys.changed().await.is_ok() {
        let key = keys.borrow_and_update().clone();
        if let Err(error) = sockopt::set_md5_key(&socket, remote.into(), key.as_ref()) {
            return format!("cannot set the new TCP MD5 key: {error}");
        }
    }
    // The driver has dropped its end: last words are being written.
    std::future::pending().await
}

async fn connect(
    remote: SocketAddr,
    source: Option<IpAddr>,
    transport: &Transport,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Before the SYN: it is signed, and its answer must have come no further than allowed.
    protect(&socket, remote.ip(), transport)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    TcpSocket::from_std_stream(socket.into()).connect(remote).await
}

/// Options that must hold before the first packet that may be forged.
fn protect(socket: &Socket, remote: IpAddr, transport: &Transport) -> io::Result<()> {
    let ttl = u32::from(transport.ttl);
    match remote {
        IpAddr::V4(_) => socket.set_ttl_v4(ttl)?,
        IpAddr::V6(_) => socket.set_unicast_hops_v6(ttl)?,
    }
    sockopt::set_min_ttl(socket, remote.is_ipv6(), transport.min_ttl)?;
    match &transport.key {
        Some(key) => sockopt::set_md5_key(socket, remote.into(), Some(key)),
        None => Ok(()),
    }
}

/// Messages are whole and urgent: no Nagle, network control class. What was accepted is protected
/// only now; its handshake was checked with the listener's key.
fn prepare(stream: &TcpStream, remote: IpAddr, transport: &Transport) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    protect(&socket, remote, transport)?;
    match stream.local_addr()? {
        SocketAddr::V4(_) => socket.set_tos_v4(TOS_CS6),
        SocketAddr::V6(_) => socket.set_tclass_v6(TOS_CS6),
    }
}
