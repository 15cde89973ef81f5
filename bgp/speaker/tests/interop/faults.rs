//! Peers that are wrong, silent, absent or broken: the status says what, and others are unharmed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use brindle_bgp_proto::decode::{decode, frame};
use brindle_bgp_proto::encode::encode;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::message::{Message, Notification, NotificationCode, Open};
use brindle_bgp_proto::negotiated::Negotiated;
use brindle_bgp_speaker::Command;
use brindle_lab::netns::run;

use crate::bird::Bird;
use crate::router::{Kind, Router};
use crate::world::{OUR_AS, PATIENCE, ROUTER, ROUTER_AS, Speaker, US, World, peer};

/// A third address on the link, for peers made by hand.
const OTHER: &str = "10.77.0.5";

#[test]
fn wrong_as_says_which_came() -> Result<()> {
    let world = World::new()?;
    let _router = Router::start(Kind::Bird, &world, 0, ROUTER_AS)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[0], 64999))?;
    us.until("our NOTIFICATION", |us| Ok(us.peer("tor")?.last_sent_notification.is_some()))?;
    let tor = us.peer("tor")?;
    let sent = tor.last_sent_notification.map(|n| n.message).unwrap_or_default();
    assert!(sent.contains("bad peer AS (2/2)"), "{sent}");
    assert!(sent.contains("in AS 64512") && sent.contains("with AS 64999"), "{sent}");
    assert_eq!(tor.established_count, 0);

    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.until_state("tor", State::Established)?;
    us.stop(false)
}

#[test]
fn a_router_that_expects_another_as_is_quoted() -> Result<()> {
    let world = World::new()?;
    let neighbour = Bird::neighbour(ROUTER[0], US[0], (ROUTER_AS, 65099), "");
    let _bird = Bird::start(&world, &neighbour)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.until("its NOTIFICATION", |us| Ok(us.peer("tor")?.last_received_notification.is_some()))?;
    let tor = us.peer("tor")?;
    let received = tor.last_received_notification.map(|n| n.message).unwrap_or_default();
    assert!(received.contains("bad peer AS (2/2)"), "{received}");
    let error = tor.last_error.map(|e| e.message).unwrap_or_default();
    assert!(error.contains("bad peer AS") || error.contains("cannot connect"), "{error}");
    us.stop(false)
}

#[test]
fn unreachable_and_closed_peers_say_so_and_harm_nobody() -> Result<()> {
    let world = World::new()?;
    let _router = Router::start(Kind::Bird, &world, 0, ROUTER_AS)?;
    world.router.ip(&["addr", "add", "10.77.0.6/24", "dev", "eth0"])?;
    let mut us = world.speaker()?;
    us.set_peer("absent", peer("10.77.0.99", ROUTER_AS))?;
    let mut closed = peer("10.77.0.6", ROUTER_AS);
    closed.port = 1179;
    us.set_peer("closed", closed)?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.until_state("tor", State::Established)?;
    us.until("both errors", |us| {
        let error = |name: &str| Ok::<_, anyhow::Error>(us.peer(name)?.last_error);
        Ok(error("absent")?.is_some() && error("closed")?.is_some())
    })?;
    let message = |name| us.peer(name).map(|p| p.last_error.map(|e| e.message).unwrap_or_default());
    let (absent, closed) = (message("absent")?, message("closed")?);
    assert!(absent.contains("10.77.0.99:179") && absent.contains("No route"), "{absent}");
    assert!(closed.contains("10.77.0.6:1179") && closed.contains("refused"), "{closed}");
    assert_eq!(us.peer("tor")?.flaps, 0);
    us.stop(false)
}

/// A peer made by hand, accepting our connection from its address on the link.
struct Handmade {
    stream: TcpStream,
    session: Negotiated,
    input: Vec<u8>,
}

impl Handmade {
    fn listen(world: &World) -> Result<TcpListener> {
        world.router.ip(&["addr", "add", &format!("{OTHER}/24"), "dev", "eth0"])?;
        Ok(world.router.enter(|| TcpListener::bind((OTHER, 179)))??)
    }

    fn accept(listener: &TcpListener) -> Result<Self> {
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, session: Negotiated::before_open(65003), input: Vec::new() })
    }

    /// As far as Established.
    fn handshake(&mut self) -> Result<()> {
        let Message::Open(theirs) = self.receive()? else { anyhow::bail!("no OPEN") };
        let open = Open {
            as_number: 65003,
            hold_time: 90,
            router_id: OTHER.parse()?,
            capabilities: theirs.capabilities.clone(),
        };
        // The same capabilities but for the AS, which is not among them then.
        let capabilities = open.capabilities.into_iter().filter(|c| c.code() != 65).collect();
        self.send(&Message::Open(Open { capabilities, ..open }))?;
        assert_eq!(self.receive()?, Message::Keepalive);
        self.send(&Message::Keepalive)
    }

    fn send(&mut self, message: &Message) -> Result<()> {
        let mut octets = Vec::new();
        encode(message, &self.session, &mut octets)?;
        Ok(self.stream.write_all(&octets)?)
    }

    fn receive(&mut self) -> Result<Message> {
        loop {
            if let Some(len) = frame(&self.input, &self.session)? {
                let octets: Vec<_> = self.input.drain(..len).collect();
                return Ok(decode(&octets, &self.session)?);
            }
            let mut chunk = [0; 4096];
            let len = self.stream.read(&mut chunk).context("read from us")?;
            anyhow::ensure!(len > 0, "connection closed");
            self.input.extend_from_slice(&chunk[..len]);
        }
    }

    /// The NOTIFICATION that ends the session, whatever comes before.
    fn notification(&mut self) -> Result<Notification> {
        loop {
            if let Message::Notification(notification) = self.receive()? {
                return Ok(notification);
            }
        }
    }
}

/// A world with a healthy session, a listener for a handmade peer, and us.
fn with_bystander() -> Result<(World, Router, TcpListener, Speaker)> {
    let world = World::new()?;
    let router = Router::start(Kind::Bird, &world, 1, ROUTER_AS)?;
    let listener = Handmade::listen(&world)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[1], ROUTER_AS))?;
    us.originate(&["10.65.0.0/26"])?;
    us.until("the router's routes", |us| Ok(us.routes.len() == 2))?;
    us.set_peer("odd", peer(OTHER, 65003))?;
    Ok((world, router, listener, us))
}

#[test]
fn garbage_resets_its_own_session_with_the_right_notification() -> Result<()> {
    let (_world, router, listener, mut us) = with_bystander()?;
    let mut header = [0xff; 19];
    header[16..].copy_from_slice(&[0, 19, 77]);
    let mut short_update = vec![0xff; 16];
    short_update.extend([0, 23, 2, 0xff, 0xff, 0, 0]);
    let cases: [(&[u8], bool, NotificationCode); 5] = [
        (
            b"GET / HTTP/1.1\r\nHost: bgp\r\n\r\n",
            false,
            NotificationCode::ConnectionNotSynchronized,
        ),
        (&header, false, NotificationCode::BadMessageType),
        (b"GET / HTTP/1.1\r\nHost: bgp\r\n\r\n", true, NotificationCode::ConnectionNotSynchronized),
        (&short_update, true, NotificationCode::MalformedAttributeList),
        (&short_update, false, NotificationCode::UnexpectedInOpenSent),
    ];
    for (octets, established, expected) in cases {
        let before = us.peer("odd")?;
        // The pause after failures grows: a new configuration starts afresh.
        us.send(Command::RemovePeer("odd".into()))?;
        us.set_peer("odd", peer(OTHER, 65003))?;
        let mut odd = Handmade::accept(&listener)?;
        if established {
            odd.handshake()?;
            us.until_state("odd", State::Established)?;
        }
        odd.stream.write_all(octets)?;
        let notification = odd.notification()?;
        assert_eq!(notification.code, expected, "after {} sessions", before.established_count);
        us.until("the error in the status", |us| {
            let sent = us.peer("odd")?.last_sent_notification;
            Ok(sent.is_some_and(|s| s.message.contains(&expected.to_string())))
        })?;
    }
    let tor = us.peer("tor")?;
    assert_eq!((tor.state, tor.flaps), (State::Established, 0));
    assert!(router.path("10.65.0.0/26")?.is_some());
    us.stop(false)
}

#[test]
fn a_second_open_in_established_is_a_state_machine_error() -> Result<()> {
    let (_world, _router, listener, mut us) = with_bystander()?;
    let mut odd = Handmade::accept(&listener)?;
    odd.handshake()?;
    us.until_state("odd", State::Established)?;
    let capabilities = Vec::new();
    let router_id = OTHER.parse()?;
    odd.send(&Message::Open(Open { as_number: 65003, hold_time: 90, router_id, capabilities }))?;
    assert_eq!(odd.notification()?.code, NotificationCode::UnexpectedInEstablished);
    assert_eq!(us.peer("tor")?.flaps, 0);
    us.stop(false)
}

#[test]
fn silence_ends_the_session_after_the_hold_time() -> Result<()> {
    let world = World::new()?;
    let more = "hold time 3; keepalive time 1;";
    let neighbour = Bird::neighbour(ROUTER[0], US[0], (ROUTER_AS, OUR_AS), more);
    let _bird = Bird::start(&world, &neighbour)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.until("routes", |us| Ok(us.routes.len() == 2))?;
    assert_eq!(us.peer("tor")?.session.map(|s| (s.hold_time, s.keepalive_time)), Some((3, 1)));

    let netns = world.router.name();
    let nft = |rules: &str| run("ip", &["netns", "exec", netns, "nft", rules]);
    nft(
        "add table inet silence { chain quiet { type filter hook input priority 0; policy drop; }; }",
    )?;
    us.until("the hold timer", |us| Ok(us.peer("tor")?.state != State::Established))?;
    let tor = us.peer("tor")?;
    let sent = tor.last_sent_notification.map(|n| n.message).unwrap_or_default();
    assert!(sent.contains("hold timer expired (4/0)") && sent.contains("for 3 s"), "{sent}");
    us.until("its routes to go", |us| Ok(us.routes.is_empty()))?;

    nft("delete table inet silence")?;
    us.until("the session again", |us| Ok(us.routes.len() == 2))?;
    us.stop(false)
}

#[test]
fn both_sides_connect_at_once_and_one_session_stays() -> Result<()> {
    for kind in [Kind::Bird, Kind::Frr] {
        let world = World::new()?;
        // Both sides try into the void, and both SYNs come through when the link comes up.
        world.us.ip(&["link", "set", "eth0", "down"])?;
        let router = Router::start(kind, &world, 0, ROUTER_AS)?;
        let mut us = world.speaker()?;
        us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
        us.originate(&["10.65.0.0/26"])?;
        us.until("an attempt", |us| Ok(us.peer("tor")?.last_error.is_some()))?;
        world.us.ip(&["link", "set", "eth0", "up"])?;
        us.until("its routes", |us| Ok(us.routes.contains_key(&"10.200.0.0/24".parse()?)))?;
        router.until_path("10.65.0.0/26")?;
        us.until("one connection", |us| {
            assert_eq!(us.peer("tor")?.established_count, 1, "{kind:?}");
            let sockets = run(
                "ip",
                &["netns", "exec", world.us.name(), "ss", "-Htn", "state", "established"],
            )?;
            Ok(sockets.lines().count() == 1)
        })?;
        us.stop(false)?;
    }
    Ok(())
}

#[test]
fn strangers_are_refused_and_counted() -> Result<()> {
    let (world, _router, listener, mut us) = with_bystander()?;
    drop(listener);
    world.router.ip(&["addr", "add", "10.77.0.7/24", "dev", "eth0"])?;
    for _ in 0..3 {
        let mut stranger = world.router.enter(|| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            socket.bind(&std::net::SocketAddr::new("10.77.0.7".parse()?, 0).into())?;
            socket.connect(&std::net::SocketAddr::new(US[0].parse()?, 179).into())?;
            Ok::<_, anyhow::Error>(TcpStream::from(socket))
        })??;
        stranger.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut octets = [0; 64];
        // FIN or RST: not one octet of BGP.
        assert_eq!(stranger.read(&mut octets).unwrap_or(0), 0);
    }
    us.until("the count", |us| Ok(us.status()?.speaker.refused_connections == 3))?;
    assert_eq!(us.peer("tor")?.flaps, 0);
    us.stop(false)
}

#[test]
fn a_port_that_is_taken_is_told_and_tried_again() -> Result<()> {
    let world = World::new()?;
    let other = world.us.enter(|| TcpListener::bind(("0.0.0.0", 179)))??;
    let mut us = world.speaker()?;
    let error = us.status()?.listen_error.unwrap_or_default();
    assert!(error.contains("0.0.0.0:179") && error.contains("in use"), "{error}");
    assert_eq!(us.status()?.listening, ["[::]:179".parse()?], "IPv6 is not concerned");
    drop(other);
    us.until("both sockets", |us| {
        let status = us.status()?;
        Ok(status.listen_error.is_none() && status.listening.len() == 2)
    })?;
    us.stop(false)
}
