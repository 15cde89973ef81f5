//! What the status of policies says of programs that are near a limit of the backend, or above it.

use std::collections::BTreeMap;

use brindle_compiler::ProgramLoad;
use brindle_model::ruleset::WARNING_SHARE;
use brindle_sources::object::ObjectKey;
use brindle_sources::relations::listed;

/// What to say of each policy.
pub fn warnings(loads: &[ProgramLoad]) -> BTreeMap<ObjectKey, Vec<String>> {
    let mut warnings: BTreeMap<ObjectKey, Vec<String>> = BTreeMap::new();
    for program in loads {
        let ProgramLoad { endpoints, hosts, direction, policies, load, limits, lost } = program;
        let pods = endpoints.iter().map(|id| id.pod.to_string());
        let hosts = hosts.iter().map(|name| format!("host endpoint {name}"));
        let who = listed(pods.chain(hosts)).unwrap_or_default();
        let used = load.beyond(WARNING_SHARE, *limits);
        for policy in policies {
            let effect = match (load.fits(*limits), lost.contains(policy)) {
                (true, _) => "that is near what the dataplane takes",
                (false, true) => "this policy is not enforced there, and the end is a denial",
                (false, false) => "other policies are not enforced there, and the end is a denial",
            };
            let text = format!("{direction} of {who} has {used}: {effect}");
            warnings.entry(ObjectKey::of_policy(policy)).or_default().push(text);
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use brindle_model::NamespacedName;
    use brindle_model::cluster::EndpointId;
    use brindle_model::ruleset::Load;
    use brindle_model::verdict::{Direction, PolicyId};

    use super::*;

    #[test]
    fn words_of_a_program_near_and_above_a_limit() {
        let policy = |name| PolicyId::network_policy(&NamespacedName::new("shop", name));
        let endpoint = EndpointId {
            pod: NamespacedName::new("shop", "web"),
            container_id: "c".into(),
            interface: "eth0".into(),
        };
        let program = |rules, lost| ProgramLoad {
            endpoints: vec![endpoint.clone()],
            hosts: BTreeSet::new(),
            direction: Direction::Ingress,
            policies: vec![policy("a"), policy("b")],
            load: Load { rules, sets: 1, members: 1 },
            limits: Load { rules: 10, ..Load::UNBOUNDED },
            lost,
        };
        let said = |program| {
            let warnings = warnings(&[program]);
            warnings
                .into_iter()
                .map(|(key, texts)| format!("{key}: {}", texts.join("; ")))
                .collect::<Vec<_>>()
        };
        let near = "ingress of shop/web has 8 of 10 rules: that is near what the dataplane takes";
        assert_eq!(
            said(program(8, vec![])),
            ["a", "b"].map(|name| format!("NetworkPolicy shop/{name}: {near}"))
        );
        let above = "ingress of shop/web has 12 of 10 rules:";
        let end = "is not enforced there, and the end is a denial";
        assert_eq!(
            said(program(12, vec![policy("b")])),
            [
                format!(
                    "NetworkPolicy shop/a: {above} other policies are not enforced there, and the end is a denial"
                ),
                format!("NetworkPolicy shop/b: {above} this policy {end}"),
            ]
        );
    }
}
