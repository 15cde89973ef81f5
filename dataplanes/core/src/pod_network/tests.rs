use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::*;
use crate::netns::Namespace;

/// Runs a command in the calling thread's network namespace.
fn run(command: &str) -> String {
    let words: Vec<_> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect("the command starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

fn json(command: &str) -> Value {
    serde_json::from_str(&run(command)).expect("ip -j prints JSON")
}

const ADDRESSES: [&str; 2] = ["10.77.0.5", "fd77::5"];

fn addresses() -> Vec<IpAddr> {
    ADDRESSES.iter().map(|text| text.parse().unwrap()).collect()
}

fn attachment<'a>(pod: &'a Namespace, addresses: &'a [IpAddr]) -> Attachment<'a> {
    Attachment {
        netns: pod.as_fd(),
        interface: "eth0",
        host_interface: "brdtest0",
        addresses,
        mtu: 1430,
    }
}

/// The routes that the route table would make.
fn route_to_pod() {
    for addr in ADDRESSES {
        run(&format!("ip route replace {addr} dev brdtest0"));
    }
}

#[test]
fn a_pod_is_complete_reachable_and_removed() {
    let (node, pod) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    let addresses = addresses();
    node.run(|| {
        run("ip link set lo up");
        run("ip addr add 192.0.2.1/32 dev lo");
        run("ip addr add fd00:2::1/128 dev lo nodad");
        sysctl::enable_forwarding().unwrap();
        let made = PodNetwork.attach(&attachment(&pod, &addresses)).unwrap();
        assert_eq!(made.routes.len(), 4);
        assert_eq!(made.pod_mac.to_string(), "02:62:0a:4d:00:05");

        let host = json("ip -j link show brdtest0");
        assert_eq!(host[0]["mtu"], 1430);
        assert_eq!(host[0]["address"], HOST_MAC.to_string().as_str());
        assert!(!run("ip link show brdtest0").contains(",UP"), "down until it is enabled");

        PodNetwork.enable("brdtest0", &addresses).unwrap();
        route_to_pod();
        PodNetwork.check(&attachment(&pod, &addresses)).unwrap();
        // The very first packet of each family arrives: nothing is resolved, nothing detected.
        for addr in ADDRESSES {
            run(&format!("ping -c 1 -W 1 {addr}"));
        }
    })
    .unwrap();
    pod.run(|| {
        for addr in ["192.0.2.1", "fd00:2::1"] {
            run(&format!("ping -c 1 -W 1 {addr}"));
        }
        let routes = json("ip -j route show");
        assert_eq!(routes[0]["gateway"], "169.254.1.1");
        let routes = run("ip -6 route show default");
        assert!(routes.contains("via fe80::1 dev eth0"), "{routes}");
    })
    .unwrap();
    node.run(|| {
        let neighbours = run("ip neigh show dev brdtest0 nud permanent");
        assert_eq!(neighbours.lines().count(), 2, "{neighbours}");
        assert_eq!(PodNetwork.host_interfaces().unwrap(), BTreeSet::from(["brdtest0".into()]));
        PodNetwork.detach("brdtest0").unwrap();
        PodNetwork.detach("brdtest0").unwrap();
        assert!(PodNetwork.host_interfaces().unwrap().is_empty());
    })
    .unwrap();
}

#[test]
fn a_left_over_is_replaced() {
    let (node, old, pod) =
        (Namespace::create().unwrap(), Namespace::create().unwrap(), Namespace::create().unwrap());
    let addresses = addresses();
    node.run(|| {
        PodNetwork.attach(&attachment(&old, &addresses)).unwrap();
        PodNetwork.attach(&attachment(&pod, &addresses)).unwrap();
        assert_eq!(PodNetwork.host_interfaces().unwrap().len(), 1);
    })
    .unwrap();
    old.run(|| assert!(!run("ip -br link show").contains("eth0"))).unwrap();
}

#[test]
fn a_failed_step_leaves_nothing() {
    let (node, pod) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    // A multicast address cannot be held: the kernel refuses it after the pair was made.
    let addresses: Vec<IpAddr> = vec!["10.77.0.5".parse().unwrap(), "ff02::5".parse().unwrap()];
    node.run(|| {
        let error = PodNetwork.attach(&attachment(&pod, &addresses)).unwrap_err();
        assert!(matches!(error, PodNetworkError::Pod(..)), "{error:?}");
        assert!(PodNetwork.host_interfaces().unwrap().is_empty());
    })
    .unwrap();
    pod.run(|| {
        run("ip link add eth0 type veth peer name other");
        run("ip link set lo up");
    })
    .unwrap();
    let addresses = self::addresses();
    node.run(|| {
        let error = PodNetwork.attach(&attachment(&pod, &addresses)).unwrap_err();
        assert!(matches!(&error, PodNetworkError::Host(_, e) if e.errno() == Some(Errno::EEXIST)));
        assert!(PodNetwork.host_interfaces().unwrap().is_empty());
    })
    .unwrap();
    pod.run(|| assert!(run("ip -br link show eth0").contains("eth0"), "not ours: untouched"))
        .unwrap();
}

#[test]
fn a_check_names_what_is_missing() {
    let (node, pod) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    let addresses = addresses();
    let check = || PodNetwork.check(&attachment(&pod, &addresses)).unwrap_err().to_string();
    node.run(|| {
        assert!(check().contains("brdtest0"));
        PodNetwork.attach(&attachment(&pod, &addresses)).unwrap();
        assert!(check().contains("up"));
        PodNetwork.enable("brdtest0", &addresses).unwrap();
        assert!(check().contains("route to the pod's address 10.77.0.5"));
        route_to_pod();
        PodNetwork.check(&attachment(&pod, &addresses)).unwrap();
        run("ip link set brdtest0 group 0");
        assert!(check().contains("group"));
        PodNetwork.mark("brdtest0").unwrap();
        PodNetwork.check(&attachment(&pod, &addresses)).unwrap();
        PodNetwork.mark("brdabsent").unwrap();
        pod.run(|| run("ip -6 route del default")).unwrap();
        assert!(check().contains("::/0"));
        pod.run(|| run("ip addr del 10.77.0.5/32 dev eth0")).unwrap();
        assert!(check().contains("10.77.0.5"));
    })
    .unwrap();
}

#[test]
fn a_name_that_is_not_ours_is_refused() {
    let (node, pod) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    let addresses = addresses();
    for name in ["eth7", "brd0123456789abcdef"] {
        let request = Attachment { host_interface: name, ..attachment(&pod, &addresses) };
        let error = node.run(|| PodNetwork.attach(&request)).unwrap().unwrap_err();
        assert!(matches!(error, PodNetworkError::HostInterfaceName(_)));
    }
}

#[test]
fn ipv6_works_where_the_runtime_switched_it_off() {
    let (node, pod) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    pod.run(|| {
        sysctl::set("ipv6/conf/all/disable_ipv6", "1").unwrap();
        sysctl::set("ipv6/conf/default/disable_ipv6", "1").unwrap();
    })
    .unwrap();
    let addresses = addresses();
    node.run(|| {
        PodNetwork.attach(&attachment(&pod, &addresses)).unwrap();
        PodNetwork.enable("brdtest0", &addresses).unwrap();
        route_to_pod();
        run("ping -c 1 -W 1 fd77::5");
    })
    .unwrap();
}

#[test]
fn the_uplink_is_found_by_address_and_by_route() {
    use crate::uplink::{Uplink, UplinkError};
    let node = Namespace::create().unwrap();
    node.run(|| {
        assert!(matches!(Uplink::detect(Family::V4), Err(UplinkError::None("IPv4"))));
        for command in [
            "ip link add up0 mtu 1400 type veth peer name up0peer",
            "ip link add up1 mtu 9000 type veth peer name up1peer",
            "ip link set up0 up",
            "ip link set up0peer up",
            "ip link set up1 up",
            "ip link set up1peer up",
            "ip addr add 192.0.2.1/24 dev up0",
            "ip addr add 198.51.100.1/24 dev up1",
            "ip addr add fd00:1::1/64 dev up1 nodad",
        ] {
            run(command);
        }
        // Without a default route the first interface counts, with one its interface.
        assert_eq!(Uplink::detect(Family::V4).unwrap().mtu, 1400);
        assert_eq!(Uplink::detect(Family::V6).unwrap().interface, "up1");
        run("ip route add default via 198.51.100.254");
        let uplink = Uplink::detect(Family::V4).unwrap();
        assert_eq!((uplink.interface.as_str(), uplink.mtu), ("up1", 9000));
        assert_eq!(uplink.address, "198.51.100.1".parse::<IpAddr>().unwrap());
        let held = Uplink::holding("192.0.2.1".parse().unwrap()).unwrap();
        assert_eq!((held.interface.as_str(), held.mtu), ("up0", 1400));
        let missing = Uplink::holding("192.0.2.9".parse().unwrap());
        assert!(matches!(missing, Err(UplinkError::NotHeld(_))));
    })
    .unwrap();
}

#[test]
fn thirty_pods_at_once() {
    let node = Namespace::create().unwrap();
    let pods: Vec<_> = (0..30).map(|_| Namespace::create().unwrap()).collect();
    node.run(|| {
        run("ip addr add 192.0.2.1/32 dev lo");
        sysctl::enable_forwarding().unwrap();
    })
    .unwrap();
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for (i, pod) in pods.iter().enumerate() {
            let node = &node;
            scope.spawn(move || {
                let addresses =
                    [IpAddr::from([10, 77, 1, i as u8]), format!("fd77::1:{i:x}").parse().unwrap()];
                let host_interface = format!("brdpod{i}");
                let request =
                    Attachment { host_interface: &host_interface, ..attachment(pod, &addresses) };
                node.run(|| PodNetwork.attach(&request).map(drop)).unwrap().unwrap();
                node.run(|| PodNetwork.enable(&host_interface, &addresses)).unwrap().unwrap();
            });
        }
    });
    println!("30 pods attached at once in {:?}", start.elapsed());
    let names = node.run(|| PodNetwork.host_interfaces()).unwrap().unwrap();
    assert_eq!(names.len(), 30);
    let quiet = Stdio::null;
    for i in 0..30 {
        node.run(|| {
            run(&format!("ip route add 10.77.1.{i} dev brdpod{i}"));
            let ping = ["-c", "1", "-W", "1", &format!("10.77.1.{i}")].map(str::to_owned);
            let status = Command::new("ping").args(ping).stdout(quiet()).status().unwrap();
            assert!(status.success());
        })
        .unwrap();
    }
}
