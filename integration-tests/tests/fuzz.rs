//! Every decoder that reads what somebody else wrote, on mutants of what is well-formed: YAML,
//! what a container runtime sends, what plugin and agent say to each other, what the kernel
//! answers. BGP messages are fuzzed beside their codec, where the seeds are.

use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use brindle_dataplane_core::conntrack;
use brindle_dataplane_core::netlink::count_messages;
use brindle_dataplane_nftables::{Snapshot, decode, lower};
use brindle_integration_tests::fuzz::fuzz;
use brindle_integration_tests::worlds::compiled::Compiled;
use brindle_integration_tests::worlds::random::Random;
use brindle_integration_tests::worlds::{self, yaml};
use brindle_lab::netns::Netns;
use brindle_model::selector::{MAX_LENGTH, Selector};

#[test]
fn yaml_objects() -> Result<()> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut seeds = Vec::new();
    for case in fs::read_dir(cases)? {
        seeds.push(fs::read(case?.path().join("objects.yaml"))?);
    }
    seeds.push(yaml::write(&worlds::generate(1))?.into_bytes());
    // Long texts leave little time for many: a few documents are enough to go wrong in.
    seeds.iter_mut().for_each(|seed| seed.truncate(2048));
    fuzz("YAML objects", &seeds, as_is, |bytes| drop(brindle_sources::decode_stream(bytes)));
    Ok(())
}

#[test]
fn selectors() {
    let seeds = [
        "role == 'db' && !(has(env) || tier in {'a', \"b\",}) && x not in {}",
        "a contains 's' || b starts with \"\" || !!c endswith 'x' && all()",
        "((((has(in)) && not notin {'not'}) || starts startswith 'with'))",
        "global()",
    ];
    fuzz("selectors", &seeds.map(|s| s.as_bytes().to_vec()), as_is, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match Selector::parse(&text) {
            Ok(selector) => {
                let canonical = selector.to_string();
                if canonical.chars().count() <= MAX_LENGTH {
                    assert_eq!(Selector::parse(&canonical), Ok(selector), "of {text:?}");
                }
            }
            Err(error) => assert!(text.get(error.span.clone()).is_some(), "{error:?}"),
        }
    });
}

#[test]
fn cni_standard_input() {
    let seeds = [
        r#"{"cniVersion":"1.1.0","name":"brindle","type":"brindle-cni","socket":"/run/x.sock"}"#,
        r#"{"cniVersion":"0.3.1","name":"b","type":"brindle-cni","mtu":1400,
            "runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":80}]},
            "prevResult":{"cniVersion":"0.3.1","interfaces":[{"name":"eth0","sandbox":"/x"}],
            "ips":[{"version":"4","address":"10.65.0.1/32","interface":0}],"dns":{}}}"#,
        r#"{"cniVersion":"1.1.0","name":"b","type":"t","cni.dev/valid-attachments":
            [{"containerID":"a","ifname":"eth0"},{"containerID":"b","ifname":"eth1"}]}"#,
        r#"{"cniVersion":"1.0.0"}"#,
    ];
    fuzz("CNI standard input", &seeds.map(|s| s.as_bytes().to_vec()), as_is, |bytes| {
        let _ = brindle_cni::config::decode_version(bytes);
        let _ = brindle_cni::config::decode_config(bytes);
    });
}

#[test]
fn plugin_and_agent() {
    let seeds = [
        r#"{"version":1,"patience_ms":4000,"request":{"add":{"containerID":"a","ifname":"eth0",
            "namespace":"shop","pod":"web","netns":"/run/netns/x","mtu":1500}}}"#,
        r#"{"version":1,"patience_ms":4000,"request":{"gc":{"valid":
            [{"containerID":"a","ifname":"eth0"}]}}}"#,
        r#"{"version":1,"patience_ms":1,"request":"status"}"#,
        r#"{"version":1,"reply":{"error":{"code":11,"msg":"try again","details":"later"}}}"#,
    ];
    fuzz("plugin and agent", &seeds.map(|s| s.as_bytes().to_vec()), as_is, |bytes| {
        let _ = brindle_cni::protocol::decode_request(bytes);
        let _ = brindle_cni::protocol::decode_reply(bytes);
    });
}

#[test]
fn nftables_replies() -> Result<()> {
    let netns = Netns::create("brd-fuzz-nft")?;
    let world = worlds::generate(3);
    let compiled = Compiled::of(&yaml::write(&world)?, &world)?;
    let program = lower(compiled.nodes()[0].ruleset()).to_string();
    let mut load = netns.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    load.stdin.take().context("no standard input")?.write_all(program.as_bytes())?;
    ensure!(load.wait()?.success(), "nft -f refused:\n{program}");

    let get = |command: i32| (libc::NFNL_SUBSYS_NFTABLES << 8) as u16 | command as u16;
    let family = libc::NFPROTO_INET as u8;
    let mut seeds = Vec::new();
    let all = [
        libc::NFT_MSG_GETTABLE,
        libc::NFT_MSG_GETCHAIN,
        libc::NFT_MSG_GETRULE,
        libc::NFT_MSG_GETSET,
    ];
    for command in all {
        seeds.extend(dump(
            &netns,
            SockProtocol::NetlinkNetFilter,
            get(command),
            &[family, 0, 0, 0],
        )?);
    }
    let listed = netns.command("nft").args(["list", "ruleset"]).output()?;
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let mut words = line.split_whitespace();
        let (Some("set" | "map"), Some(name)) = (words.next(), words.next()) else { continue };
        let mut body = vec![family, 0, 0, 0];
        attribute(&mut body, NFTA_SET_ELEM_LIST_TABLE, "brindle");
        attribute(&mut body, NFTA_SET_ELEM_LIST_SET, name);
        let kind = get(libc::NFT_MSG_GETSETELEM);
        seeds.extend(dump(&netns, SockProtocol::NetlinkNetFilter, kind, &body)?);
    }
    let mut whole = Snapshot::default();
    seeds.iter().for_each(|seed| decode(&mut whole, seed));
    ensure!(whole.table.is_some() && whole.sets.len() > 2, "the seeds are not understood");
    fuzz("nf_tables replies", &seeds, as_is, |bytes| decode(&mut Snapshot::default(), bytes));
    Ok(())
}

#[test]
fn rtnetlink_replies() -> Result<()> {
    let netns = Netns::create("brd-fuzz-rt")?;
    netns.ip(&["link", "add", "left", "type", "veth", "peer", "name", "right"])?;
    netns.ip(&["link", "set", "left", "up"])?;
    netns.ip(&["addr", "add", "10.0.0.1/24", "dev", "left"])?;
    netns.ip(&["neigh", "add", "10.0.0.2", "lladdr", "02:00:00:00:00:01", "dev", "left"])?;
    netns.ip(&["route", "add", "blackhole", "10.9.0.0/16", "proto", "98"])?;
    let hops = ["nexthop", "via", "10.0.0.2", "nexthop", "via", "10.0.0.3"];
    netns.ip(&[&["route", "add", "10.8.0.0/16"], &hops[..]].concat())?;
    let mut seeds = Vec::new();
    for kind in [libc::RTM_GETLINK, libc::RTM_GETADDR, libc::RTM_GETROUTE, libc::RTM_GETNEIGH] {
        seeds.extend(dump(&netns, SockProtocol::NetlinkRoute, kind, &[0; 16])?);
    }
    ensure!(seeds.iter().all(|seed| count_messages(seed) > 0), "the seeds are not understood");
    fuzz("rtnetlink replies", &seeds, as_is, |bytes| {
        count_messages(bytes);
    });
    Ok(())
}

#[test]
fn ctnetlink_replies() -> Result<()> {
    let netns = Netns::create("brd-fuzz-ct")?;
    let connections = [
        "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 4000 --dport 80 --state ESTABLISHED",
        "-p udp -s fd00::1 -d fd00::2 --sport 4000 --dport 53",
        "-p udp -s 10.0.0.1 -d 10.96.0.1 --sport 4001 --dport 53 --dst-nat 10.0.0.3:5353",
        "-p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 7",
        "-p gre -s 10.0.0.1 -d 10.0.0.2 --srckey 1 --dstkey 2 --mark 8192 -w 7",
    ];
    for connection in connections {
        let words = format!("-I -t 600 -u SEEN_REPLY {connection}");
        let output = netns.command("conntrack").args(words.split(' ')).output()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "conntrack {words}: {error}");
    }
    // IPCTNL_MSG_CT_GET, of all families.
    let get = (libc::NFNL_SUBSYS_CTNETLINK << 8) as u16 | 1;
    let seeds = dump(&netns, SockProtocol::NetlinkNetFilter, get, &[0; 4])?;
    let entries: Vec<_> = seeds.iter().flat_map(|seed| conntrack::decode(seed)).collect();
    ensure!(entries.len() == connections.len(), "the seeds are not understood: {entries:?}");
    fuzz("ctnetlink replies", &seeds, as_is, |bytes| {
        conntrack::decode(bytes).for_each(|entry| _ = entry.first_packet());
    });
    Ok(())
}

/// Attributes of a request for a set's elements (linux/netfilter/nf_tables.h).
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;

fn as_is(_: &mut Random, _: &mut Vec<u8>) {}

/// A string attribute: length, kind, text, NUL, padding to four bytes.
fn attribute(body: &mut Vec<u8>, kind: u16, text: &str) {
    let length = u16::try_from(text.len() + 5).expect("a short name");
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(text.as_bytes());
    body.resize((body.len() + 1).next_multiple_of(4), 0);
}

/// The datagrams of one dump, as the kernel sends them; the last says that it is done.
fn dump(netns: &Netns, protocol: SockProtocol, kind: u16, body: &[u8]) -> Result<Vec<Vec<u8>>> {
    let opened: Result<OwnedFd, _> = netns.enter(|| {
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
    })?;
    let fd = opened?;
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP)?;
    let mut request = u32::try_from(16 + body.len())?.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    sendto(fd.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut datagrams = Vec::new();
    loop {
        let mut buffer = vec![0; 1 << 16];
        let length = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        buffer.truncate(length);
        let kinds = kinds(&buffer);
        ensure!(!kinds.contains(&(libc::NLMSG_ERROR as u16)), "the kernel refused a dump");
        let done = kinds.contains(&(libc::NLMSG_DONE as u16));
        if !done || kinds.len() > 1 {
            datagrams.push(buffer);
        }
        if done {
            return Ok(datagrams);
        }
    }
}

/// The types of a datagram's messages. The last of a dump may stand behind others.
fn kinds(mut datagram: &[u8]) -> Vec<u16> {
    let mut kinds = Vec::new();
    while let Some((header, _)) = datagram.split_at_checked(16) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        kinds.push(u16::from_ne_bytes([header[4], header[5]]));
        datagram = datagram.get(length.max(16).next_multiple_of(4)..).unwrap_or_default();
    }
    kinds
}
