//! What a packet pays for policy: pod a → node → pod b, both on this node.
//!
//! Both ends of a round trip are in one thread on one CPU, so the whole path, softirq included, is
//! the thread's CPU time, and no scheduler stands in between. Configurations are measured in turn,
//! in rounds, and compared within a round: the machine's speed drifts by more than what is
//! measured.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use brindle_dataplane_core::Backend;
use brindle_dataplane_nftables::Nftables;
use brindle_model::NamespacedName;
use brindle_model::cluster::EndpointId;
use brindle_model::net::{PortRange, Protocol};
use brindle_model::policy::DEFAULT_TIER;
use brindle_model::ruleset::Stage;
use brindle_model::ruleset::{
    Action, Endpoint, Match, Member, PolicyRules, PortMatch, Program, Rule, Ruleset, RulesetDelta,
    Set, SetDef, Side, TierEnd, TierStep,
};
use brindle_model::verdict::{DecisionId, Direction, PolicyId, Verdict};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::libc::linger;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use nix::time::{ClockId, clock_gettime};

use crate::pods::{INTERFACES, Pods, addresses, nft};
use crate::row::Row;

/// Port of the server in pod b.
const PORT: u16 = 8080;
/// Entries of the policy, of each family, in each direction.
const ENTRIES: u32 = 10_000;
/// What is measured.
const PROTOCOLS: [Protocol; 2] = [Protocol::TCP, Protocol::UDP];
const ROUNDS: usize = 15;
const ROUND_TRIPS: usize = 1500;
const CONNECTIONS: usize = 250;
const MESSAGE: [u8; 64] = [7; 64];

/// What stands on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Path {
    Bare,
    OneRule,
    /// A policy of 10,000 prefixes.
    Prefixes,
    /// The same while some connection is revoked.
    Revoked,
    /// A policy of 10,000 rules, each of one peer and one port.
    Rules,
}

const PATHS: [Path; 5] = [Path::Bare, Path::OneRule, Path::Prefixes, Path::Revoked, Path::Rules];
const OURS: [(Path, &str); 2] = [(Path::Prefixes, "10k prefixes"), (Path::Rules, "10k rules")];
const TRAFFIC: [&str; 3] = ["udp rtt", "tcp rtt", "tcp connect"];

/// CPU time in microseconds of each kind of traffic.
type Sample = [f64; 3];

/// The bench.
pub fn packet_path() -> Result<Vec<Row>> {
    let measured = std::thread::scope(|scope| scope.spawn(measure).join());
    let rounds = measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let mut rows = Vec::new();
    for (family, name) in ["ipv4", "ipv6"].into_iter().enumerate() {
        for (path, policy, base, against) in pairs() {
            for (kind, traffic) in TRAFFIC.into_iter().enumerate() {
                let of = |p: Path| rounds.iter().map(move |round| round[family][p as usize][kind]);
                let ratio = median(of(path).zip(of(base)).map(|(a, b)| a / b).collect());
                let (value, baseline) = (median(of(path).collect()), median(of(base).collect()));
                let case = format!("{name} {policy} {traffic} against {against}");
                rows.push(Row::paired(case, value, "us", baseline, ratio));
            }
        }
    }
    Ok(rows)
}

/// What is compared with what.
fn pairs() -> Vec<(Path, &'static str, Path, &'static str)> {
    let mut pairs = Vec::new();
    for (path, policy) in OURS {
        pairs.push((path, policy, Path::OneRule, "one rule"));
        pairs.push((path, policy, Path::Bare, "bare"));
    }
    pairs.push((Path::Revoked, "with a revoked connection", Path::Prefixes, "without"));
    pairs
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure() -> Result<Vec<[[Sample; PATHS.len()]; 2]>> {
    let pods = Pods::build()?;
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let mut samples = [[Sample::default(); PATHS.len()]; 2];
        // Every other round runs backwards, so that a drift within rounds cancels out.
        let mut order = PATHS;
        if round % 2 == 1 {
            order.reverse();
        }
        for path in order {
            load(path)?;
            for (family, sample) in samples.iter_mut().enumerate() {
                sample[path as usize] = traffic(&pods, family)?;
            }
        }
        // The first round warms up.
        if round > 0 {
            rounds.push(samples);
        }
    }
    nft("flush ruleset")?;
    Ok(rounds)
}

fn load(path: Path) -> Result<()> {
    nft("flush ruleset")?;
    match path {
        Path::Bare => Ok(()),
        Path::OneRule => nft("table inet one {
            chain forward {
                type filter hook forward priority 0; policy accept;
                ct state established accept
            }
        }"),
        Path::Prefixes | Path::Revoked | Path::Rules => {
            let mut backend = Nftables::open()?;
            backend.resync()?;
            backend.stop_revoked(path == Path::Revoked);
            backend.stage(&RulesetDelta::between(&Ruleset::default(), &ruleset(path)));
            backend.commit()?;
            Ok(())
        }
    }
}

/// Both pods under a policy of so many entries in both directions, of which one admits the traffic.
fn ruleset(path: Path) -> Ruleset {
    let id = PolicyId::network_policy(&NamespacedName::new("bench", "many"));
    let mut ruleset = Ruleset::default();
    let mut rules = |direction: Direction, peer: usize| match path {
        Path::Rules => {
            let one = |(index, net): (u32, IpNet)| {
                let port = u16::try_from(1024 + index % 50_000).unwrap_or(PORT);
                rule(&mut ruleset, &id, direction, index, vec![net], Protocol::TCP, port)
            };
            let mut rules: Vec<_> = (0..).zip(entries(32, 128)).map(one).collect();
            for (addr, protocol) in addresses(peer)
                .into_iter()
                .zip(PROTOCOLS)
                .chain(addresses(peer).into_iter().rev().zip(PROTOCOLS))
            {
                let index = u32::try_from(rules.len()).unwrap_or_default();
                let nets = vec![addr.into()];
                rules.push(rule(&mut ruleset, &id, direction, index, nets, protocol, PORT));
            }
            rules
        }
        _ => {
            let mut nets = entries(28, 124);
            nets.extend(addresses(peer).map(IpNet::from));
            let mut of =
                |protocol| rule(&mut ruleset, &id, direction, 0, nets.clone(), protocol, PORT);
            PROTOCOLS.map(&mut of).to_vec()
        }
    };
    let policy = PolicyRules {
        ingress: rules(Direction::Ingress, 0).into(),
        egress: rules(Direction::Egress, 1).into(),
    };
    ruleset.policies.insert(id.clone(), Arc::new(policy));
    let [ingress, egress] = [Direction::Ingress, Direction::Egress].map(|direction| {
        let step =
            TierStep { tier: DEFAULT_TIER.into(), policies: vec![id.clone()], end: TierEnd::Drop };
        let end = (Verdict::Deny, DecisionId::Profile { name: "kns.bench".into() });
        let program = Program { stage: Stage::Normal, direction, steps: vec![step].into(), end };
        let id = program.id();
        ruleset.programs.insert(id, Arc::new(program));
        id
    });
    for (pod, interface) in INTERFACES.into_iter().enumerate() {
        let id = EndpointId {
            pod: NamespacedName::new("bench", format!("pod-{pod}")),
            container_id: "bench".into(),
            interface: "eth0".into(),
        };
        let addresses = addresses(pod).to_vec();
        let endpoint = Endpoint { host_interface: interface.into(), addresses, ingress, egress };
        ruleset.endpoints.insert(id, Arc::new(endpoint));
    }
    ruleset
}

/// Prefixes of both families with gaps between them.
fn entries(v4: u8, v6: u8) -> Vec<IpNet> {
    let each = |i: u32| {
        let net4 = Ipv4Net::new_assert((0xac10_0000 + i * 32).into(), v4);
        let net6 = Ipv6Net::new_assert(((0xfd01u128 << 112) + u128::from(i) * 32).into(), v6);
        [IpNet::V4(net4), IpNet::V6(net6)]
    };
    (0..ENTRIES).flat_map(each).collect()
}

fn rule(
    ruleset: &mut Ruleset,
    policy: &PolicyId,
    direction: Direction,
    index: u32,
    nets: Vec<IpNet>,
    protocol: Protocol,
    port: u16,
) -> Rule {
    let def = SetDef::Cidrs(IpNet::aggregate(&nets));
    let SetDef::Cidrs(nets) = &def else { unreachable!("just made") };
    let members = nets.iter().copied().map(Member::Net).collect();
    let id = def.id();
    ruleset.sets.insert(id, Set { def, members });
    let peer = Side { sets: [id].into(), ..Side::default() };
    let ports = [PortMatch::Range(PortRange::single(port))].into();
    let (source, destination) = match direction {
        Direction::Ingress => (peer, Side { ports, ..Side::default() }),
        Direction::Egress => (Side::default(), Side { ports, ..peer }),
    };
    let matches = Match { protocol: Some(protocol), source, destination, ..Match::default() };
    let decision = DecisionId::Rule { policy: policy.clone(), direction, index };
    Rule { decision, matches, action: Action::Allow }
}

fn traffic(pods: &Pods, family: usize) -> Result<Sample> {
    let server = SocketAddr::new(addresses(1)[family], PORT);
    let client = addresses(0)[family];
    Ok([udp(pods, client, server)?, tcp(pods, server)?, connections(pods, server)?])
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
