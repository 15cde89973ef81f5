//! Makes a failure small (§7.4): fewer objects, then less in each of them, accepting a step only if
//! the same kind of mismatch remains.
//!
//! What an object is made of is taken from its JSON, so that no kind needs its own steps: a field or
//! an entry of a list goes, from the outside in, and what the kind's type does not take is no step.

use brindle_model::packet::Flow;
use brindle_oracle::World;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::compare::{Evaluator, Mismatch, first_mismatch};

/// A world and a flow on which an evaluator differs from the oracle.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The world.
    pub world: World,
    /// The flow.
    pub flow: Flow,
    /// How they differ.
    pub mismatch: Mismatch,
}

/// Shrinks until no single step can be taken any more.
pub fn shrink<E: Evaluator>(evaluator: &E, failure: Failure) -> Failure {
    let mut shrinker = Shrinker { evaluator, failure };
    while shrinker.round() {}
    shrinker.failure
}

struct Shrinker<'a, E> {
    evaluator: &'a E,
    failure: Failure,
}

/// The list of a world's objects of one kind.
type List<T> = fn(&mut World) -> &mut Vec<T>;

impl<E: Evaluator> Shrinker<'_, E> {
    /// Tries every step once; whether any was taken.
    fn round(&mut self) -> bool {
        // Policies first: what they speak of can go once they are small. `|` does not stop early.
        self.kind(|w| &mut w.cluster_network_policies)
            | self.kind(|w| &mut w.staged_kubernetes_network_policies)
            | self.kind(|w| &mut w.staged_global_network_policies)
            | self.kind(|w| &mut w.staged_network_policies)
            | self.kind(|w| &mut w.global_network_policies)
            | self.kind(|w| &mut w.tiered_policies)
            | self.kind(|w| &mut w.network_policies)
            | self.kind(|w| &mut w.tiers)
            | self.kind(|w| &mut w.network_sets)
            | self.kind(|w| &mut w.global_network_sets)
            | self.kind(|w| &mut w.endpoint_slices)
            | self.kind(|w| &mut w.service_accounts)
            | self.kind(|w| &mut w.pods)
            | self.kind(|w| &mut w.namespaces)
            | self.kind(|w| &mut w.host_endpoints)
            | self.kind(|w| &mut w.nodes)
    }

    fn kind<T: Clone + PartialEq + Serialize + DeserializeOwned>(&mut self, list: List<T>) -> bool {
        let mut taken = self.objects(list);
        for at in 0..list(&mut self.failure.world).len() {
            taken |= self.object(list, at);
        }
        taken
    }

    /// Takes objects away: all, halves, quarters, down to each alone.
    fn objects<T: Clone>(&mut self, list: List<T>) -> bool {
        let mut taken = false;
        let mut size = list(&mut self.failure.world).len();
        while size > 0 {
            let mut at = 0;
            while at < list(&mut self.failure.world).len() {
                let mut smaller = self.failure.world.clone();
                let objects = list(&mut smaller);
                objects.drain(at..objects.len().min(at + size));
                if self.take(smaller) {
                    taken = true;
                } else {
                    at += size;
                }
            }
            size /= 2;
        }
        taken
    }

    /// Takes parts of one object away.
    fn object<T>(&mut self, list: List<T>, at: usize) -> bool
    where
        T: Clone + PartialEq + Serialize + DeserializeOwned,
    {
        let mut taken = false;
        let mut value = serde_json::to_value(&list(&mut self.failure.world)[at])
            .expect("an object of a world is JSON");
        let mut number = 0;
        // Parts are numbered from the outside in; the number of a part that is gone is its
        // successor's.
        while let Some(smaller) = without(&value, number) {
            let mut world = self.failure.world.clone();
            let object = serde_json::from_value::<T>(smaller.clone()).ok();
            let step = object.filter(|object| *object != list(&mut world)[at]);
            if let Some(object) = step {
                list(&mut world)[at] = object;
                if self.take(world) {
                    (value, taken) = (smaller, true);
                    continue;
                }
            }
            number += 1;
        }
        taken
    }

    /// Takes a step, if the same kind of mismatch remains. What the evaluator cannot take in is no
    /// step.
    fn take(&mut self, world: World) -> bool {
        let flows = std::slice::from_ref(&self.failure.flow);
        let found = first_mismatch(self.evaluator, &world, flows).ok().flatten();
        let found = found.map(|(_, mismatch)| mismatch);
        let Some(mismatch) = found.filter(|m| m.kind == self.failure.mismatch.kind) else {
            return false;
        };
        self.failure = Failure { world, flow: self.failure.flow.clone(), mismatch };
        true
    }
}

/// The value without its `number`th part, counted level by level; `None` if it has fewer.
fn without(value: &Value, number: usize) -> Option<Value> {
    let mut left = number;
    for depth in 0.. {
        let mut smaller = value.clone();
        match remove(&mut smaller, depth, &mut left) {
            Removed::Yes => return Some(smaller),
            Removed::TooFew => {}
            Removed::NoSuchDepth => return None,
        }
    }
    None
}

enum Removed {
    Yes,
    /// There are parts at this depth, but fewer.
    TooFew,
    NoSuchDepth,
}

/// Removes the `left`th part at a depth, or counts down by how many there are.
fn remove(value: &mut Value, depth: usize, left: &mut usize) -> Removed {
    let mut answer = Removed::NoSuchDepth;
    let mut see = |found: Removed| match found {
        Removed::Yes => true,
        Removed::TooFew => {
            answer = Removed::TooFew;
            false
        }
        Removed::NoSuchDepth => false,
    };
    match value {
        Value::Object(fields) => {
            // Identity stays: another object would be another question.
            let keys: Vec<String> = fields.keys().filter(|k| !is_identity(k)).cloned().collect();
            for key in keys {
                if depth == 0 {
                    if *left == 0 {
                        fields.remove(&key);
                        return Removed::Yes;
                    }
                    *left -= 1;
                    see(Removed::TooFew);
                } else if see(remove(&mut fields[&key], depth - 1, left)) {
                    return Removed::Yes;
                }
            }
        }
        Value::Array(entries) => {
            for at in 0..entries.len() {
                if depth == 0 {
                    // The last entry stays: an empty list means another thing than a short one.
                    if *left == 0 && entries.len() > 1 {
                        entries.remove(at);
                        return Removed::Yes;
                    }
                    if entries.len() > 1 {
                        *left -= 1;
                    }
                    see(Removed::TooFew);
                } else if see(remove(&mut entries[at], depth - 1, left)) {
                    return Removed::Yes;
                }
            }
        }
        _ => {}
    }
    answer
}

fn is_identity(field: &str) -> bool {
    matches!(
        field,
        "apiVersion" | "kind" | "name" | "namespace" | "node" | "nodeName" | "hostNetwork"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_go_from_the_outside_in() {
        let value = json!({"name": "p", "a": [1, 2], "b": {"c": 3}, "d": [4]});
        let smaller: Vec<_> = (0..).map_while(|number| without(&value, number)).collect();
        assert_eq!(
            smaller,
            [
                json!({"name": "p", "b": {"c": 3}, "d": [4]}),
                json!({"name": "p", "a": [1, 2], "d": [4]}),
                json!({"name": "p", "a": [1, 2], "b": {"c": 3}}),
                json!({"name": "p", "a": [2], "b": {"c": 3}, "d": [4]}),
                json!({"name": "p", "a": [1], "b": {"c": 3}, "d": [4]}),
                json!({"name": "p", "a": [1, 2], "b": {}, "d": [4]}),
            ]
        );
    }
}
