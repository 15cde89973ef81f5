use std::process::Command;
use std::time::{Duration, Instant};

use brindle_model::NamespacedName;
use brindle_model::ruleset::{ProgramId, RulesetDelta};

use super::*;
use crate::driver::{Driver, DriverConfig};
use crate::netlink::LinkMonitor;
use crate::netns::Namespace;

fn run(command: &str) -> String {
    let words: Vec<_> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect("the command starts");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Our routes of both families, as iproute2 shows them.
fn ours() -> String {
    run("ip route show proto 98") + &run("ip -6 route show proto 98")
}

fn node() -> Namespace {
    let node = Namespace::create().unwrap();
    node.run(|| {
        for command in [
            "ip link add up0 type veth peer name up0peer",
            "ip link set up0 up",
            "ip link set up0peer up",
            "ip link set lo up",
            "ip addr add 192.0.2.1/24 dev up0",
            "ip addr add fd00:1::1/64 dev up0 nodad",
            "ip link add brdweb type veth peer name brdwebpeer",
        ] {
            run(command);
        }
    })
    .unwrap();
    node
}

fn endpoint(name: &str, container: &str, addresses: &[&str]) -> (EndpointId, Arc<Endpoint>) {
    let id = EndpointId {
        pod: NamespacedName::new("ns", name),
        container_id: container.into(),
        interface: "eth0".into(),
    };
    let endpoint = Endpoint {
        host_interface: format!("brd{name}").into(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ingress: ProgramId(1),
        egress: ProgramId(2),
    };
    (id, Arc::new(endpoint))
}

fn batch(
    generation: u64,
    endpoints: &[(EndpointId, Arc<Endpoint>)],
    removed: &[EndpointId],
    routing: &[Change],
) -> RouteInput {
    let ruleset = RulesetDelta {
        endpoints: endpoints.iter().cloned().collect(),
        endpoints_removed: removed.iter().cloned().collect(),
        ..RulesetDelta::default()
    };
    let routing = routing.to_vec();
    RouteInput::Batch(Arc::new(Batch { generation: Generation(generation), ruleset, routing }))
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn via(gateways: &[&str]) -> BTreeSet<NextHop> {
    let hop = |text: &&str| NextHop { gateway: text.parse().unwrap(), interface: None };
    gateways.iter().map(hop).collect()
}

fn apply(table: &mut RouteTable, inputs: &[RouteInput]) -> usize {
    for input in inputs {
        table.stage(input);
    }
    table.commit().unwrap().writes
}

fn start() -> RouteTable {
    let mut table = RouteTable::open().unwrap();
    table.resync().unwrap();
    table
}

fn originate() -> [Change; 2] {
    ["10.77.0.0/26", "fd77::/122"].map(|block| {
        let how = Origination { origin: Origin::Block, communities: Vec::new() };
        Change::Originate(net(block), how)
    })
}

#[test]
fn routes_follow_endpoints_blocks_and_the_fabric() {
    node()
        .run(|| {
            run("ip link set brdweb up");
            let web = endpoint("web", "a", &["10.77.0.5", "fd77::5"]);
            let mut table = start();
            let learned = [
                RouteInput::Learned(net("10.88.0.0/26"), via(&["192.0.2.2"])),
                RouteInput::Learned(net("fd88::/122"), via(&["fd00:1::2", "fd00:1::3"])),
                RouteInput::Learned(net("10.89.0.0/26"), via(&["192.0.2.2", "192.0.2.3"])),
                RouteInput::LearnedComplete,
            ];
            let first = batch(1, std::slice::from_ref(&web), &[], &originate());
            assert_eq!(apply(&mut table, &[first]), 4);
            assert_eq!(apply(&mut table, &learned), 3);
            let text = ours();
            for line in [
                "10.77.0.5 dev brdweb scope link metric 2098",
                "fd77::5 dev brdweb metric 2098",
                "blackhole 10.77.0.0/26 metric 2098",
                "blackhole fd77::/122 dev lo metric 2098",
                "10.88.0.0/26 via 192.0.2.2 dev up0 metric 2098",
            ] {
                assert!(text.contains(line), "{line} is missing in\n{text}");
            }
            assert_eq!(text.matches("nexthop via").count(), 4, "{text}");
            assert_eq!(table.resync().unwrap(), Drift { differing: 0 });
            assert_eq!(table.commit().unwrap().writes, 0);

            // Gateways change one for another, and from one to several.
            let change = RouteInput::Learned(net("10.88.0.0/26"), via(&["192.0.2.3", "192.0.2.4"]));
            let fewer = RouteInput::Learned(net("fd88::/122"), via(&["fd00:1::3"]));
            assert_eq!(apply(&mut table, &[change, fewer]), 2);
            assert_eq!(table.resync().unwrap(), Drift { differing: 0 });

            let gone = [
                batch(2, &[], &[web.0], &[Change::Withdraw(net("fd77::/122"))]),
                RouteInput::Learned(net("10.88.0.0/26"), BTreeSet::new()),
                RouteInput::Learned(net("fd88::/122"), BTreeSet::new()),
                RouteInput::Learned(net("10.89.0.0/26"), BTreeSet::new()),
            ];
            assert_eq!(apply(&mut table, &gone), 6);
            assert_eq!(ours().trim(), "blackhole 10.77.0.0/26 metric 2098");
            table.uninstall().unwrap();
            assert_eq!(ours(), "");
        })
        .unwrap();
}

#[test]
fn foreign_routes_stay() {
    node()
        .run(|| {
            for route in [
                "10.77.0.5/32 via 192.0.2.9",
                "10.90.0.0/16 via 192.0.2.9 proto bird metric 32",
                "10.91.0.0/16 via 192.0.2.9 proto static",
                "fd91::/48 via fd00:1::9",
                "10.88.0.0/26 via 192.0.2.9 proto dhcp metric 100",
            ] {
                run(&format!("ip route add {route}"));
            }
            let before = run("ip route show") + &run("ip -6 route show");
            run("ip link set brdweb up");
            let mut table = start();
            let web = endpoint("web", "a", &["10.77.0.5", "fd77::5"]);
            let learned = RouteInput::Learned(net("10.88.0.0/26"), via(&["192.0.2.2"]));
            apply(&mut table, &[batch(1, std::slice::from_ref(&web), &[], &originate()), learned]);
            assert_eq!(ours().lines().count(), 5);
            apply(&mut table, &[RouteInput::LearnedComplete, batch(2, &[], &[web.0], &[])]);
            table.uninstall().unwrap();
            run("ip link set brdweb down");
            assert_eq!(run("ip route show") + &run("ip -6 route show"), before);
        })
        .unwrap();
}

#[test]
fn a_restart_writes_nothing_and_sweeps_in_time() {
    node()
        .run(|| {
            run("ip link set brdweb up");
            let web = endpoint("web", "a", &["10.77.0.5", "fd77::5"]);
            let first = batch(1, std::slice::from_ref(&web), &[], &originate());
            let learned = [
                RouteInput::Learned(net("10.88.0.0/26"), via(&["192.0.2.2"])),
                RouteInput::Learned(net("fd88::/122"), via(&["fd00:1::2", "fd00:1::3"])),
                RouteInput::Learned(net("10.89.0.0/26"), via(&["192.0.2.2"])),
            ];
            let mut table = start();
            apply(&mut table, std::slice::from_ref(&first));
            apply(&mut table, &learned);
            drop(table);
            let before = ours();

            let mut table = start();
            assert_eq!(apply(&mut table, &[first]), 0, "learned routes are kept meanwhile");
            assert_eq!(apply(&mut table, &learned[..2]), 0);
            assert_eq!(ours(), before);
            assert!(table.status().keeping_learned);
            // What no neighbour told again goes when all have told everything.
            assert_eq!(apply(&mut table, &[RouteInput::LearnedComplete]), 1);
            assert!(!ours().contains("10.89.0.0/26"));
        })
        .unwrap();
}

#[test]
fn a_pod_waits_for_its_interface_and_moves_with_it() {
    node()
        .run(|| {
            let web = endpoint("web", "a", &["10.77.0.5", "fd77::5"]);
            let mut table = start();
            assert_eq!(apply(&mut table, &[batch(1, std::slice::from_ref(&web), &[], &[])]), 0);
            assert_eq!(table.status().deferred.len(), 2);
            run("ip link set brdweb up");
            assert_eq!(apply(&mut table, &[RouteInput::InterfaceUp("brdweb".into())]), 2);
            assert!(table.status().deferred.is_empty());

            // The pod is made anew on a new interface of the same name: another index.
            run("ip link del brdweb");
            run("ip link add brdweb type veth peer name brdwebpeer");
            run("ip link set brdweb up");
            let next = endpoint("web", "b", &["10.77.0.5", "fd77::5"]);
            assert_eq!(apply(&mut table, &[batch(2, std::slice::from_ref(&next), &[], &[])]), 2);
            assert_eq!(ours().lines().count(), 2);
            // The predecessor's late removal does not take the successor's routes (K39).
            assert_eq!(apply(&mut table, &[batch(3, &[], &[web.0], &[])]), 0);
            assert_eq!(ours().lines().count(), 2);
            run("ip link del brdweb");
            // The kernel has deleted the routes with the link; that is no failure.
            apply(&mut table, &[batch(4, &[], &[next.0], &[])]);
            assert_eq!(ours(), "");
        })
        .unwrap();
}

#[test]
fn a_refused_learned_route_hinders_nothing_and_comes_later() {
    let node = node();
    node.run(|| {
        let config =
            DriverConfig { backoff_min: Duration::from_millis(5), ..DriverConfig::default() };
        let (driver, sender) = Driver::spawn(RouteTable::open().unwrap(), config).unwrap();
        sender.send(RouteInput::Learned(net("10.88.0.0/26"), via(&["203.0.113.2"]))).unwrap();
        sender.send(batch(1, &[], &[], &originate())).unwrap();
        driver.applied().wait(Generation(1), Duration::from_secs(10)).unwrap();
        let status = sender.inspect(RouteTable::status).unwrap();
        assert_eq!(status.installed.len(), 2);
        assert!(status.refused[&net("10.88.0.0/26")].contains("unreachable"), "{status:?}");
        run("ip addr add 203.0.113.1/24 dev up0");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !sender.inspect(RouteTable::status).unwrap().refused.is_empty() {
            assert!(Instant::now() < deadline, "the route was not tried again");
        }
        assert!(ours().contains("10.88.0.0/26 via 203.0.113.2"));
        drop(sender);
        assert!(driver.join());
    })
    .unwrap();
}

#[test]
fn learned_routes_come_back_with_their_link() {
    node()
        .run(|| {
            let (driver, sender) =
                Driver::spawn(RouteTable::open().unwrap(), DriverConfig::default()).unwrap();
            let monitor = LinkMonitor::spawn({
                let sender = sender.clone();
                move || sender.resync().unwrap()
            });
            sender.send(RouteInput::Learned(net("10.88.0.0/26"), via(&["192.0.2.2"]))).unwrap();
            sender.send(batch(1, &[], &[], &[])).unwrap();
            driver.applied().wait(Generation(1), Duration::from_secs(10)).unwrap();
            assert!(ours().contains("10.88.0.0/26 via 192.0.2.2"));
            run("ip link set up0 down");
            assert_eq!(ours(), "", "the kernel drops them without a word");
            run("ip link set up0 up");
            let deadline = Instant::now() + Duration::from_secs(10);
            while !ours().contains("10.88.0.0/26 via 192.0.2.2") {
                assert!(Instant::now() < deadline, "the route did not come back");
            }
            drop((monitor, sender));
            assert!(driver.join());
        })
        .unwrap();
}

#[test]
fn deletion_behind_our_back_is_repaired() {
    node()
        .run(|| {
            let mut table = start();
            apply(&mut table, &[batch(1, &[], &[], &originate())]);
            run("ip route flush proto 98");
            run("ip route add blackhole 10.99.0.0/16 proto 98 metric 2098");
            assert_eq!(table.resync().unwrap(), Drift { differing: 2 });
            assert_eq!(table.commit().unwrap().writes, 2);
            assert_eq!(ours().lines().count(), 2);
        })
        .unwrap();
}

#[test]
fn twenty_thousand_routes() {
    node()
        .run(|| {
            let mut table = start();
            let prefix = |i: u32| -> IpNet {
                let text = if i < 10_000 {
                    format!("10.{}.{}.{}/26", 100 + (i >> 10), (i >> 2) & 255, (i & 3) << 6)
                } else {
                    format!("fd88:0:{i:x}::/122")
                };
                net(&text)
            };
            let gateway = |i: u32| via(&[if i < 10_000 { "192.0.2.2" } else { "fd00:1::2" }]);
            table.stage(&batch(1, &[], &[], &[]));
            for i in 0..20_000 {
                table.stage(&RouteInput::Learned(prefix(i), gateway(i)));
            }
            let start = Instant::now();
            let writes = table.commit().unwrap().writes;
            let took = start.elapsed();
            assert_eq!(writes, 20_000);
            let start = Instant::now();
            assert_eq!(table.resync().unwrap(), Drift { differing: 0 });
            println!("{writes} routes in {took:?}, read back in {:?}", start.elapsed());
            assert!(took < Duration::from_secs(5), "{took:?}");
        })
        .unwrap();
}
