//! Who may write policies of which tier (`manifests/rbac/tiers.yaml`), before a real API server.
//!
//! Run by `make conformance`, which has the Kubernetes programs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use brindle_integration_tests::apiserver::ApiServer;
use brindle_lab::netns::Netns;
use brindle_lab::process::wait_until;

/// Alice writes the policies of namespace `shop`, those of the default tier alone, and one of tier
/// `security`. Sam writes every policy of tier `security`, anywhere.
const RIGHTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: alice, namespace: shop}
rules:
- {apiGroups: [brindle.io], resources: [networkpolicies, stagednetworkpolicies], verbs: ["*"]}
- apiGroups: [brindle.io]
  resources: [tier.networkpolicies]
  resourceNames: ["default.*", security.hers]
  verbs: ["*"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: alice, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: alice}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: sam}
rules:
- apiGroups: [brindle.io]
  resources: [networkpolicies, globalnetworkpolicies, stagedglobalnetworkpolicies]
  verbs: ["*"]
- apiGroups: [brindle.io]
  resources: [tier.networkpolicies, tier.globalnetworkpolicies]
  resourceNames: ["security.*"]
  verbs: ["*"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: sam}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sam}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: sam}]
"#;

fn policy(kind: &str, name: &str, tier: &str) -> String {
    let namespace = if kind.contains("Global") { "" } else { ", namespace: shop" };
    format!(
        "apiVersion: brindle.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}{namespace}}}\n\
         spec: {{{tier}}}\n"
    )
}

#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn a_tier_s_policies_are_its_people_s() -> Result<()> {
    let netns = Netns::create("brd-tiers")?;
    let server = ApiServer::start(&netns, Path::new("/run/brd-tiers"), &[])?;
    server.install_definitions()?;
    server.apply(RIGHTS)?;
    server.apply_manifest("rbac/tiers.yaml")?;
    let create = |user: &str, kind: &str, name: &str, tier: &str| {
        server.kubectl_as(user, &["create", "-f", "-"], &policy(kind, name, tier))
    };
    // Until the server knows the policy, sam may write what is not his.
    wait_until(Duration::from_secs(30), "the admission policy to count", || {
        let name = "probe";
        let taken = create("sam", "GlobalNetworkPolicy", name, "").is_ok();
        if taken {
            server.kubectl(&["delete", "gnp", name])?;
        }
        Ok(!taken)
    })?;

    let security = "tier: security";
    let rows = [
        ("alice", "NetworkPolicy", "a", "", true),
        ("alice", "NetworkPolicy", "b", "tier: default", true),
        ("alice", "StagedNetworkPolicy", "a", "", true),
        ("alice", "NetworkPolicy", "hers", security, true),
        ("alice", "NetworkPolicy", "other", security, false),
        ("alice", "StagedNetworkPolicy", "other", security, false),
        ("sam", "NetworkPolicy", "s", security, true),
        ("sam", "GlobalNetworkPolicy", "s", security, true),
        ("sam", "StagedGlobalNetworkPolicy", "s", security, true),
        ("sam", "GlobalNetworkPolicy", "d", "", false),
        ("sam", "NetworkPolicy", "d", "tier: default", false),
        ("sam", "StagedGlobalNetworkPolicy", "d", "", false),
        ("admin", "GlobalNetworkPolicy", "any", "tier: other", true),
    ];
    for (user, kind, name, tier, may) in rows {
        let done = match user {
            "admin" => server.apply(&policy(kind, name, tier)),
            user => create(user, kind, name, tier).map(drop),
        };
        match done {
            Ok(()) => ensure!(may, "{user} may create {kind} {name} {tier}"),
            Err(error) => {
                let error = format!("{error:#}");
                ensure!(!may, "{user} may not create {kind} {name} {tier}: {error}");
                ensure!(error.contains("you may not create policies of tier"), "{error}");
            }
        }
    }

    // A policy is moved by whoever may write both tiers, and deleted by whoever may write its own.
    let change = |user: &str, arguments: &[&str]| server.kubectl_as(user, arguments, "");
    let to_security = r#"{"spec": {"tier": "security"}}"#;
    let order = r#"{"spec": {"order": 5}}"#;
    let patch = |user: &str, name: &str, patch: &str| {
        let resource = "networkpolicies.brindle.io";
        change(user, &["patch", "-n", "shop", resource, name, "--type=merge", "-p", patch])
    };
    patch("alice", "a", order)?;
    patch("alice", "hers", order)?;
    ensure!(patch("alice", "s", order).is_err(), "alice changes a policy of tier security");
    ensure!(patch("alice", "a", to_security).is_err(), "alice moves a policy to tier security");
    ensure!(patch("sam", "a", to_security).is_err(), "sam takes a policy of the default tier");
    let delete = |user: &str, name: &str| {
        change(user, &["delete", "-n", "shop", "networkpolicies.brindle.io", name])
    };
    ensure!(delete("alice", "s").is_err(), "alice deletes a policy of tier security");
    ensure!(delete("sam", "a").is_err(), "sam deletes a policy of the default tier");
    delete("alice", "hers")?;
    delete("sam", "s")?;
    Ok(())
}
