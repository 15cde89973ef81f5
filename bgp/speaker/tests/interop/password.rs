//! TCP MD5 signatures (RFC 2385): with, without, wrong, and changed while the session is up.

use anyhow::{Result, bail};
use brindle_bgp_proto::fsm::State;
use brindle_bgp_speaker::{Command, Identity, Md5Key, Password, PeerConfig};

use crate::bird::Bird;
use crate::router::{Kind, Router};
use crate::world::{OUR_AS, ROUTER, ROUTER_AS, Speaker, US, World, first_start, identity, peer};

fn signed(address: &str, as_number: u32, key: &str) -> PeerConfig {
    let key = Some(Md5Key::new(key.as_bytes()).expect("a key"));
    PeerConfig { password: Some(Password { key, problem: None }), ..peer(address, as_number) }
}

fn bird_with(over: usize, password: &str) -> String {
    let more = format!("password \"{password}\";");
    Bird::neighbour(ROUTER[over], US[over], (ROUTER_AS, OUR_AS), &more)
}

/// Sets the router's password.
fn set(router: &Router, over: usize, password: &str) -> Result<()> {
    match router {
        Router::Bird(bird) => bird.reconfigure(&bird_with(over, password)),
        Router::Frr(frr) => frr.configure(&[&format!("neighbor {} password {password}", US[over])]),
        Router::GoBgp(_) | Router::OpenBgpd(_) => bail!("its password is not set here"),
    }
}

fn start(kind: Kind, world: &World, over: usize, password: &str) -> Result<Router> {
    Ok(match kind {
        Kind::Bird => Router::Bird(Bird::start(world, &bird_with(over, password))?),
        _ => {
            let router = Router::start(kind, world, over, ROUTER_AS)?;
            set(&router, over, password)?;
            router
        }
    })
}

const CASES: [(Kind, usize); 4] =
    [(Kind::Bird, 0), (Kind::Bird, 1), (Kind::Frr, 0), (Kind::Frr, 1)];

#[test]
fn bird_and_frr_take_our_signatures_and_we_theirs() -> Result<()> {
    for (kind, over) in CASES {
        let world = World::new()?;
        let router = start(kind, &world, over, "s3cret")?;
        let mut us = world.speaker()?;
        us.originate(&["10.65.0.0/26"])?;
        us.set_peer("tor", signed(ROUTER[over], ROUTER_AS, "s3cret"))?;
        us.until("its routes", |us| Ok(us.routes.len() == 2))?;
        router.until_path("10.65.0.0/26")?;
        assert_eq!(us.peer("tor")?.protection, ["TCP MD5 signatures"]);

        // Both change; the router ends its session for that, we do not.
        us.set_peer("tor", signed(ROUTER[over], ROUTER_AS, "n3w"))?;
        set(&router, over, "n3w")?;
        us.until("a session under the new key", |us| {
            let tor = us.peer("tor")?;
            Ok(tor.established_count == 2 && tor.state == State::Established)
        })?;
        router.until_path("10.65.0.0/26")?;
        us.stop(false)?;
    }
    Ok(())
}

#[test]
fn a_wrong_or_missing_key_makes_no_session() -> Result<()> {
    for (kind, over) in CASES {
        let world = World::new()?;
        let _router = start(kind, &world, over, "s3cret")?;
        let mut us = world.speaker()?;
        let unsigned = peer(ROUTER[over], ROUTER_AS);
        for config in [signed(ROUTER[over], ROUTER_AS, "wrong"), unsigned] {
            us.set_peer("tor", config)?;
            us.until("an attempt that fails", |us| Ok(us.peer("tor")?.last_error.is_some()))?;
            assert_eq!(us.peer("tor")?.established_count, 0, "{kind:?} {over}");
        }
        us.set_peer("tor", signed(ROUTER[over], ROUTER_AS, "s3cret"))?;
        us.until_state("tor", State::Established)?;
        us.stop(false)?;
    }
    Ok(())
}

#[test]
fn without_its_key_a_peer_neither_connects_nor_accepts_and_says_why() -> Result<()> {
    let world = World::new()?;
    // BIRD signs nothing: an empty password would let it in.
    let router = Router::start(Kind::Bird, &world, 0, ROUTER_AS)?;
    let mut us = world.speaker()?;
    let problem = Some("cannot read the password".to_owned());
    let password = Some(Password { key: None, problem });
    us.set_peer("tor", PeerConfig { password, ..peer(ROUTER[0], ROUTER_AS) })?;
    us.until("its attempts to be refused", |us| {
        let tor = us.peer("tor")?;
        assert_eq!((tor.state, tor.established_count), (State::Idle, 0));
        assert_eq!(tor.idle_because.as_deref(), Some("cannot read the password"));
        // It connects, and the connection is closed before an OPEN of ours.
        let seen = router.describe();
        Ok(seen.contains("Last error:"))
    })?;
    us.stop(false)
}

/// The router's side as one of us.
fn other_side(world: &World) -> Result<Speaker> {
    let next_hops = ROUTER.iter().map(|a| a.parse::<std::net::IpAddr>().expect("address"));
    let other = Identity {
        router_id: ROUTER[0].parse()?,
        next_hops: next_hops.collect(),
        ..identity(ROUTER_AS)
    };
    World::speaker_in(&world.router, first_start(), other)
}

#[test]
fn a_key_is_changed_under_a_session_that_goes_on() -> Result<()> {
    for over in [0, 1] {
        let world = World::new()?;
        let (mut us, mut them) = (world.speaker()?, other_side(&world)?);
        us.set_peer("them", signed(ROUTER[over], ROUTER_AS, "first"))?;
        let from_us = |key| signed(US[over], OUR_AS, key);
        them.set_peer("us", from_us("first"))?;
        us.until_state("them", State::Established)?;
        them.until_state("us", State::Established)?;
        let changes =
            [("second", "10.65.0.0/26"), ("third", "fd65::/122"), ("4th", "10.66.0.0/26")];
        for (key, prefix) in changes {
            us.set_peer("them", signed(ROUTER[over], ROUTER_AS, key))?;
            us.originate(&[prefix])?;
            // What we send under the new key is not taken until the other side has it too.
            us.until("the UPDATE to be sent", |us| {
                let families = us.peer("them")?.families;
                Ok(families.iter().map(|f| f.advertised).sum::<usize>()
                    == us.status()?.speaker.originated.len())
            })?;
            them.set_peer("us", from_us(key))?;
            them.until("the route", |them| Ok(them.route(prefix).is_some()))?;
        }
        for (speaker, name) in [(&us, "them"), (&them, "us")] {
            let peer = speaker.peer(name)?;
            let counts = (peer.established_count, peer.flaps);
            assert_eq!(counts, (1, 0), "{name} over {over}: {:?}", speaker.states);
        }
        us.send(Command::RemovePeer("them".into()))?;
        them.until("the end", |them| Ok(them.peer("us")?.state != State::Established))?;
        us.stop(false)?;
        them.stop(false)?;
    }
    Ok(())
}
