//! One request at a time, without the socket.

use std::collections::BTreeMap;

use brindle_model::cluster::link_group;

use super::*;

#[test]
fn a_pod_is_attached_checked_restored_and_removed() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let pod = Namespace::create().unwrap();
    let added = rig.add(&server, 1, &pod).unwrap();
    let addresses: Vec<String> = added.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.77.0.0", "fd77::"]);
    assert_eq!((added.mtu, added.routes.len()), (1400, 4));
    assert!(rig.is_up(&added.host_interface));
    let blocks = gate.submitted().into_iter().filter(|u| matches!(u, Update::Block(_, Some(()))));
    assert_eq!(blocks.count(), 2, "both blocks are announced");
    rig.node
        .run(|| addresses.iter().for_each(|a| drop(run(&format!("ping -c1 -W1 {a}")))))
        .unwrap();

    let check = |addresses: &[IpAddr]| {
        Request::Check(CheckRequest { target: target(1), addresses: addresses.to_vec() })
    };
    done(rig.serve(&server, check(&added.addresses), Some(&pod))).unwrap();
    let error = done(rig.serve(&server, check(&[]), Some(&pod))).unwrap_err();
    assert_eq!(error.code, ErrorCode::CheckFailed);

    drop(server);
    let (server, gate, restored) = rig.start();
    assert_eq!(restored, Restored { live: 1, ..Restored::default() });
    rig.assert_consistent(&server, &gate);
    let blocks = gate.submitted().into_iter().filter(|u| matches!(u, Update::Block(_, Some(()))));
    assert_eq!(blocks.count(), 2);
    assert!(rig.is_up(&added.host_interface), "a restart changes nothing");
    done(rig.serve(&server, check(&added.addresses), Some(&pod))).unwrap();

    rig.del(&server, 1).unwrap();
    rig.assert_nothing_left(&server, &gate);
    rig.del(&server, 1).unwrap();
    rig.del(&server, 39).unwrap();
}

#[test]
fn the_link_stays_down_until_policy_is_enforced() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let pod = Namespace::create().unwrap();
    gate.set(|inner| inner.open = false);
    std::thread::scope(|scope| {
        let add = scope.spawn(|| rig.add(&server, 1, &pod));
        let deadline = Instant::now() + SOON;
        while rig.links().is_empty() {
            assert!(Instant::now() < deadline, "no link was made");
            std::thread::yield_now();
        }
        let link = rig.links().pop_first().unwrap();
        assert!(!rig.is_up(&link));
        assert_eq!(gate.endpoints().len(), 1, "the endpoint is on its way already");
        assert!(!add.is_finished());
        gate.set(|inner| inner.open = true);
        let added = add.join().unwrap().unwrap();
        assert_eq!(*added.host_interface, *link);
        assert!(rig.is_up(&link));
    });
}

#[test]
fn what_is_not_enforced_in_time_is_undone() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let pod = Namespace::create().unwrap();
    gate.set(|inner| inner.open = false);
    let outcome = rig.serve_patiently(&server, add_request(1), Some(&pod), 300);
    assert_eq!(done(outcome).unwrap_err().code, ErrorCode::TryAgainLater);
    rig.assert_nothing_left(&server, &gate);
    gate.set(|inner| inner.open = true);
    rig.add(&server, 1, &pod).unwrap();
    rig.assert_consistent(&server, &gate);
}

#[test]
fn a_pod_must_be_known_first() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let pod = Namespace::create().unwrap();
    server.observe(&[pod_update("p40", Some("n2"))]);
    let outcome = rig.serve_patiently(&server, add_request(40), Some(&pod), 1100);
    let error = done(outcome).unwrap_err();
    assert_eq!(error.code, ErrorCode::TryAgainLater);
    assert!(error.message.starts_with("pod shop/p40 is not known on node n1"), "{error}");
    rig.assert_nothing_left(&server, &gate);
    std::thread::scope(|scope| {
        let add = scope.spawn(|| rig.add(&server, 40, &pod));
        server.observe(&[pod_update("p40", Some("n1"))]);
        add.join().unwrap().unwrap();
    });
}

#[test]
fn nothing_is_served_before_in_sync_but_del() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let pod = Namespace::create().unwrap();
    rig.add(&server, 1, &pod).unwrap();
    gate.set(|inner| inner.in_sync = false);
    assert_eq!(rig.add(&server, 2, &pod).unwrap_err().code, ErrorCode::TryAgainLater);
    let status = || done(rig.serve(&server, Request::Status, None));
    assert_eq!(status().unwrap_err().code, ErrorCode::NotAvailable);
    rig.del(&server, 1).unwrap();
    gate.set(|inner| inner.in_sync = true);
    status().unwrap();
}

#[test]
fn without_a_pool_status_and_add_say_so() {
    let rig = Rig::with_pools(Vec::new());
    let (server, gate, _) = rig.start();
    let status = done(rig.serve(&server, Request::Status, None)).unwrap_err();
    assert_eq!(status.code, ErrorCode::NotAvailable);
    assert!(status.details.contains("there is no IPPool"), "{status}");
    let error = rig.add(&server, 1, &Namespace::create().unwrap()).unwrap_err();
    assert_eq!(error.code, ErrorCode::Address);
    rig.assert_nothing_left(&server, &gate);
}

#[test]
fn an_exhausted_pool_is_named_and_nothing_leaks() {
    let rig = Rig::with_pools(vec![("v4", "10.77.0.0/31", 31), ("v6", "fd77::/120", 122)]);
    let (server, gate, _) = rig.start();
    let pods: Vec<_> = (0..3).map(|_| Namespace::create().unwrap()).collect();
    rig.add(&server, 0, &pods[0]).unwrap();
    rig.add(&server, 1, &pods[1]).unwrap();
    let error = rig.add(&server, 2, &pods[2]).unwrap_err();
    assert_eq!(error.code, ErrorCode::Address);
    assert!(error.details.contains("pool v4 (10.77.0.0/31"), "{error}");
    rig.assert_consistent(&server, &gate);
    assert_eq!(server.attachments().len(), 2);
    rig.del(&server, 0).unwrap();
    rig.add(&server, 2, &pods[2]).unwrap();
}

#[test]
fn a_pod_that_vanished_is_removed_all_the_same() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let pod = Namespace::create().unwrap();
    rig.add(&server, 1, &pod).unwrap();
    drop(pod);
    // The kernel takes the pair away with the namespace, in its own time.
    let deadline = Instant::now() + SOON;
    while !rig.links().is_empty() {
        assert!(Instant::now() < deadline, "the link outlives its namespace");
        std::thread::yield_now();
    }
    server.observe(&[Update::Pod(NamespacedName::new("shop", "p1"), None)]);
    rig.del(&server, 1).unwrap();
    rig.assert_nothing_left(&server, &gate);
}

#[test]
fn check_names_what_somebody_broke() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let pod = Namespace::create().unwrap();
    let added = rig.add(&server, 1, &pod).unwrap();
    let check = || {
        let addresses = added.addresses.clone();
        let request = Request::Check(CheckRequest { target: target(1), addresses });
        done(rig.serve_patiently(&server, request, Some(&pod), 300))
    };
    check().unwrap();
    gate.set(|inner| inner.open = false);
    assert_eq!(check().unwrap_err().code, ErrorCode::CheckFailed);
    gate.set(|inner| inner.open = true);
    pod.run(|| run("ip addr del 10.77.0.0/32 dev eth0")).unwrap();
    let error = check().unwrap_err();
    assert_eq!(error.code, ErrorCode::CheckFailed);
    assert!(error.details.contains("10.77.0.0"), "{error}");
    let unknown = Request::Check(CheckRequest { target: target(2), addresses: Vec::new() });
    let error = done(rig.serve(&server, unknown, Some(&pod))).unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownContainer);
}

#[test]
fn gc_removes_what_is_not_valid_of_its_network_only() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let pods: Vec<_> = (0..3).map(|_| Namespace::create().unwrap()).collect();
    for (n, pod) in pods.iter().enumerate() {
        rig.add(&server, n, pod).unwrap();
    }
    let gc = |network: &str| {
        let request = GcRequest { network: network.into(), valid: vec![target(1)] };
        done(rig.serve(&server, Request::Gc(request), None)).unwrap();
        server.attachments().len()
    };
    assert_eq!(gc("another"), 3);
    assert_eq!(gc("pods"), 1);
    rig.assert_consistent(&server, &gate);
    assert_eq!(&*server.attachments()[0].endpoint.container_id, "c1");
}

#[test]
fn the_nodes_own_namespace_is_refused() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let error = rig.add(&server, 1, &rig.node).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidEnvironment);
    rig.assert_nothing_left(&server, &gate);
}

#[test]
fn a_repeated_add_keeps_the_addresses_and_another_pod_takes_over() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let pod = Namespace::create().unwrap();
    let first = rig.add(&server, 1, &pod).unwrap();
    let again = rig.add(&server, 1, &pod).unwrap();
    assert_eq!(first.addresses, again.addresses);
    let Request::Add(request) = add_request(2) else { unreachable!() };
    let request = Request::Add(AddRequest { target: target(1), ..request });
    let other = Namespace::create().unwrap();
    assert!(matches!(rig.serve(&server, request, Some(&other)), Outcome::Added(_)));
    let records = server.attachments();
    assert_eq!((records.len(), &*records[0].endpoint.pod.name), (1, "p2"));
    rig.assert_consistent(&server, &gate);
}

#[test]
fn host_interface_names_fit_the_kernel_and_follow_from_the_handle() {
    let name = |id: &str, interface: &str| {
        host_interface(&Handle { container_id: id.into(), interface: interface.into() })
    };
    let names = [name("a", "eth0"), name("b", "eth0"), name("a", "eth1"), name("ae", "th0")];
    assert!(names.iter().all(|n| n.len() == 15 && n.starts_with(HOST_INTERFACE_PREFIX)));
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(name("a", "eth0"), names[0]);
}

/// The dataplane would close both pods, so the second is refused, and the runtime makes another.
#[test]
fn a_second_interface_of_one_group_is_refused() {
    let group = |n: usize| {
        let ContainerInterface { container_id, interface } = target(n);
        let handle = Handle { container_id: container_id.into(), interface: interface.into() };
        link_group(&host_interface(&handle))
    };
    let mut seen = BTreeMap::new();
    let [first, second] = (0..)
        .find_map(|n| seen.insert(group(n), n).map(|earlier| [earlier, n]))
        .expect("there are only so many groups");
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let pods = [Namespace::create().unwrap(), Namespace::create().unwrap()];
    server.observe(&[first, second].map(|n| pod_update(&format!("p{n}"), Some("n1"))));
    rig.add(&server, first, &pods[0]).unwrap();
    let error = rig.add(&server, second, &pods[1]).unwrap_err();
    assert!(error.message.contains("group"), "{error:?}");
    rig.assert_consistent(&server, &gate);
    rig.del(&server, first).unwrap();
    rig.add(&server, second, &pods[1]).unwrap();
}

/// A pod's link that an earlier agent made, or that somebody changed, is known again at start.
#[test]
fn a_restart_repairs_the_group_of_a_link() {
    let rig = Rig::new();
    let (server, _, _) = rig.start();
    let pod = Namespace::create().unwrap();
    let added = rig.add(&server, 1, &pod).unwrap();
    drop(server);
    rig.node.run(|| run(&format!("ip link set {} group 0", added.host_interface))).unwrap();
    let (server, gate, _) = rig.start();
    let addresses = added.addresses.clone();
    let check = Request::Check(CheckRequest { target: target(1), addresses });
    done(rig.serve(&server, check, Some(&pod))).unwrap();
    rig.assert_consistent(&server, &gate);
}
