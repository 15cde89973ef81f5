//! Laws that need no expected verdict (policy-semantics §7.1), on the oracle and on the compiled
//! ruleset. Each law counts the hops at which it had something to say, and must have had some.

use anyhow::Result;
use brindle_integration_tests::case::flow::format;
use brindle_integration_tests::worlds::compiled::{Answer, Compiled};
use brindle_integration_tests::worlds::random::Random;
use brindle_integration_tests::worlds::{choose, generate, sound, transform, yaml};
use brindle_model::packet::{Flow, Origin};
use brindle_model::verdict::{DecisionId, Verdict};
use brindle_oracle::{World, judge};

const WORLDS: u64 = if cfg!(debug_assertions) { 150 } else { 1_500 };
const FLOWS: usize = 30;

/// An evaluator: the answers to each flow, sorted.
type Judge = fn(&World, &[Flow]) -> Result<Vec<Vec<Answer>>>;

fn oracle(world: &World, flows: &[Flow]) -> Result<Vec<Vec<Answer>>> {
    let answers = |flow: &Flow| Answer::all(&judge(world, flow));
    Ok(flows.iter().map(|flow| sorted(answers(flow))).collect())
}

fn ruleset(world: &World, flows: &[Flow]) -> Result<Vec<Vec<Answer>>> {
    let compiled = Compiled::of(&yaml::write(world)?, world)?;
    Ok(flows.iter().map(|flow| sorted(compiled.judge(flow))).collect())
}

fn sorted(mut answers: Vec<Answer>) -> Vec<Answer> {
    answers.sort_by(|a, b| (a.direction, &a.at).cmp(&(b.direction, &b.at)));
    answers
}

/// Runs a law over generated worlds and both evaluators; it returns the hops it spoke of.
fn holds(law: impl Fn(&World, &[Flow], &mut Random, Judge) -> Result<usize>) {
    holds_in(generate, law);
}

/// Likewise, over worlds without anything broken: a broken rule is not the sum of its parts.
fn holds_if_sound(law: impl Fn(&World, &[Flow], &mut Random, Judge) -> Result<usize>) {
    holds_in(sound, law);
}

fn holds_in(
    generate: fn(u64) -> World,
    law: impl Fn(&World, &[Flow], &mut Random, Judge) -> Result<usize>,
) {
    for (name, evaluator) in [("oracle", oracle as Judge), ("ruleset", ruleset as Judge)] {
        let mut spoken = 0;
        for seed in 0..WORLDS {
            let world = generate(seed);
            let flows = choose(&world, seed, FLOWS);
            let mut random = Random::new(seed);
            let count = law(&world, &flows, &mut random, evaluator);
            spoken += count.unwrap_or_else(|error| panic!("seed {seed}, {name}: {error:#}"));
        }
        assert!(spoken as u64 >= WORLDS, "the law says nothing of the {name}: {spoken} hops");
    }
}

/// Asserts a relation between the answers before and after, hop by hop.
fn compare(
    flows: &[Flow],
    before: &[Vec<Answer>],
    after: &[Vec<Answer>],
    relation: impl Fn(&Answer, &Answer) -> bool,
) -> usize {
    let mut count = 0;
    for ((flow, before), after) in flows.iter().zip(before).zip(after) {
        let text = format(flow);
        assert_eq!(before.len(), after.len(), "{text}: {before:?} {after:?}");
        for (before, after) in before.iter().zip(after) {
            assert!(relation(before, after), "{text}: {before:?} became {after:?}");
            count += 1;
        }
    }
    count
}

fn same_verdict(before: &Answer, after: &Answer) -> bool {
    (&before.at, before.direction, before.verdict) == (&after.at, after.direction, after.verdict)
}

/// Whatever staged policies say.
fn same_but_staged(before: &Answer, after: &Answer) -> bool {
    *before == Answer { staged: before.staged.clone(), ..after.clone() }
}

#[test]
fn order_of_objects_peers_and_ports_means_nothing() {
    holds(|world, flows, random, judge| {
        let after = judge(&transform::permuted(world, random), flows)?;
        Ok(compare(flows, &judge(world, flows)?, &after, Answer::eq))
    });
}

#[test]
fn order_of_rules_only_names_decisions() {
    holds(|world, flows, random, judge| {
        let after = judge(&transform::rules_permuted(world, random), flows)?;
        Ok(compare(flows, &judge(world, flows)?, &after, same_verdict))
    });
}

#[test]
fn splitting_rules_by_peer_and_port_changes_nothing() {
    holds_if_sound(|world, flows, _, judge| {
        let after = judge(&transform::rules_split(world), flows)?;
        Ok(compare(flows, &judge(world, flows)?, &after, same_verdict))
    });
}

#[test]
fn spelling_of_selectors_means_nothing() {
    holds(|world, flows, _, judge| {
        let after = judge(&transform::selectors_rewritten(world), flows)?;
        Ok(compare(flows, &judge(world, flows)?, &after, Answer::eq))
    });
}

#[test]
fn a_policy_that_selects_nobody_changes_nothing() {
    holds(|world, flows, _, judge| {
        let after = judge(&transform::with_idle_policies(world), flows)?;
        Ok(compare(flows, &judge(world, flows)?, &after, Answer::eq))
    });
}

#[test]
fn staged_copies_change_nothing() {
    holds(|world, flows, _, judge| {
        let after = judge(&transform::with_staged_copies(world), flows)?;
        Ok(compare(flows, &judge(world, flows)?, &after, same_but_staged))
    });
}

#[test]
fn a_tier_that_only_passes_is_not_there() {
    holds(|world, flows, random, judge| {
        let after = judge(&transform::with_passing_tier(world, random), flows)?;
        Ok(compare(flows, &judge(world, flows)?, &after, Answer::eq))
    });
}

#[test]
fn a_deny_of_what_was_allowed_changes_nothing() {
    holds_if_sound(|world, flows, _, judge| {
        let after = judge(&transform::allows_denied_again(world), flows)?;
        Ok(compare(flows, &judge(world, flows)?, &after, same_verdict))
    });
}

#[test]
fn numbers_of_orders_mean_nothing() {
    holds(|world, flows, _, judge| {
        let after = judge(&transform::renumbered(world), flows)?;
        Ok(compare(flows, &judge(world, flows)?, &after, Answer::eq))
    });
}

#[test]
fn more_rules_never_take_reachability_away() {
    holds(|world, flows, random, judge| {
        if world.network_policies.is_empty() {
            return Ok(0);
        }
        let after = judge(&transform::with_more_rules(world, random), flows)?;
        let kept = |before: &Answer, after: &Answer| {
            before.verdict == Verdict::Deny || after.verdict == Verdict::Allow
        };
        Ok(compare(flows, &judge(world, flows)?, &after, kept))
    });
}

#[test]
fn two_sets_of_policies_allow_what_either_allows() {
    holds(|world, flows, random, judge| {
        let world = &transform::kubernetes_alone(world);
        let others = generate(random.bits()).network_policies;
        let [other, both] = transform::joined(world, &others);
        let one = judge(world, flows)?;
        let [other, both] = [judge(&other, flows)?, judge(&both, flows)?];
        let isolated =
            |a: &Answer| matches!(a.decision, DecisionId::Rule { .. } | DecisionId::TierEnd { .. });
        let mut count = 0;
        for (i, flow) in flows.iter().enumerate() {
            for ((both, one), other) in both[i].iter().zip(&one[i]).zip(&other[i]) {
                if isolated(one) && isolated(other) {
                    let either = [one.verdict, other.verdict].contains(&Verdict::Allow);
                    let text = format(flow);
                    assert_eq!(both.verdict == Verdict::Allow, either, "{text}: {one:?} {other:?}");
                    count += 1;
                }
            }
        }
        Ok(count)
    });
}

#[test]
fn names_mean_nothing() {
    holds(|world, flows, _, judge| {
        let renamed: Vec<_> = flows.iter().map(|f| transform::renamed_flow(world, f)).collect();
        let after = judge(&transform::renamed(world), &renamed)?;
        let before = judge(world, flows)?;
        // The ghost keeps its name and so its place in the order; it is alone in its direction.
        Ok(compare(flows, &before, &after, |a, b| {
            (a.direction, a.verdict) == (b.direction, b.verdict)
        }))
    });
}

#[test]
fn families_mirror_each_other() {
    holds_if_sound(|world, flows, _, judge| {
        // A pod that sends from an address of another is no question of policy, and a pod without
        // IPv4 has no place in the mirror.
        let honest = |flow: &&Flow| match &flow.origin {
            Origin::Pod(id) => world.pods.iter().any(|p| {
                let status = p.status.iter().flat_map(|s| s.pod_ips.iter().flatten());
                p.metadata.name.as_deref() == Some(&id.name)
                    && p.metadata.namespace.as_deref() == Some(&id.namespace)
                    && status.map(|ip| ip.ip.clone()).any(|ip| ip == flow.packet.source.to_string())
            }),
            Origin::Node(_) | Origin::Outside => true,
        };
        let honest = flows.iter().filter(honest);
        let pairs = honest.filter_map(|f| Some((f.clone(), transform::mirrored_flow(f)?)));
        let (flows, mirrored): (Vec<_>, Vec<_>) = pairs.unzip();
        let after = judge(&transform::mirrored(world), &mirrored)?;
        Ok(compare(&flows, &judge(world, &flows)?, &after, Answer::eq))
    });
}
