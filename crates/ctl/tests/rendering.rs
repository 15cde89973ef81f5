//! Tables of what an agent says, from answers of the shape that agents give.

use brindle_ctl::dumps::{self, Dump};
use brindle_ctl::output::Format;
use brindle_ctl::{Exit, bgp, ipam, packets, status};
use serde_json::{Value, json};

fn bgp_answer() -> Value {
    let spine = json!({
        "name": "spine", "address": "192.0.2.253", "port": 179, "as_number": 64601,
        "passive": false, "protection": [], "password_problem": null,
        "state": "Idle", "since": 30.0, "established_count": 1,
        "flaps": 1, "updates_received": 2, "updates_malformed": 0, "panics": 0, "failures": 3,
        "idle_because": null,
        "last_error": { "message": "the peer is in AS 64699, not 64601", "at": 90.0 },
        "last_received_notification": null,
        "last_sent_notification": { "message": "bad peer AS", "at": 90.0 },
        "session": null,
        "filters": ["edge"],
        "filter_problem": null,
        "prefix_warning": null,
        "bfd": null,
        "families": [],
        "stale_until": null
    });
    let tor = json!({
        "name": "tor", "address": "192.0.2.254", "range": null, "port": 179, "as_number": 64600,
        "passive": true, "protection": ["TCP MD5 signatures"],
        "password_problem": null, "state": "Established", "since": 10.0,
        "established_count": 1, "flaps": 0, "updates_received": 4,
        "updates_malformed": 0, "panics": 0, "failures": 0, "idle_because": null,
        "last_error": null, "last_received_notification": null,
        "last_sent_notification": null,
        "session": {
            "local_address": "192.0.2.1", "router_id": "192.0.2.254",
            "hold_time": 90, "keepalive_time": 30,
            "capabilities": ["ipv4 unicast", "graceful restart 120 s"]
        },
        "filters": [],
        "filter_problem": null,
        "prefix_warning": null,
        "bfd": { "state": "Up", "detection_time": 900, "diagnostic": "no diagnostic" },
        "families": [
            {
                "family": "ipv4 unicast", "received": 2, "accepted": 2, "stale": 0,
                "advertised": 1, "end_of_rib_received": true,
                "end_of_rib_sent": true, "disabled": false
            },
            {
                "family": "ipv6 unicast", "received": 1, "accepted": 1, "stale": 0,
                "advertised": 1, "end_of_rib_received": true,
                "end_of_rib_sent": true, "disabled": false
            }
        ],
        "stale_until": null
    });
    json!({
            "speaker": {
                "identity": [64512, "192.0.2.1"],
                "restarting": false, "drain": null,
                "in_sync": true,
                "converged": true,
                "originated": ["10.244.0.0/26", "fd00:244::/122"],
                "learned": 3,
                "ranges": [{
                    "name": "racks", "prefix": "10.0.0.0/8", "as_number": 64700, "max_peers": 2,
                    "peers": 1, "rejected": 4, "protection": [], "idle_because": null,
                    "last_rejected": { "message": "10.0.0.9 was turned away", "at": 70.0 }
                }],
                "refused_connections": 0,
                "peers": [
    spine, tor]
            },
            "listening": ["0.0.0.0:179", "[::]:179"],
            "listenError": null,
            "uptimeSeconds": 100.0
        })
}

#[test]
fn bgp_overview() {
    let text = bgp::render(bgp_answer(), None, Format::Table).unwrap();
    assert_eq!(
        text,
        "\
AS 64512, id 192.0.2.1
announced: 10.244.0.0/26, fd00:244::/122
learned: 3 prefixes

PEER   ADDRESS      AS     STATE        FOR    RECEIVED  ACCEPTED  ADVERTISED  WHY
spine  192.0.2.253  64601  Idle         1m10s  0         0         0           the peer is in AS 64699, not 64601
tor    192.0.2.254  64600  Established  1m30s  3         3         2

RANGE  ADDRESSES   AS     PEERS   REJECTED  PROTECTION  WHY
racks  10.0.0.0/8  64700  1 of 2  4         none        10.0.0.9 was turned away (30s ago)
"
    );
}

#[test]
fn one_neighbour() {
    let text = bgp::render(bgp_answer(), Some("tor"), Format::Table).unwrap();
    for line in [
        "address                192.0.2.254 port 179, passive",
        "timers                 hold 90 s, keepalive 30 s",
        "BFD                    Up, detects in 900 ms (no diagnostic)",
        "ipv6 unicast  1         1         0      1",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let text = bgp::render(bgp_answer(), Some("spine"), Format::Table).unwrap();
    assert!(text.contains("notification sent      bad peer AS (10s ago)"), "{text}");
    let json = bgp::render(bgp_answer(), Some("tor"), Format::Json).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["as_number"], 64600);
    for format in [Format::Table, Format::Json] {
        let error = bgp::render(bgp_answer(), Some("leaf"), format).unwrap_err();
        assert!(error.to_string().contains("no neighbour leaf"), "{error}");
    }
}

#[test]
fn the_steps_of_a_prefix() {
    let step = |step: &str, passed: bool, detail: &str| json!({ "step": step, "passed": passed, "detail": detail });
    let answer = json!({
        "asked": "10.65.0.7/32", "prefix": "10.65.0.0/26",
        "inward": [],
        "outward": [
            { "peer": "spine", "arrives": false, "steps": [
                step("origin", true, "this node originates it"),
                step("session", false, "Idle: the peer is in AS 64699, not 64601"),
            ] },
            { "peer": "tor", "arrives": true, "steps": [step("wire", true, "sent")] },
        ],
    });
    let said = bgp::why::render(&answer, Format::Table).unwrap();
    assert_eq!(
        said.text,
        "\
10.65.0.0/26, which contains 10.65.0.7/32

to spine: is stopped
  ok    origin   this node originates it
  stop  session  Idle: the peer is in AS 64699, not 64601

to tor: gets through
  ok    wire  sent
"
    );
    assert_eq!(said.exit, Exit::Yes);
    let nowhere = json!({ "asked": "::/0", "prefix": "::/0", "inward": [], "outward": [] });
    let said = bgp::why::render(&nowhere, Format::Table).unwrap();
    assert_eq!(said.exit, Exit::No);
    assert!(said.text.contains("there is no neighbour"), "{}", said.text);
    let json = bgp::why::render(&answer, Format::Json).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&json.text).unwrap(), answer);
}

#[test]
fn a_table_of_routes() {
    let answer = json!({
        "routes": [
            { "prefix": "10.65.0.0/26", "peer": null, "next_hop": null, "as_path": "",
              "local_pref": null, "med": null, "communities": [], "used": true, "note": null },
            { "prefix": "10.9.0.0/16", "peer": "tor", "next_hop": "192.0.2.2",
              "as_path": "64512 1", "local_pref": 100, "med": 5, "communities": ["1:2", "1:2:3"],
              "used": false, "note": "our own AS is in the AS path" },
        ],
        "left_off": 3,
    });
    assert_eq!(
        bgp::routes::render(&answer, Format::Table).unwrap(),
        "\
USED  PREFIX        PEER       NEXT HOP   AS PATH  PREF  MED  COMMUNITIES  NOTE
*     10.65.0.0/26  this node
-     10.9.0.0/16   tor        192.0.2.2  64512 1  100   5    1:2 1:2:3    our own AS is in the AS path
3 more; --limit shows them
"
    );
}

#[test]
fn addresses() {
    let answer = json!({
        "blocks": [{ "cidr": "10.244.0.0/26", "pool": "pods", "taken": 1, "size": 64 }],
        "leases": { "c1/eth0": ["10.244.0.1", "fd00:244::1"] }
    });
    let text = ipam::render(answer, Format::Table).unwrap();
    assert_eq!(
        text,
        "\
BLOCK          POOL  TAKEN  SIZE
10.244.0.0/26  pods  1      64

CONTAINER/INTERFACE  ADDRESSES
c1/eth0              10.244.0.1, fd00:244::1
"
    );
}

#[test]
fn an_answer_of_another_shape_is_an_error() {
    assert!(bgp::render(json!({}), None, Format::Table).is_err());
    assert!(ipam::render(json!([]), Format::Table).is_err());
    assert!(dumps::render(Dump::Sets, &json!({}), Format::Table).is_err());
}

#[test]
fn dumps_without_a_table_are_trees() {
    let value = json!({ "routing": { "originate": ["10.244.0.0/26"] } });
    let text = dumps::render(Dump::Routing, &value, Format::Table).unwrap();
    assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), value);
}

#[test]
fn a_node_at_a_glance() {
    let table = json!({
        "name": "nftables", "state": "failing", "applied": 6, "commits": 6, "writes": 40,
        "resyncs": 1, "drifted": 0, "failures": 2, "lastError": "the kernel refused"
    });
    let answer = json!({
        "node": "n1", "version": "0.1.0", "pid": 7, "source": "dir:/objects",
        "uptimeSeconds": 65.0, "ready": true, "problems": ["nftables: the kernel refused"],
        "generation": 7, "applied": null,
        "compiled": { "endpoints": 2, "programs": 3, "policies": 4, "sets": 5, "members": 6 },
        "dataplane": table, "routes": table,
        "connections": {
            "existing": "reevaluate", "passes": 9, "judged": 120, "revoked": 3, "seconds": 0.004,
            "failures": 0, "lastError": null
        },
        "bgp": {
            "identity": null, "peers": 2, "established": 1, "originated": 1, "learned": 3,
            "restarting": false
        },
        "blocks": 2, "addresses": 3, "residentKib": 10240
    });
    let text = status::render(&serde_json::from_value(answer).unwrap(), Format::Table).unwrap();
    for line in [
        "enforced     generation none of 7\n",
        "memory       10.0 MiB\n",
        "connections  reevaluate; 120 judged 9 times, 3 stopped, last in 4 ms\n",
        "bgp          no identity yet\n",
        "nftables  failing  6           6        40      1          0        2\n",
        "problem: nftables: the kernel refused\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

fn drops() -> Value {
    json!({
        "problem": null, "perSecond": 5, "lost": 0, "overruns": 0,
        "packets": [
            {
                "number": 4, "ageSeconds": 61.0, "decision": { "TierEnd": { "tier": "default" } },
                "words": "end of tier default", "hook": "forward", "input": "brd1",
                "output": "brd2", "fromPod": "shop/client", "toPod": "shop/web",
                "packet": {
                    "source": "10.0.0.1", "destination": "10.0.0.2",
                    "transport": { "Tcp": { "source": 4711, "destination": 80 } }
                }
            },
            {
                "number": 5, "ageSeconds": 2.0, "decision": "Spoof",
                "words": "spoofed source address", "hook": "input", "input": "brd1",
                "output": null, "fromPod": null, "toPod": null,
                "packet": {
                    "source": "fd00::1", "destination": "fd00::2",
                    "transport": { "Icmp": { "icmp_type": 128, "code": 0 } }
                }
            }
        ]
    })
}

#[test]
fn denied_packets() {
    let text = packets::render(&serde_json::from_value(drops()).unwrap(), Format::Table).unwrap();
    assert_eq!(
        text,
        "\
sampled: at most 5 packets a second and decision; `hits` counts all

HEARD     PACKET                                     FROM         TO         DECIDED BY
1m1s ago  tcp 10.0.0.1:4711 -> 10.0.0.2:80           shop/client  shop/web   end of tier default
2s ago    icmpv6 type 128 code 0 fd00::1 -> fd00::2  brd1         this node  spoofed source address
"
    );
}

#[test]
fn what_is_not_shown_is_said() {
    let mut answer = drops();
    (answer["lost"], answer["overruns"]) = (json!(9), json!(2));
    let found = serde_json::from_value(answer.clone()).unwrap();
    let text = packets::render(&found, Format::Table).unwrap();
    assert!(text.contains("lost: 9 packets, in 2 overruns\n"), "{text}");
    let text = packets::news(&found, 1, 4, Format::Table).unwrap();
    assert!(text.starts_with("lost: 5 packets\nno longer remembered: 2 packets\ntcp "), "{text}");
    let text = packets::news(&found, 3, 9, Format::Json).unwrap();
    assert_eq!(text.lines().count(), 2);
    answer["perSecond"] = json!(0);
    let text = packets::render(&serde_json::from_value(answer.clone()).unwrap(), Format::Table);
    assert!(text.unwrap().contains("--drops-per-second"));
    answer["problem"] = json!("somebody else listens");
    let text = packets::render(&serde_json::from_value(answer).unwrap(), Format::Table).unwrap();
    assert!(text.starts_with("nothing is heard: somebody else listens\n"), "{text}");
}

#[test]
fn hits() {
    let answer = json!({
        "decisions": [
            {
                "decisions": [{ "TierEnd": { "tier": "default" } }],
                "words": "end of tier default", "action": "deny", "packets": 7, "bytes": 420
            },
            {
                "decisions": [{ "Profile": { "name": "kns.shop" } }],
                "words": "profile kns.shop", "action": "allow", "packets": 12, "bytes": 720
            }
        ],
        "leftOut": 1
    });
    let text = packets::render_hits(&serde_json::from_value(answer).unwrap(), Format::Table);
    assert_eq!(
        text.unwrap(),
        "\
PACKETS  BYTES  ACTION  DECIDED BY
7        420    deny    end of tier default
12       720    allow   profile kns.shop

1 chains were being changed and are left out
"
    );
}

#[test]
fn lines_of_the_monitor() {
    let state = json!({
        "time": 1_764_590_400.25, "event": "state", "peer": "tor", "before": "OpenConfirm",
        "state": "Established", "reason": null
    });
    let update = json!({
        "time": 1_764_590_399.0, "event": "received", "peer": "tor", "message": "UPDATE",
        "announced": ["10.0.0.0/8", "11.0.0.0/8"], "nextHops": ["192.0.2.1"],
        "asPath": "64600 64601", "withdrawn": ["12.0.0.0/8"], "communities": ["1:2"], "med": 5
    });
    let best = json!({
        "time": 0.0, "event": "best", "prefix": "10.0.0.0/8", "nextHops": ["192.0.2.1"]
    });
    let lost = json!({ "event": "lost", "count": 7 });
    for (line, table) in [
        (state, "12:00:00.250  tor  state     OpenConfirm -> Established\n"),
        (
            update,
            "11:59:59.000  tor  received  UPDATE, + 10.0.0.0/8 11.0.0.0/8 via 192.0.2.1, path 64600 64601, - 12.0.0.0/8\n",
        ),
        (best, "00:00:00.000  -  best      10.0.0.0/8 via 192.0.2.1\n"),
        (lost, "--:--:--  -  lost      7 events: they came too fast\n"),
    ] {
        let text = line.to_string().into_bytes();
        assert_eq!(bgp::monitor::render(&text, Format::Table).unwrap(), table);
        let json = bgp::monitor::render(&text, Format::Json).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), line);
        assert_eq!(json.lines().count(), 1);
    }
    assert!(bgp::monitor::render(b"[]", Format::Table).is_err());
}

#[test]
fn a_plan_says_what_ends_and_why() {
    let route = |prefix: &str| json!({ "prefix": prefix, "as_path": "64601" });
    let plan = json!({
        "identity": ["hold time: counts from the next session on"],
        "peers": [
            {
                "name": "tor-a", "address": "192.0.2.1", "as_number": 64512, "session": "reset",
                "reason": "the peer's configuration changed: AS", "applied": [],
                "announced": [], "changed": [route("10.65.0.0/26")], "withdrawn": [],
            },
            {
                "name": "tor-b", "address": "192.0.2.2", "as_number": 64512, "session": "kept",
                "reason": null, "applied": ["filters and limits"],
                "announced": [route("10.65.1.0/26")], "changed": [], "withdrawn": ["10.65.0.0/26"],
            },
        ],
        "ranges": [{ "name": "rack", "prefix": "10.0.0.0/24", "range": "removed" }],
        "forwarding": [{ "prefix": "198.51.100.0/24", "before": ["192.0.2.1"], "after": [] }],
        "refused": ["peer tor-c has no usable address or port"],
    });
    let said = bgp::diff::render(plan.clone(), None, Format::Table).unwrap();
    assert_eq!(said.exit, Exit::No);
    for line in [
        "cannot be used, and counts as absent:\n  peer tor-c has no usable address or port\n",
        "this node:\n  hold time: counts from the next session on\n",
        "rack   10.0.0.0/24  REMOVED",
        "tor-a  192.0.2.1  64512  RESET    +0   ~1     -0    the peer's configuration changed: AS",
        "tor-b  192.0.2.2  64512  kept     +1   ~0     -1    changes while it goes on: filters and",
        "tor-a would be told otherwise of 10.65.0.0/26\n",
        "tor-b would be told of 10.65.1.0/26\n",
        "tor-b would no longer have 10.65.0.0/26\n",
        "198.51.100.0/24  192.0.2.1  -",
    ] {
        assert!(said.text.contains(line), "{line}\nis not in\n{}", said.text);
    }
    let one = bgp::diff::render(plan, Some("tor-b"), Format::Table).unwrap();
    assert!(!one.text.contains("tor-a"), "{}", one.text);

    let nothing = json!({
        "identity": [], "peers": [], "ranges": [], "forwarding": [], "refused": [],
    });
    let said = bgp::diff::render(nothing.clone(), None, Format::Table).unwrap();
    assert_eq!(
        (said.exit, &*said.text),
        (Exit::Yes, "nothing would change for the speaker of this node\n")
    );
    let json = bgp::diff::render(nothing.clone(), None, Format::Json).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json.text).unwrap(), nothing);
}
