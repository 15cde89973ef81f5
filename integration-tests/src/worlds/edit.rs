//! Edits of a world, as users make them: a policy comes, changes or goes, labels change. Pods keep
//! their addresses and nodes.

use brindle_oracle::World;

use super::random::Random;

/// Takes an object of the donor into the world, in place of one of its name.
macro_rules! adopt {
    ($random:expr, $world:expr, $donor:expr, $kind:ident) => {
        if !$donor.$kind.is_empty() {
            let new = $random.pick(&$donor.$kind);
            let name = |of: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
                (of.namespace.clone(), of.name.clone())
            };
            $world.$kind.retain(|old| name(&old.metadata) != name(&new.metadata));
            $world.$kind.push(new.clone());
        }
    };
}

/// Removes an object.
macro_rules! abandon {
    ($random:expr, $world:expr, $kind:ident) => {
        if !$world.$kind.is_empty() {
            let gone = $random.below($world.$kind.len());
            $world.$kind.remove(gone);
        }
    };
}

/// Changes a few things of a world; what is new is taken from another.
pub fn edit(random: &mut Random, world: &mut World, donor: &World) {
    for _ in 0..3 {
        match random.below(8) {
            0 | 1 => adopt!(random, world, donor, network_policies),
            2 => {
                // A tier that a policy names must be there.
                adopt!(random, world, donor, tiers);
                adopt!(random, world, donor, tiered_policies);
                adopt!(random, world, donor, global_network_policies);
            }
            3 => {
                adopt!(random, world, donor, network_sets);
                adopt!(random, world, donor, global_network_sets);
                adopt!(random, world, donor, cluster_network_policies);
            }
            4 => {
                abandon!(random, world, network_policies);
                abandon!(random, world, tiered_policies);
            }
            5 => {
                abandon!(random, world, global_network_policies);
                abandon!(random, world, cluster_network_policies);
            }
            6 if !world.namespaces.is_empty() => {
                let at = random.below(world.namespaces.len());
                let labels = random.pick(&donor.pods).metadata.labels.clone();
                world.namespaces[at].metadata.labels = labels;
            }
            _ => {
                let at = random.below(world.pods.len());
                let labels = random.pick(&donor.pods).metadata.labels.clone();
                world.pods[at].metadata.labels = labels;
            }
        }
    }
}
