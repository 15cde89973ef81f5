//! One flow in which both ends speak, and when each was last heard.
//!
//! The end that was called speaks once it was spoken to, so that the flow is what its first packet
//! says. Sleeps are the pace of speech here, not waits for something to happen.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

use crate::netns::Netns;
use crate::process::wait_until;

/// Time between two packets of one end.
const PACE: Duration = Duration::from_millis(2);
/// How long a receiver waits before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Nothing that was sent is under way any more after so long without an arrival.
const QUIET: Duration = Duration::from_millis(300);

/// One direction of a conversation.
#[derive(Debug)]
pub struct Way {
    start: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    /// Microseconds after `start` at which something arrived last.
    last: AtomicU64,
}

impl Way {
    fn new() -> Arc<Self> {
        let count = || AtomicU64::new(0);
        Arc::new(Self { start: Instant::now(), sent: count(), received: count(), last: count() })
    }

    fn arrived(&self, count: usize) {
        self.received.fetch_add(count as u64, Relaxed);
        self.last.store(self.start.elapsed().as_micros() as u64, Relaxed);
    }

    /// What has arrived so far.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// When something arrived last.
    pub fn last(&self) -> Instant {
        self.start + Duration::from_micros(self.last.load(Relaxed))
    }

    /// Waits until something arrives that was not there before.
    ///
    /// # Errors
    /// Nothing does.
    pub fn wait(&self) -> Result<()> {
        let before = self.received();
        wait_until(Duration::from_secs(10), "the flow to go on", || Ok(self.received() > before))
    }

    /// Watches the direction fall silent, though its sender goes on, and returns when it was heard
    /// last.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_silent(&self) -> Result<Instant> {
        wait_until(Duration::from_secs(5), "the flow to stop", || {
            Ok(self.last().elapsed() > QUIET)
        })?;
        Ok(self.last())
    }
}

/// A running conversation.
#[derive(Debug)]
pub struct Conversation {
    stop: Arc<AtomicBool>,
    /// From the caller, and back.
    pub ways: [Arc<Way>; 2],
    speakers: Vec<JoinHandle<()>>,
    listeners: Vec<JoinHandle<()>>,
}

/// Who calls whom. `target` is what the caller calls, and differs from `server`, where the other
/// end listens, if something on the way rewrites destinations.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Where the caller is.
    pub from: &'a Netns,
    /// What it speaks from; the port must not be 0.
    pub source: SocketAddr,
    /// Where the other end is.
    pub to: &'a Netns,
    /// What it listens on.
    pub server: SocketAddr,
    /// What is called.
    pub target: SocketAddr,
}

impl Call<'_> {
    /// A TCP listener at the other end, which waits so long for a connection.
    ///
    /// # Errors
    /// The port is taken.
    pub fn listen(&self, patience: Duration) -> Result<Socket> {
        self.to.enter(|| -> Result<Socket> {
            let socket = Socket::new(Domain::for_address(self.server), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&self.server.into())?;
            socket.listen(8)?;
            socket.set_read_timeout(Some(patience))?;
            Ok(socket)
        })?
    }
}

impl Conversation {
    /// Datagrams both ways.
    ///
    /// # Errors
    /// A port is taken, or the first datagram does not arrive.
    pub fn udp(call: &Call<'_>) -> Result<Self> {
        let caller = call.from.enter(|| UdpSocket::bind(call.source))??;
        let called = call.to.enter(|| UdpSocket::bind(call.server))??;
        caller.connect(call.target)?;
        for socket in [&caller, &called] {
            socket.set_read_timeout(Some(LOOK))?;
        }
        wait_until(Duration::from_secs(5), "the first datagram", || {
            caller.send(b"first")?;
            Ok(called.recv(&mut [0; 16]).is_ok())
        })?;
        called.connect(call.source)?;
        let mut this = Self::new();
        for (way, from, to) in [(0, &caller, &called), (1, &called, &caller)] {
            let (from, to) = (from.try_clone()?, to.try_clone()?);
            this.speak(way, move || from.send(b"brindle").map(|_| 1));
            this.listen(way, move || to.recv(&mut [0; 16]).map(|_| 1));
        }
        Ok(this)
    }

    /// A TCP connection with a byte at a time both ways.
    ///
    /// # Errors
    /// A port is taken, or the connection is not admitted.
    pub fn tcp(call: &Call<'_>) -> Result<Self> {
        let domain = Domain::for_address(call.server);
        let listener = call.listen(Duration::from_secs(2))?;
        let caller = call.from.enter(|| -> io::Result<Socket> {
            let socket = Socket::new(domain, Type::STREAM, None)?;
            socket.bind(&call.source.into())?;
            socket.connect_timeout(&call.target.into(), Duration::from_secs(2))?;
            Ok(socket)
        })??;
        let (called, _) = listener.accept().context("accept")?;
        for socket in [&caller, &called] {
            socket.set_tcp_nodelay(true)?;
            socket.set_read_timeout(Some(LOOK))?;
            socket.set_linger(Some(Duration::ZERO))?;
        }
        let mut this = Self::new();
        for (way, from, to) in [(0, &caller, &called), (1, &called, &caller)] {
            let (from, to) = (from.try_clone()?, to.try_clone()?);
            this.speak(way, move || (&from).write(b"b"));
            this.listen(way, move || (&to).read(&mut [0; 4096]));
        }
        Ok(this)
    }

    fn new() -> Self {
        let ways = [Way::new(), Way::new()];
        Self { stop: Arc::default(), ways, speakers: Vec::new(), listeners: Vec::new() }
    }

    fn speak(&mut self, way: usize, mut send: impl FnMut() -> io::Result<usize> + Send + 'static) {
        let (stop, way) = (self.stop.clone(), self.ways[way].clone());
        self.speakers.push(thread::spawn(move || {
            while !stop.load(Relaxed) {
                // What a revoked flow answers is not the point.
                let sent = send().unwrap_or(0);
                way.sent.fetch_add(sent as u64, Relaxed);
                thread::sleep(PACE);
            }
        }));
    }

    fn listen(&mut self, way: usize, mut read: impl FnMut() -> io::Result<usize> + Send + 'static) {
        let (stop, way) = (self.stop.clone(), self.ways[way].clone());
        self.listeners.push(thread::spawn(move || {
            loop {
                match read() {
                    Ok(0) => return,
                    Ok(count) => way.arrived(count),
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        if stop.load(Relaxed) && way.last().elapsed() > QUIET {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        }));
    }

    /// Ends the conversation. Returns what was sent and did not arrive, each way.
    ///
    /// # Errors
    /// A thread panicked.
    pub fn end(self) -> Result<[u64; 2]> {
        self.stop.store(true, Relaxed);
        for thread in self.speakers.into_iter().chain(self.listeners) {
            ensure!(thread.join().is_ok(), "a thread of a conversation panicked");
        }
        Ok(self.ways.map(|way| way.sent.load(Relaxed).saturating_sub(way.received())))
    }
}

/// Echo requests of one `ping`, which are one flow, and their replies.
#[derive(Debug)]
pub struct Ping {
    child: Child,
    /// Replies.
    pub way: Arc<Way>,
    reader: Option<JoinHandle<()>>,
}

impl Ping {
    /// Starts one.
    ///
    /// # Errors
    /// There is no `ping`, or no reply.
    pub fn start(from: &Netns, target: IpAddr) -> Result<Self> {
        let mut command = from.command("ping");
        command.args(["-n", "-i", "0.01", &target.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().context("start ping")?;
        let Some(stdout) = child.stdout.take() else { bail!("ping has no output") };
        let way = Way::new();
        let reader = thread::spawn({
            let way = way.clone();
            move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                lines.filter(|line| line.contains("bytes from")).for_each(|_| way.arrived(1));
            }
        });
        let ping = Self { child, way, reader: Some(reader) };
        ping.way.wait()?;
        Ok(ping)
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
