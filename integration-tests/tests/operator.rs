//! The operator before a real API server, with agents where nodes matter.
//!
//! Run by `make conformance`, which has the Kubernetes programs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brindle_integration_tests::apiserver::ApiServer;
use brindle_integration_tests::cluster::Cluster;
use brindle_lab::netns::Netns;
use brindle_lab::process::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);
/// As [`DEADLINE`], for `kubectl wait`.
const TIMEOUT: &str = "--timeout=60s";

const POLICY: &str = "\
apiVersion: brindle.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: p}
spec: {selector: \"role == 'db'\", ingress: [{action: Allow, protocol: TCP}]}
";

fn select(server: &ApiServer, role: &str) -> Result<()> {
    let patch = format!(r#"{{"spec": {{"selector": "role == '{role}'"}}}}"#);
    let policy = ["patch", "globalnetworkpolicy", "p", "--type=merge", "-p", &patch];
    server.kubectl(&policy).map(drop)
}

/// Waits until the policy's status says of its present generation that it is enforced.
fn enforced(server: &ApiServer) -> Result<Value> {
    let wait = ["wait", "--for=condition=Enforced", TIMEOUT, "globalnetworkpolicy/p"];
    server.kubectl(&wait)?;
    policy(server)
}

/// Waits until the policy's status says why its present generation is not enforced.
fn not_enforced(server: &ApiServer, why: &str) -> Result<Value> {
    let mut found = Value::Null;
    wait_until(DEADLINE, &format!("the status to say: {why}"), || {
        found = policy(server)?;
        let generation = &found["metadata"]["generation"];
        Ok(found["status"]["enforcement"]["observedGeneration"] == *generation
            && message(&found, "Enforced") == why)
    })?;
    let condition = ["wait", "--for=condition=Enforced=False", TIMEOUT, "globalnetworkpolicy/p"];
    server.kubectl(&condition)?;
    Ok(found)
}

fn policy(server: &ApiServer) -> Result<Value> {
    let policy = server.kubectl(&["get", "globalnetworkpolicy", "p", "-o", "json"])?;
    Ok(serde_json::from_str(&policy)?)
}

fn message(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut conditions = conditions.filter(|condition| condition["type"] == kind);
    conditions.next().and_then(|c| c["message"].as_str()).unwrap_or_default().to_owned()
}

#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn a_policy_says_whether_every_node_enforces_it() -> Result<()> {
    let cluster = Cluster::build("brd-op-a", &[])?;
    let server = &cluster.server;
    server.apply_manifest("operator.yaml")?;
    let operator = server.operator("first", &[])?;
    server.apply(POLICY)?;
    let policy = enforced(server)?;
    let enforcement = &policy["status"]["enforcement"];
    ensure!(enforcement["enforcedNodes"] == 2 && enforcement["desiredNodes"] == 2, "{policy}");

    // A node whose agent does nothing is named, until it does.
    let lame = &cluster.fabric.nodes[1];
    let agent = Pid::from_raw(lame.agent.as_ref().context("no agent")?.pid());
    kill(agent, Signal::SIGSTOP)?;
    select(server, "web")?;
    let lags = format!("on 1 of 2 nodes; not on {}", lame.name);
    let policy = not_enforced(server, &lags)?;
    ensure!(policy["status"]["enforcement"]["slowestNode"] == *lame.name, "{policy}");
    kill(agent, Signal::SIGCONT)?;
    enforced(server)?;

    // Another operator takes over what the first one left in the middle.
    kill(agent, Signal::SIGSTOP)?;
    select(server, "db")?;
    not_enforced(server, &lags)?;
    operator.end(Signal::SIGKILL, DEADLINE)?;
    kill(agent, Signal::SIGCONT)?;
    let _second = server.operator("second", &[])?;
    enforced(server)?;
    let holder = "jsonpath={.spec.holderIdentity}";
    let lease = ["get", "lease", "-n", "brindle-system", "brindle-operator", "-o", holder];
    ensure!(server.kubectl(&lease)? == "second");

    // What is broken is not enforced as it was written.
    let broken = r#"{"spec": {"ingress": [{"action": "Allow", "sauce": {}}]}}"#;
    server.kubectl(&["patch", "globalnetworkpolicy", "p", "--type=merge", "-p", broken])?;
    not_enforced(server, "not as it was written: see the condition Accepted")?;
    Ok(())
}

/// As upstream defines it, as far as an object of it is read and its status written.
const CLUSTER_POLICIES: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: clusternetworkpolicies.policy.networking.k8s.io
  annotations: {api-approved.kubernetes.io: unapproved}
spec:
  group: policy.networking.k8s.io
  scope: Cluster
  names: {kind: ClusterNetworkPolicy, plural: clusternetworkpolicies, singular: clusternetworkpolicy}
  versions:
  - name: v1alpha2
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            required: [conditions]
            properties:
              conditions:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [type]
                items:
                  type: object
                  required: [lastTransitionTime, message, reason, status, type]
                  properties:
                    lastTransitionTime: {type: string, format: date-time}
                    message: {type: string, maxLength: 32768}
                    observedGeneration: {type: integer, format: int64, minimum: 0}
                    reason: {type: string, minLength: 1, maxLength: 1024}
                    status: {type: string, enum: ['True', 'False', Unknown]}
                    type: {type: string, maxLength: 316}
";

const CLUSTER_POLICY: &str = "\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: c}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: none}}}]}]
";

#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn host_endpoints_and_upstream_policies_say_so_too() -> Result<()> {
    let cluster = Cluster::build("brd-op-d", &[])?;
    let server = &cluster.server;
    server.apply_manifest("operator.yaml")?;
    let metrics = ["--metrics-listen", "127.0.0.1:9189"];
    let _operator = server.operator("first", &metrics)?;
    let node = &cluster.fabric.nodes[0].name;
    server.apply(&format!(
        "apiVersion: brindle.io/v1alpha1\nkind: HostEndpoint\nmetadata: {{name: h}}\n\
         spec: {{node: {node}, interfaceName: none0}}\n"
    ))?;
    let enforced = |object: &str| -> Result<Value> {
        server.kubectl(&["wait", "--for=condition=Enforced", TIMEOUT, object])?;
        Ok(serde_json::from_str(&server.kubectl(&["get", object, "-o", "json"])?)?)
    };
    let endpoint = enforced("hostendpoint/h")?;
    let enforcement = &endpoint["status"]["enforcement"];
    ensure!(enforcement["enforcedNodes"] == 1 && enforcement["desiredNodes"] == 1, "{endpoint}");

    server.apply(CLUSTER_POLICIES)?;
    let definition = "crd/clusternetworkpolicies.policy.networking.k8s.io";
    server.kubectl(&["wait", "--for=condition=Established", TIMEOUT, definition])?;
    server.apply(CLUSTER_POLICY)?;
    let policy = enforced("clusternetworkpolicy/c")?;
    ensure!(message(&policy, "Enforced").starts_with("on 2 of 2 nodes"), "{policy}");
    ensure!(policy["status"]["conditions"].as_array().is_some_and(|c| c.len() == 2), "{policy}");

    let mut curl = cluster.fabric.tor.command("curl");
    let answer = curl.args(["-s", "http://127.0.0.1:9189/metrics"]).output()?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let counted = "brindle_operator_time_to_enforced_seconds_count{kind=\"HostEndpoint\"} 1";
    ensure!(text.contains(counted), "{text}");
    Ok(())
}

fn without_agents(name: &str) -> Result<(Netns, ApiServer)> {
    let netns = Netns::create(name)?;
    let server = ApiServer::start(&netns, &Path::new("/run").join(name), &[])?;
    Ok((netns, server))
}

#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn blocks_of_a_node_that_is_gone_are_reclaimed() -> Result<()> {
    let (_netns, server) = without_agents("brd-op-b")?;
    server.install_definitions()?;
    for manifest in ["namespace.yaml", "rbac/operator.yaml", "operator.yaml"] {
        server.apply_manifest(manifest)?;
    }
    for node in ["n1", "n2"] {
        server.apply(&format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {node}}}\n---\n\
             apiVersion: brindle.io/v1alpha1\nkind: IPAMBlock\nmetadata: {{name: of-{node}}}\n\
             spec: {{cidr: 10.65.0.0/26, node: {node}}}\n---\n\
             apiVersion: brindle.io/v1alpha1\nkind: NodeEnforcement\n\
             metadata: {{name: {node}}}\nspec: {{node: {node}}}\n"
        ))?;
    }
    let _operator = server.operator("first", &["--node-grace-period", "1s"])?;
    server.kubectl(&["delete", "node", "n2"])?;
    let left = |kind: &str| server.kubectl(&["get", kind, "-o", "name"]);
    wait_until(DEADLINE, "what the node has left to go", || {
        Ok(!left("ipamblocks")?.contains("n2") && !left("nodeenforcements")?.contains("n2"))
    })?;
    ensure!(left("ipamblocks")?.trim() == "ipamblock.brindle.io/of-n1");
    ensure!(left("nodeenforcements")?.trim() == "nodeenforcement.brindle.io/n1");
    Ok(())
}

const INSTALLATION: &str = "\
apiVersion: brindle.io/v1alpha1
kind: Installation
metadata: {name: default}
spec: {dataplane: Nftables, logLevel: Debug}
";

/// What the API server refuses of an Installation: name and spec.
const REFUSED: [(&str, &str); 6] = [
    ("other", "{}"),
    ("default", "{dataplane: Ebpf}"),
    ("default", "{logLevel: debug}"),
    ("default", "{nodeGracePeriod: 10}"),
    ("default", "{nodeGracePeriod: 1s}"),
    ("default", "{sauce: true}"),
];

#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn an_installation_is_kept_as_it_should_be_and_leaves_nothing() -> Result<()> {
    let (_netns, server) = without_agents("brd-op-c")?;
    // Of a cluster's nodes there is but the object.
    server.apply("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n")?;
    server.apply_manifest("brindle-operator.yaml")?;
    let definition = "crd/installations.brindle.io";
    server.kubectl(&["wait", "--for=condition=Established", TIMEOUT, definition])?;
    let _operator = server.operator("first", &[])?;
    server.apply(INSTALLATION)?;
    for (name, spec) in REFUSED {
        let yaml = format!(
            "apiVersion: brindle.io/v1alpha1\nkind: Installation\n\
             metadata: {{name: {name}}}\nspec: {spec}\n"
        );
        ensure!(server.apply(&yaml).is_err(), "taken: {name} {spec}");
    }

    let read = |arguments: &[&str]| server.kubectl(&[&["get"], arguments].concat());
    let agent = ["daemonset", "-n", "brindle-system", "brindle-agent"];
    let container = "jsonpath={.spec.template.spec.containers[0]}";
    let container = [&agent[..], &["-o", container]].concat();
    wait_until(DEADLINE, "the agent's DaemonSet", || Ok(read(&container).is_ok()))?;
    let made = read(&container)?;
    ensure!(made.contains("--dataplane=nftables"), "{made}");
    ensure!(made.contains(r#"{"name":"RUST_LOG","value":"debug"}"#), "{made}");
    let wait = |condition: &str| {
        let condition = format!("--for=condition={condition}");
        server.kubectl(&["wait", &condition, TIMEOUT, "installation/default"])
    };
    wait("Progressing=True")?;
    wait("Available=False")?;
    wait("Degraded=False")?;

    // The DaemonSet's controller says that the node runs it.
    let generation = read(&[&agent[..], &["-o", "jsonpath={.metadata.generation}"]].concat())?;
    let status = format!(
        r#"{{"status": {{"observedGeneration": {generation}, "desiredNumberScheduled": 1,
            "currentNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1,
            "numberMisscheduled": 0, "numberAvailable": 1}}}}"#
    );
    let patch = ["--subresource=status", "--type=merge", "-p", &status];
    server.kubectl(&[&["patch"], &agent[..], &patch].concat())?;
    wait("Available=True")?;
    wait("Progressing=False")?;

    // Drift.
    let other = r#"[{"op": "replace", "path": "/spec/template/spec/containers/0/image",
                     "value": "example.org/other"}]"#;
    server.kubectl(&[&["patch"], &agent[..], &["--type=json", "-p", other]].concat())?;
    wait_until(DEADLINE, "another image to go", || {
        Ok(!read(&container)?.contains("example.org/other"))
    })?;
    server.kubectl(&["delete", "clusterrole", "brindle-agent"])?;
    wait_until(DEADLINE, "a deleted role to be back", || {
        Ok(read(&["clusterrole", "brindle-agent"]).is_ok())
    })?;
    let image = r#"{"spec": {"image": "example.org/mine:v2"}}"#;
    server.kubectl(&["patch", "installation", "default", "--type=merge", "-p", image])?;
    wait_until(DEADLINE, "another image to be installed", || {
        Ok(read(&container)?.contains("example.org/mine:v2"))
    })?;

    server.apply(POLICY)?;
    server.kubectl(&["delete", "installation", "default", "--wait=false"])?;
    let cleaner = ["pod", "-n", "brindle-system", "brindle-uninstall-n1"];
    wait_until(DEADLINE, "the node to be cleaned", || Ok(read(&cleaner).is_ok()))?;
    let waiting = read(&["installation", "default", "-o", "json"])?;
    ensure!(read(&["globalnetworkpolicy", "p"]).is_ok(), "policies go before nodes are clean");
    wait_until(DEADLINE, "the node that is waited for to be named", || {
        let found: Value =
            serde_json::from_str(&read(&["installation", "default", "-o", "json"])?)?;
        Ok(message(&found, "Progressing").contains("nodes to be clean: n1"))
    })
    .with_context(|| waiting)?;
    // What its kubelet says when the program has ended.
    let succeeded = r#"{"status": {"phase": "Succeeded"}}"#;
    let patch = ["--subresource=status", "--type=merge", "-p", succeeded];
    server.kubectl(&[&["patch"], &cleaner[..], &patch].concat())?;
    server.kubectl(&["wait", "--for=delete", TIMEOUT, "installation/default"])?;

    let all = [
        "crds",
        "clusterroles",
        "clusterrolebindings",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "daemonsets,pods,serviceaccounts",
    ];
    for kinds in all {
        let left = read(&[kinds, "-A", "-o", "name"])?;
        let left: Vec<&str> = left
            .lines()
            .filter(|line| line.contains("brindle") && !line.contains("brindle-operator"))
            .filter(|line| !line.contains("installations.brindle.io"))
            .collect();
        ensure!(left.is_empty(), "left: {left:?}");
    }
    Ok(())
}
