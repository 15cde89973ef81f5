//! Expanders: other histories that end in the same inputs, and so must end in the same ruleset.

use anyhow::{Result, ensure};
use brindle_compiler::{Compiler, snapshot};
use brindle_model::Name;
use brindle_model::cluster::Update;
use brindle_model::ruleset::Ruleset;

use crate::worlds::random::Random;

/// A history: what is applied between one flush and the next.
type History = Vec<Vec<Update>>;

/// Runs every expander over the inputs of one node.
///
/// # Errors
/// A history ends in another ruleset, or its deltas do; it is named.
pub fn check(node: &Name, updates: &[Update]) -> Result<()> {
    let (expected, _) = snapshot(node.clone(), updates.iter().cloned());
    for (name, history) in histories(updates) {
        let mut compiler = Compiler::new(node.clone());
        let mut held = Ruleset::default();
        for updates in history {
            updates.into_iter().for_each(|update| compiler.apply(update));
            held.apply(&compiler.flush().ruleset);
        }
        ensure!(*compiler.ruleset() == expected, "{node}, {name}: another ruleset");
        ensure!(held == expected, "{node}, {name}: the deltas end in another ruleset");
    }
    Ok(())
}

fn histories(updates: &[Update]) -> Vec<(&'static str, History)> {
    let forward = updates.to_vec();
    let reverse: Vec<_> = updates.iter().rev().cloned().collect();
    let split = |updates: &[Update]| updates.iter().map(|u| vec![u.clone()]).collect::<History>();
    let absent: Vec<_> = updates.iter().map(Update::absence).collect();
    let twice = updates.iter().flat_map(|u| [u.clone(), u.clone()]).collect();
    let flapping = updates.iter().flat_map(|u| [u.clone(), u.absence(), u.clone()]).collect();
    let mut random = Random::new(updates.len() as u64);
    let mut shuffled = forward.clone();
    random.shuffle(&mut shuffled);
    let cut = 1 + random.below(updates.len().max(2) - 1);
    let at_random = shuffled.chunks(cut).map(<[_]>::to_vec).collect();
    vec![
        ("reversed", vec![reverse.clone()]),
        ("split", split(&forward)),
        ("split and reversed", split(&reverse)),
        ("squashed with its own absence", vec![absent.clone(), forward.clone()]),
        ("duplicated", vec![twice]),
        ("repeated", vec![forward.clone(), forward.clone()]),
        ("flapping", vec![flapping]),
        ("gone and back", vec![forward.clone(), absent.clone(), reverse]),
        (
            "gone one by one and back",
            [vec![forward.clone()], split(&absent), vec![forward]].concat(),
        ),
        ("shuffled with flushes between", at_random),
    ]
}
