//! The API types against objects as users write them.

use brindle_api::{
    BgpConfiguration, BgpPeer, Duration, IpPool, StagedGlobalNetworkPolicy, StagedNetworkPolicy,
};
use serde_json::{Value, json};

fn object(kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "brindle.io/v1alpha1",
        "kind": kind,
        "metadata": { "name": "x" },
        "spec": spec,
    })
}

#[test]
fn defaults_are_left_to_the_reader() {
    let pool: IpPool =
        serde_json::from_value(object("IPPool", &json!({ "cidr": "10.0.0.0/16" }))).unwrap();
    assert_eq!((pool.spec.block_size, pool.spec.disabled), (None, false));
    let config: BgpConfiguration =
        serde_json::from_value(object("BGPConfiguration", &json!({ "holdTime": "1m30s" })))
            .unwrap();
    assert_eq!(config.spec.hold_time, Some(Duration::from_seconds(90)));
    assert_eq!(config.spec.node_to_node_mesh_enabled, None);
}

#[test]
fn objects_survive_a_round_trip() {
    let peer = object(
        "BGPPeer",
        &json!({
            "nodeSelector": { "matchLabels": { "rack": "r1" } },
            "peerIP": "fd00::1",
            "peerPort": 1790,
            "asNumber": 64_601,
            "passive": true,
            "routeReflectorClient": true,
            "localRole": "Customer",
            "requireRole": true,
        }),
    );
    let read: BgpPeer = serde_json::from_value(peer.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), peer);
}

#[test]
fn unknown_options_are_refused_by_name() {
    let cases = [
        ("IPPool", json!({ "cidr": "10.0.0.0/16", "ipipMode": "Always" }), "ipipMode"),
        (
            "BGPPeer",
            json!({ "peerIP": "10.0.0.1", "asNumber": 1, "sourceAddress": "None" }),
            "sourceAddress",
        ),
        ("BGPConfiguration", json!({ "logSeverityScreen": "Info" }), "logSeverityScreen"),
    ];
    for (kind, spec, option) in cases {
        let value = object(kind, &spec);
        let error = match kind {
            "IPPool" => serde_json::from_value::<IpPool>(value).unwrap_err(),
            "BGPPeer" => serde_json::from_value::<BgpPeer>(value).unwrap_err(),
            _ => serde_json::from_value::<BgpConfiguration>(value).unwrap_err(),
        };
        assert!(error.to_string().contains(option), "{error}");
    }
}

#[test]
fn a_staged_policy_is_the_policy_and_an_action() {
    let spec = json!({ "stagedAction": "Set", "order": 5.0, "ingress": [{ "action": "Deny", "source": {}, "destination": {} }] });
    let policy: StagedNetworkPolicy =
        serde_json::from_value(object("StagedNetworkPolicy", &spec)).unwrap();
    assert_eq!(policy.spec.staged_action.as_deref(), Some("Set"));
    assert_eq!((policy.spec.policy.order, policy.spec.policy.ingress.len()), (Some(5.0), 1));
    assert_eq!(serde_json::to_value(policy).unwrap()["spec"], spec);
    let misspelt = json!({ "stagedAction": "Set", "selektor": "all()" });
    for error in [
        serde_json::from_value::<StagedNetworkPolicy>(object("StagedNetworkPolicy", &misspelt))
            .map(|_| ()),
        serde_json::from_value::<StagedGlobalNetworkPolicy>(object(
            "StagedGlobalNetworkPolicy",
            &misspelt,
        ))
        .map(|_| ()),
    ] {
        assert!(error.unwrap_err().to_string().contains("unknown field `selektor`"));
    }
}

#[test]
fn another_kind_is_refused() {
    let error = serde_json::from_value::<IpPool>(object("Pool", &json!({ "cidr": "10.0.0.0/16" })))
        .unwrap_err();
    assert!(error.to_string().contains("not brindle.io/v1alpha1 IPPool"), "{error}");
}

#[test]
fn schemas_describe_every_option() {
    let schema = schemars::schema_for!(BgpPeer).to_value();
    let spec = &schema["$defs"]["BgpPeerSpec"];
    for option in ["node", "nodeSelector", "peerIP", "peerPort", "asNumber", "passive"] {
        assert!(spec["properties"][option].is_object(), "{option}: {schema}");
    }
    assert_eq!(spec["additionalProperties"], json!(false));
}
