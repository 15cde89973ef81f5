//! An agent that is killed in the middle of its work, again and again: what every policy denies stays
//! denied, what every policy admits loses nothing, and the next agent ends where one that was never
//! killed would be.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use brindle_integration_tests::single_node::{ONE_PORT, SingleNode};
use brindle_integration_tests::worlds::random::Random;
use brindle_lab::conversation::{Call, Conversation};
use brindle_lab::openings::Openings;
use brindle_lab::ports;

/// The policy of a round. All of them admit the client to port 5432 and nobody to port 80; rules,
/// sets and their members come and go between them.
fn policy(round: usize, random: &mut Random) -> String {
    let mut rules = String::from(
        "{from: [{podSelector: {matchLabels: {role: client}}}], \
         ports: [{port: 5432}, {port: 5432, protocol: UDP}]}",
    );
    for at in 0..random.below(12) {
        let net = format!("10.{}.{}.0/24", 100 + at, random.below(250));
        let port = 6000 + random.below(40);
        rules += &format!(
            ", {{from: [{{ipBlock: {{cidr: {net}}}}}, {{podSelector: {{matchLabels: {{role: r{at}}}}}}}], \
             ports: [{{port: {port}, endPort: {}}}]}}",
            port + round % 7
        );
    }
    format!("ingress: [{rules}]")
}

/// `longest` is the longest time from a write to a kill at first. Kills that came too early make it
/// longer, others shorter, so that on any machine some come before the end of an apply and some
/// after it.
fn survives(name: &str, dataplane: &str, rounds: usize, mut longest: Duration) -> Result<()> {
    let mut node = SingleNode::build(name, dataplane)?;
    let whole = node.kernel()?;
    let server = |node: &SingleNode, v6, port| -> Result<SocketAddr> {
        Ok(SocketAddr::new(node.server.address(v6)?, port))
    };
    let mut flows = Vec::new();
    let mut closed = Vec::new();
    for v6 in [false, true] {
        let (from, to) = (&node.client.netns, &node.server.netns);
        let target = server(&node, v6, 5432)?;
        for tcp in [false, true] {
            let source = SocketAddr::new(node.client.address(v6)?, ports::fresh());
            let call = Call { from, source, to, server: target, target };
            let flow = if tcp { Conversation::tcp(&call) } else { Conversation::udp(&call) };
            flows.push((format!("tcp={tcp} v6={v6}"), flow?));
        }
        closed.push(Openings::watch(from, to, server(&node, v6, 80)?)?);
    }
    let mut random = Random::new(7);
    let mut unapplied = 0;
    for round in 0..rounds {
        node.write_policy(&policy(round, &mut random))?;
        // Not a wait for something: the moment of death is what is tried.
        let delay = longest.mul_f64(random.below(1000) as f64 / 1000.0);
        std::thread::sleep(delay);
        node.restart(Signal::SIGKILL).with_context(|| format!("round {round}"))?;
        node.agent()?.barrier()?;
        let early = node.counted("writes")? > 0;
        unapplied += usize::from(early);
        longest = longest.mul_f64(if early { 1.25 } else { 0.8 });
        for closed in &closed {
            ensure!(closed.take().is_empty(), "{dataplane}: open after a kill in round {round}");
        }
    }
    println!(
        "{dataplane}: {rounds} kills, after {unapplied} of which there was something left to do"
    );
    ensure!(unapplied * 10 >= rounds, "hardly any kill came before the end of an apply");
    ensure!(unapplied < rounds, "every kill came before the beginning of an apply");
    for closed in closed {
        closed.end()?;
    }
    for (what, flow) in flows {
        for way in &flow.ways {
            way.wait().with_context(|| what.clone())?;
        }
        ensure!(flow.end()? == [0, 0], "{dataplane}: the admitted flow {what} lost packets");
    }
    // Back to where it began, nothing else is there.
    node.write_policy(ONE_PORT)?;
    node.agent()?.barrier()?;
    let now = node.kernel()?;
    ensure!(now == whole, "{dataplane}: left over:\n{now}\ninstead of\n{whole}");
    node.restart(Signal::SIGTERM)?;
    ensure!(node.counted("writes")? == 0, "the last agent left something to do");
    node.end()
}

#[test]
fn kills_are_not_noticed_with_nftables() -> Result<()> {
    survives("brd-kill-a", "nftables", 40, Duration::from_millis(3))
}

#[test]
fn kills_are_not_noticed_with_iptables_nft() -> Result<()> {
    survives("brd-kill-b", "iptables-nft", 20, Duration::from_millis(40))
}

#[test]
fn kills_are_not_noticed_with_iptables_legacy() -> Result<()> {
    survives("brd-kill-c", "iptables-legacy", 20, Duration::from_millis(15))
}
