//! The three policies of the demo, and the edit.

/// 1: nobody reaches the shop.
pub const DEFAULT_DENY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
";

/// 2: but the web server reaches its database, on the database's port.
pub fn allow_database(role: &str) -> String {
    format!(
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: allow-database, namespace: shop}}
spec:
  podSelector: {{matchLabels: {{role: db}}}}
  ingress:
  - from:
    - namespaceSelector: {{}}
      podSelector: {{matchLabels: {{role: {role}}}}}
    ports:
    - {{protocol: TCP, port: 5432}}
    - {{protocol: UDP, port: 5432}}
"
    )
}

/// 3: operations reach every pod but one address.
pub fn egress_except(except_v4: &str, except_v6: &str) -> String {
    format!(
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: pods-but-one, namespace: ops}}
spec:
  podSelector: {{matchLabels: {{role: probe}}}}
  policyTypes: [Egress]
  egress:
  - to:
    - ipBlock: {{cidr: 10.65.0.0/16, except: [{except_v4}/32]}}
    - ipBlock: {{cidr: \"fd65::/112\", except: [\"{except_v6}/128\"]}}
"
    )
}
