//! How it stands with an installation, as conditions.

use serde_json::{Value, json};

/// Reasons for which a container waits while nothing is wrong.
const USUAL: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What is known of the parts.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Objects that could not be applied, with why.
    pub refused: Vec<String>,
    /// The agent's DaemonSet, if it is there.
    pub agent: Option<Value>,
    /// The agent's pods; read only while some node lacks one that is available.
    pub pods: Vec<Value>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// Why, as one word.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

/// How far a DaemonSet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Whether its controller has seen what is asked for.
    pub observed: bool,
    /// Nodes that must run it.
    pub desired: i64,
    /// Nodes that run it as is asked for.
    pub updated: i64,
    /// Nodes on which it is ready.
    pub available: i64,
}

impl Rollout {
    /// That of a DaemonSet.
    pub fn of(object: &Value) -> Self {
        let status = &object["status"];
        let count = |name: &str| status[name].as_i64().unwrap_or_default();
        let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
        Self {
            observed: count("observedGeneration") >= generation,
            desired: count("desiredNumberScheduled"),
            updated: count("updatedNumberScheduled"),
            available: count("numberAvailable"),
        }
    }

    /// Whether every node runs it as is asked for.
    pub fn is_complete(self) -> bool {
        self.observed && self.updated >= self.desired && self.available >= self.desired
    }
}

impl Findings {
    /// The three conditions.
    pub fn conditions(&self) -> [Condition; 3] {
        let condition = |kind, holds, reason, message| Condition { kind, holds, reason, message };
        let rollout = self.agent.as_ref().map(Rollout::of);
        let Rollout { desired, updated, available, .. } = rollout.unwrap_or_default();
        let count = format!("agent: ready on {available} of {desired} nodes");
        let is_available = rollout.is_some_and(|r| r.observed && r.available >= r.desired);
        let available = match rollout {
            None => condition("Available", false, "Missing", "agent: no DaemonSet".to_owned()),
            Some(_) if is_available => condition("Available", true, "Ready", count),
            Some(_) => condition("Available", false, "NotReady", count),
        };
        let progressing = match rollout {
            Some(rollout) if rollout.observed && updated >= desired => {
                let message = format!("agent: as is asked for on {updated} of {desired} nodes");
                condition("Progressing", false, "Complete", message)
            }
            Some(rollout) if rollout.observed => {
                let message = format!("agent: as is asked for on {updated} of {desired} nodes");
                condition("Progressing", true, "Rollout", message)
            }
            _ => {
                let message =
                    "agent: the DaemonSet's controller has not seen the change".to_owned();
                condition("Progressing", true, "Applied", message)
            }
        };
        let degraded = match (self.refused.first(), self.worst_pod()) {
            (Some(first), _) => {
                let more = self.refused.len() - 1;
                let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
                condition("Degraded", true, "NotApplied", format!("{first}{more}"))
            }
            (None, Some(pod)) => condition("Degraded", true, "PodFails", pod),
            (None, None) => condition("Degraded", false, "AsExpected", String::new()),
        };
        [available, progressing, degraded]
    }

    /// The pod with the worst trouble: one that fails before one that cannot be placed.
    fn worst_pod(&self) -> Option<String> {
        self.pods.iter().filter_map(trouble).min().map(|(_, text)| text)
    }
}

/// How bad a pod's trouble is, from 0, and what it is; `None` if there is none.
fn trouble(pod: &Value) -> Option<(u8, String)> {
    let node = pod["spec"]["nodeName"].as_str().unwrap_or("no node");
    let statuses = pod["status"]["containerStatuses"].as_array();
    for status in statuses.into_iter().flatten() {
        let waiting = &status["state"]["waiting"];
        let Some(reason) = waiting["reason"].as_str().filter(|r| !USUAL.contains(r)) else {
            continue;
        };
        let mut text = format!("agent on {node}: {reason}");
        for part in [&waiting["message"], &status["lastState"]["terminated"]["message"]] {
            if let Some(part) = part.as_str().filter(|part| !part.is_empty()) {
                text += &format!(": {}", part.trim());
            }
        }
        return Some((0, text));
    }
    let conditions = pod["status"]["conditions"].as_array()?;
    let placed = conditions.iter().find(|c| c["type"] == "PodScheduled" && c["status"] == "False");
    let why = placed?["message"].as_str().unwrap_or("cannot be placed");
    Some((1, format!("agent: {why}")))
}

/// The status of an Installation. Of a condition that has not changed its status, `before` says since
/// when it holds.
pub fn status(conditions: &[Condition], generation: i64, before: &Value, now: &str) -> Value {
    let spell = |condition: &Condition| {
        let word = if condition.holds { "True" } else { "False" };
        let earlier = before["conditions"].as_array().into_iter().flatten();
        let mut earlier = earlier.filter(|c| c["type"] == condition.kind && c["status"] == word);
        let since = earlier.next().and_then(|c| c["lastTransitionTime"].as_str()).unwrap_or(now);
        json!({
            "type": condition.kind,
            "status": word,
            "reason": condition.reason,
            "message": condition.message,
            "observedGeneration": generation,
            "lastTransitionTime": since,
        })
    };
    json!({
        "observedGeneration": generation,
        "conditions": conditions.iter().map(spell).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(observed: i64, desired: i64, updated: i64, available: i64) -> Option<Value> {
        Some(json!({
            "metadata": {"generation": 2},
            "status": {
                "observedGeneration": observed,
                "desiredNumberScheduled": desired,
                "updatedNumberScheduled": updated,
                "numberAvailable": available,
            },
        }))
    }

    /// Available, Progressing, Degraded.
    fn holds(findings: &Findings) -> [bool; 3] {
        findings.conditions().map(|condition| condition.holds)
    }

    #[test]
    fn conditions_follow_the_rollout() {
        let of = |agent| holds(&Findings { agent, ..Findings::default() });
        assert_eq!(of(None), [false, true, false]);
        assert_eq!(of(agent(1, 3, 3, 3)), [false, true, false], "the controller is behind");
        assert_eq!(of(agent(2, 3, 1, 2)), [false, true, false]);
        assert_eq!(of(agent(2, 3, 1, 3)), [true, true, false]);
        assert_eq!(of(agent(2, 3, 3, 2)), [false, false, false]);
        assert_eq!(of(agent(2, 3, 3, 3)), [true, false, false]);
    }

    #[test]
    fn the_worst_part_speaks() {
        let waiting = |node: &str, reason: &str, message: &str| {
            json!({
                "spec": {"nodeName": node},
                "status": {"containerStatuses": [
                    {"state": {"waiting": {"reason": reason, "message": message}}},
                ]},
            })
        };
        let unplaced = json!({"spec": {}, "status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0 of 3 nodes"},
        ]}});
        let pods = vec![
            unplaced,
            waiting("n1", "ContainerCreating", ""),
            waiting("n2", "ImagePullBackOff", "no such image"),
        ];
        let findings = Findings { agent: agent(2, 3, 3, 2), pods, ..Findings::default() };
        let [.., degraded] = findings.conditions();
        assert!(degraded.holds);
        assert_eq!(degraded.message, "agent on n2: ImagePullBackOff: no such image");
        let refused = vec!["ClusterRole a: no".to_owned(), "DaemonSet b: no".to_owned()];
        let [.., degraded] = Findings { refused, ..findings }.conditions();
        assert_eq!(degraded.message, "ClusterRole a: no (and 1 more)");
    }

    #[test]
    fn a_condition_that_stays_keeps_its_time() {
        let findings = Findings { agent: agent(2, 3, 3, 3), ..Findings::default() };
        let first = status(&findings.conditions(), 1, &Value::Null, "then");
        let findings = Findings { agent: agent(2, 3, 3, 2), ..Findings::default() };
        let second = status(&findings.conditions(), 1, &first, "now");
        let times = |status: &Value| {
            let conditions = status["conditions"].as_array().unwrap().clone();
            conditions.iter().map(|c| c["lastTransitionTime"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(times(&second), ["now", "then", "then"]);
    }
}
