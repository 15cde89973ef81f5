//! The loop that feeds the speaker and does what it asks.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use brindle_bgp_proto::session::ConnId;
use brindle_bgp_proto::speaker::bfd::Inbound;
use brindle_bgp_proto::speaker::{
    Accepted, Command, Config, Event, Io, Md5Key, Speaker, Transport,
};
use brindle_bgp_proto::timer::Time;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bfd::Bfd;
use crate::connection::{Connection, Origin, Report};
use crate::listener::Listeners;
use crate::monitor::Monitors;
use crate::{MAX_PLAN, PlanError, Request, RouteQuery, Status};

/// Reports of connections that may wait; a full channel stops reading from the sockets.
const REPORTS: usize = 256;
/// Reports that are answered together, at most: while they are worked on nothing is sent.
const TOGETHER: usize = 64;
/// BFD packets that may wait; more are lost, as on the wire.
const BFD: usize = 256;
/// Accepted connections that may wait.
const ACCEPTED: usize = 64;
/// How often a port that could not be had is tried again.
const LISTEN_RETRY: Duration = Duration::from_secs(5);
/// How long last words may take when the speaker stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Runs a speaker until it is stopped or all senders of requests are gone.
pub(crate) async fn run(
    config: Config,
    mut requests: mpsc::Receiver<Request>,
    events: mpsc::Sender<Event>,
) {
    let (reports, mut from_connections) = mpsc::channel(REPORTS);
    let (accepted, mut from_listeners) = mpsc::channel(ACCEPTED);
    let (heard, mut from_bfd) = mpsc::channel::<Inbound>(BFD);
    let start = Instant::now();
    let mut driver = Driver {
        start,
        monitors: Monitors::new(start),
        speaker: Speaker::new(config),
        connections: BTreeMap::new(),
        tasks: JoinSet::new(),
        reports,
        accepted,
        port: None,
        listeners: Listeners::default(),
        bfd: Bfd::new(heard),
        keys: BTreeMap::new(),
        listen_again: None,
    };
    while !driver.speaker.is_stopped() {
        let deadline = driver.next_deadline();
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => driver.request(request),
                None => driver.command(Command::Stop { graceful: true }),
            },
            Some((conn, report)) = from_connections.recv() => {
                driver.report(conn, report);
                // What has come meanwhile is answered together: of many neighbours that speak at once
                // each is told once.
                for _ in 1..TOGETHER {
                    let Ok((conn, report)) = from_connections.try_recv() else { break };
                    driver.report(conn, report);
                }
            }
            Some((stream, remote)) = from_listeners.recv() => driver.accepted(stream, remote),
            Some(inbound) = from_bfd.recv() => driver.heard(&inbound),
            () = sleep_until(deadline) => driver.timeout().await,
            permit = events.reserve(), if driver.speaker.has_events() => match permit {
                Ok(permit) => driver.event(permit),
                Err(_) => driver.command(Command::Stop { graceful: true }),
            },
            Some(_) = driver.tasks.join_next(), if !driver.tasks.is_empty() => {}
        }
        driver.pump().await;
        driver.monitors.tell(&mut driver.speaker);
    }
    driver.connections.clear();
    let ended = async { while driver.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, ended).await.is_err() {
        tracing::warn!("some BGP connections did not take our last words");
    }
}

struct Driver {
    start: Instant,
    monitors: Monitors,
    speaker: Speaker,
    connections: BTreeMap<ConnId, Connection>,
    tasks: JoinSet<()>,
    reports: mpsc::Sender<(ConnId, Report)>,
    accepted: mpsc::Sender<(TcpStream, SocketAddr)>,
    port: Option<u16>,
    listeners: Listeners,
    bfd: Bfd,
    /// Keys of neighbours, for listeners that are opened anew.
    keys: BTreeMap<IpNet, Md5Key>,
    listen_again: Option<Instant>,
}

impl Driver {
    fn now(&self) -> Time {
        Time::since_start(self.start.elapsed())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let timer = self.speaker.poll_timeout().map(|(at, _)| self.start + at.elapsed());
        timer.into_iter().chain(self.listen_again).min()
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Command(command) => self.command(*command),
            // Who asked may have gone away meanwhile.
            Request::Status(answer) => drop(answer.send(self.status())),
            Request::Explain(prefix, peer, answer) => {
                drop(answer.send(self.speaker.explain(prefix, peer.as_deref())));
            }
            Request::Plan(commands, answer) => {
                let held = self.speaker.routes_held();
                if held > MAX_PLAN {
                    return drop(answer.send(Err(PlanError::TooLarge { held })));
                }
                let (copy, now) = (self.speaker.clone(), self.now());
                tokio::task::spawn_blocking(move || {
                    drop(answer.send(Ok(copy.plan(commands, now))));
                });
            }
            Request::Monitor(news) => self.monitors.add(news, &mut self.speaker),
            Request::Routes(RouteQuery { table, peer, limit }, answer) => {
                drop(answer.send(self.speaker.routes(table, peer.as_deref(), limit)));
            }
        }
    }

    fn command(&mut self, command: Command) {
        if let Err(error) = self.speaker.handle_command(command, self.now()) {
            tracing::error!("{error}");
        }
    }

    fn event(&mut self, permit: mpsc::Permit<'_, Event>) {
        let now = self.now();
        if let Some(event) = self.speaker.poll_event_at(now) {
            permit.send(event);
        }
    }

    fn status(&self) -> Status {
        Status {
            speaker: self.speaker.status(),
            listening: self.listeners.addresses(),
            listen_error: self.listeners.error.clone(),
            bfd_error: self.bfd.error.clone(),
            uptime: self.start.elapsed().as_secs_f64(),
        }
    }

    fn report(&mut self, conn: ConnId, report: Report) {
        if !self.connections.contains_key(&conn) {
            return;
        }
        let now = self.now();
        match report {
            Report::Connected(local) => self.speaker.handle_connected(conn, local, now),
            Report::Octets(octets) => self.speaker.handle_bytes(conn, &octets, now),
            Report::Writable => {}
            Report::Closed(words) => {
                self.connections.remove(&conn);
                self.speaker.handle_closed(conn, &words, now);
            }
        }
    }

    fn accepted(&mut self, stream: TcpStream, remote: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        match self.speaker.handle_accepted(remote.ip(), local.ip(), self.now()) {
            Ok(Accepted { conn, transport }) => {
                self.connect(conn, remote.ip(), Origin::Accepted(stream), transport);
            }
            Err(refusal) => tracing::info!(peer = %remote, "connection refused: {refusal}"),
        }
    }

    fn heard(&mut self, inbound: &Inbound) {
        let now = self.now();
        self.speaker.handle_bfd(inbound, now);
    }

    async fn timeout(&mut self) {
        if self.listen_again.is_some_and(|at| at <= Instant::now()) {
            self.listen().await;
        }
        self.speaker.handle_timeout(self.now());
    }

    /// Does what the speaker asks until it asks no more.
    async fn pump(&mut self) {
        self.pump_io().await;
        let now = self.now();
        for (conn, connection) in &self.connections {
            while let Some(room) = connection.room()
                && let Some(octets) = self.speaker.poll_transmit(*conn, now)
            {
                room.send(octets);
            }
        }
        while let Some(outbound) = self.speaker.poll_bfd(now) {
            self.bfd.send(&outbound);
        }
        // Building octets may have failed and closed a connection.
        self.pump_io().await;
    }

    async fn pump_io(&mut self) {
        while let Some(io) = self.speaker.poll_io() {
            match io {
                Io::Connect { conn, remote, source, transport } => {
                    let origin = Origin::Connect { remote, source };
                    self.connect(conn, remote.ip(), origin, transport);
                }
                Io::SetKey { remote, key } => self.set_key(remote, key),
                Io::Bfd { local, multihop, wanted } => self.bfd.set(local, multihop, wanted),
                Io::Close { conn, last } => self.close(conn, last),
                Io::Listen(port) => {
                    self.port = port;
                    self.listen().await;
                }
            }
        }
    }

    fn connect(&mut self, conn: ConnId, remote: IpAddr, origin: Origin, transport: Transport) {
        let reports = self.reports.clone();
        let task = Connection::start(conn, remote, origin, transport, reports, &mut self.tasks);
        self.connections.insert(conn, task);
    }

    /// Signs what is open and what is to come.
    fn set_key(&mut self, remote: IpNet, key: Option<Md5Key>) {
        // Peers of a range have keys of their own while they are there.
        for connection in self.connections.values().filter(|c| remote == c.remote().into()) {
            connection.set_key(key.clone());
        }
        self.keys.remove(&remote);
        self.key_listeners(remote, key.as_ref());
        self.keys.extend(key.map(|key| (remote, key)));
    }

    fn key_listeners(&self, remote: IpNet, key: Option<&Md5Key>) {
        if let Err(error) = self.listeners.set_key(remote, key) {
            tracing::error!(peer = %remote, "cannot set the TCP MD5 key of the listener: {error}");
        }
    }

    fn close(&mut self, conn: ConnId, last: Vec<u8>) {
        if let Some(connection) = self.connections.remove(&conn)
            && !last.is_empty()
            && let Some(room) = connection.room()
        {
            room.send(last);
        }
    }

    async fn listen(&mut self) {
        self.listeners.close().await;
        if let Some(port) = self.port {
            self.listeners = Listeners::open(port, &self.accepted);
            self.keys.iter().for_each(|(remote, key)| self.key_listeners(*remote, Some(key)));
        }
        self.listen_again = self.listeners.error.as_ref().map(|error| {
            tracing::error!("{error}; trying again in {} s", LISTEN_RETRY.as_secs());
            Instant::now() + LISTEN_RETRY
        });
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
