//! Our speaker in a process of its own, so that its time and memory are not the generator's. It says
//! `listening`, then `full` and `empty` as its plan asks.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use brindle_bgp_proto::family::FamilySet;
use brindle_bgp_proto::policy::PeerPolicy;
use brindle_bgp_speaker::{Command, Config, Event, Identity, NextHops, PeerConfig};
use brindle_dataplane_core::netlink::NextHop;
use brindle_dataplane_core::{Driver, DriverConfig, RouteInput, RouteTable};
use brindle_model::ruleset::Batch;

use super::address;
use super::subject::{OUR_AS, Plan, SINK_AS, sender_as};

/// The argument that asks for it; a plan follows.
pub const ARGUMENT: &str = "bgp-speaker";

/// Runs until it is killed.
///
/// # Errors
/// The speaker or the route table cannot be started.
pub fn run(plan: &str) -> Result<()> {
    let plan: Plan = serde_json::from_str(plan).context("the plan")?;
    let config =
        Config { restarting: false, forwarding_preserved: FamilySet::NONE, jitter_seed: 1 };
    let mut handle = brindle_bgp_speaker::spawn(config)?;
    let routes = match plan.kernel {
        true => Some(Driver::spawn(RouteTable::open()?, DriverConfig::default())?),
        false => None,
    };
    if let Some((_, routes)) = &routes {
        // A driver writes nothing before it has a first batch. This node has no pods.
        routes.send(RouteInput::Batch(Arc::new(Batch::default())))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let commands = handle.commands.clone();
        commands.send(Command::SetIdentity(Some(identity()))).await?;
        for number in 0..plan.senders + usize::from(plan.sink) {
            let is_sink = number == plan.senders;
            let asn = match is_sink {
                true => SINK_AS,
                false if plan.reflector => OUR_AS,
                false => sender_as(number),
            };
            let peer = PeerConfig {
                passive: true,
                policy: PeerPolicy {
                    transit: is_sink,
                    reflector_client: plan.reflector,
                    ..PeerPolicy::default()
                },
                ..PeerConfig::new(address(number).into(), asn)
            };
            commands.send(Command::SetPeer(format!("{number:04}").into(), peer)).await?;
        }
        commands.send(Command::InSync).await?;
        while commands.status().await?.listening.is_empty() {
            tokio::task::yield_now().await;
        }
        println!("listening");
        let mut complete = 0;
        while let Some(event) = handle.events.recv().await {
            let input = match event {
                Event::Best { prefix, next_hops } => {
                    if next_hops.len() == plan.senders {
                        complete += 1;
                        if complete == plan.expect {
                            println!("full");
                        }
                    }
                    let hop = |gateway: IpAddr| NextHop { gateway, interface: None };
                    RouteInput::Learned(prefix, next_hops.into_iter().map(hop).collect())
                }
                Event::Gone { prefix } => {
                    complete -= 1;
                    if complete == 0 {
                        println!("empty");
                    }
                    RouteInput::Learned(prefix, Default::default())
                }
                Event::Converged => RouteInput::LearnedComplete,
                Event::Peer { .. } => continue,
            };
            if let Some((_, routes)) = &routes {
                routes.send(input)?;
            }
        }
        anyhow::Ok(())
    })
}

fn identity() -> Identity {
    Identity {
        as_number: OUR_AS,
        router_id: [10, 99, 0, 1].into(),
        listen_port: 179,
        hold_time: 90,
        restart_time: 120,
        long_lived_stale_time: 0,
        next_hops: [IpAddr::from([10, 99, 0, 1])].into_iter().collect::<NextHops>(),
        notification_restart: false,
        cluster_id: None,
        drain: None,
    }
}
